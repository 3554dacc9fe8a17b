"""Processes that ask math-verify, each killed when a comparison takes too long.

math-verify's own limits are SIGALRM on the wall clock: they raise off the main thread and turn a
right answer into a wrong one on a busy machine. Here a comparison that takes too long costs its
process, is tried once more after all others that wait, and then stays unknown.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from evenflow.installation import how_to_install
from evenflow.machine import cores

TIMEOUT = 5.0
"""Seconds for one comparison; most take 10 ms."""
START = 120.0
"""Seconds for a process to import math-verify, on a machine that is busy with others."""
TRIES = 2
SOURCE = Path(__file__).parents[3]


@dataclass
class Job:
    question: dict[str, Any]
    answer: Future[bool | str] = field(default_factory=Future)
    tries: int = 0


class Workers:
    """`count` processes, started when there is something to ask; threads of ours wait for them."""

    def __init__(self, count: int, timeout: float = TIMEOUT) -> None:
        self.timeout = timeout
        self.jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.count = count
        self.threads: list[threading.Thread] = []
        self.lock = threading.Lock()

    def ask(self, gold: str, said: str, whole: bool = False) -> Future[bool | str]:
        """Whether math-verify finds the two equal, or a reason why that is not known.

        Never raises: see `worker.compare` for `whole`. May be called from any thread.
        """
        job = Job({"gold": gold, "said": said, "whole": whole})
        if importlib.util.find_spec("math_verify") is None:
            job.answer.set_result(f"needs math-verify: {how_to_install('math')}")
            return job.answer
        with self.lock:
            if len(self.threads) < self.count:
                thread = threading.Thread(target=self._serve, daemon=True)
                self.threads.append(thread)
                thread.start()
        self.jobs.put(job)
        return job.answer

    def close(self) -> None:
        """End the processes once what was asked is answered; later questions start new ones."""
        with self.lock:
            threads, self.threads = self.threads, []
        for _ in threads:
            self.jobs.put(None)
        for thread in threads:
            thread.join()

    def _serve(self) -> None:
        process: Process | None = None
        while (job := self.jobs.get()) is not None:
            job.tries += 1
            if job.tries == 1 and not job.answer.set_running_or_notify_cancel():
                continue
            try:
                process = process or Process(self.timeout)
                answer = process.ask(job.question, self.timeout)
            except (TimeoutError, OSError) as error:
                if process is not None:
                    process.kill()
                process = None
                if job.tries < TRIES:
                    self.jobs.put(job)
                    continue
                answer = str(error)
            job.answer.set_result(answer)
        if process is not None:
            process.kill()


class Process:
    """One worker; starting it takes about a second."""

    def __init__(self, timeout: float) -> None:
        # Found as this very package was, whatever the folder; -P: not what lies in it.
        paths = os.pathsep.join(
            [str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")]), *sys.path[1:]]
        )
        # Its alarm comes after ours: ours can start another one.
        self.popen = subprocess.Popen(
            [sys.executable, "-P", "-m", "evenflow.rewards.math.worker", str(2 * timeout + 1)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for us
        )
        self.rest = b""
        try:
            if failure := self._read(START):
                raise OSError(failure)
        except BaseException:
            self.kill()
            raise

    def ask(self, question: dict[str, Any], timeout: float) -> bool | str:
        """Raises TimeoutError after `timeout` seconds, OSError if the process is gone."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(json.dumps(question).encode() + b"\n")
        self.popen.stdin.flush()
        return self._read(timeout)

    def _read(self, timeout: float) -> bool | str:
        assert self.popen.stdout is not None
        out, end = self.popen.stdout.fileno(), time.monotonic() + timeout
        poll = select.poll()
        poll.register(out, select.POLLIN | select.POLLHUP)
        while b"\n" not in self.rest:
            left = end - time.monotonic()
            if left <= 0 or not poll.poll(1000 * left):
                raise TimeoutError(f"no verdict within {timeout:g} s, tried {TRIES} times")
            read = os.read(out, 1 << 16)
            if not read:
                raise OSError("the process of math-verify ended without a verdict")
            self.rest += read
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # what it had not read yet
                    pipe.close()


@lru_cache(maxsize=4)
def _shared(process: int, timeout: float) -> Workers:
    return Workers(cores(), timeout)


def shared(timeout: float = TIMEOUT) -> Workers:
    """This process's workers, one a core; a fork of it gets its own."""
    return _shared(os.getpid(), timeout)
