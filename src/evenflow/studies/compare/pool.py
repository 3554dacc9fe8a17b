"""Processes, a few at a time, each with one thread: training runs and their measurements.

What is left to do is read from the disk, so that a comparison that was killed goes on where it was.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evenflow.run.interrupt import Interrupt, end_with_parent

POLL = 0.25  # seconds
LOG = "train.log"


@dataclass(frozen=True)
class Step:
    """A command, and what it does in a word."""

    state: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """A folder in which steps are taken until `left` names none."""

    name: str
    folder: Path
    left: Callable[[], Step | None]


@dataclass
class Pool:
    """At most `jobs` processes at a time."""

    jobs: int
    lock: int
    """A file descriptor that every process inherits: see `report.lock`."""
    states: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Job → the last words of its log."""
    stopped_by: int = 0
    begun: dict[str, int] = field(default_factory=dict)
    """Job → where its log's part on the step at hand begins."""

    def work(self, jobs: Sequence[Job], watch: Callable[[Mapping[str, str]], None]) -> None:
        """Take all steps of all jobs; `watch` sees each job's state now and then.

        A job whose step fails is given up, and the others go on. A signal is passed on, and the
        steps at hand end as they do at a signal; `stopped_by` is then its number.
        """
        self.states = {job.name: "waiting" for job in jobs}
        waiting, running = list(jobs), dict[str, tuple[Job, Step, subprocess.Popen[bytes]]]()
        with Interrupt() as interrupt:
            try:
                while running or (waiting and not interrupt.requested):
                    while waiting and len(running) < self.jobs and not interrupt.requested:
                        self._next(waiting.pop(0), None, running)
                    watch(self.states)
                    time.sleep(POLL)
                    if interrupt.requested and not self.stopped_by:
                        self.stopped_by = interrupt.number
                        for _, _, process in running.values():
                            process.send_signal(interrupt.number)
                    for job, step, process in list(running.values()):
                        if process.poll() is not None:
                            del running[job.name]
                            self._ended(job, step, process.returncode, running)
                watch(self.states)
                self.stopped_by = self.stopped_by or interrupt.number  # since the last look
            finally:
                for _, _, process in running.values():  # a second signal, or an error of ours
                    process.terminate()
                for _, _, process in running.values():
                    process.wait()

    def _ended(
        self,
        job: Job,
        step: Step,
        status: int,
        running: dict[str, tuple[Job, Step, subprocess.Popen[bytes]]],
    ) -> None:
        if self.stopped_by:
            self.states[job.name] = "stopped"
        elif status:
            self.states[job.name] = "failed"
            words = last_words(job.folder / LOG, self.begun[job.name])
            self.failed[job.name] = words or ended_with(status)
        else:
            self._next(job, step, running)

    def _next(
        self,
        job: Job,
        before: Step | None,
        running: dict[str, tuple[Job, Step, subprocess.Popen[bytes]]],
    ) -> None:
        """Start the job's next step, if it has one."""
        step = job.left()
        if step is None:
            self.states[job.name] = "done"
        elif step == before:
            self.states[job.name] = "failed"
            self.failed[job.name] = f"{step.state} ended well and left nothing behind"
        else:
            self.states[job.name] = step.state
            log = job.folder / LOG
            self.begun[job.name] = log.stat().st_size if log.exists() else 0
            running[job.name] = job, step, self._start(job, step)

    def _start(self, job: Job, step: Step) -> subprocess.Popen[bytes]:
        with (job.folder / LOG).open("ab") as log:
            return subprocess.Popen(
                step.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
                # Ctrl-C in the terminal reaches the comparison alone, which passes it on once.
                start_new_session=True,
                pass_fds=(self.lock,),
                preexec_fn=end_with_parent,
            )


def ended_with(status: int) -> str:
    """What became of a process that said nothing."""
    if status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    return f"ended by {name}" + (": out of memory?" if name == "SIGKILL" else "")


def last_words(log: Path, begin: int = 0) -> str:
    """The last line of a log that names an error, else its last line; from this byte on."""
    text = log.read_bytes()[begin:].decode(errors="replace") if log.exists() else ""
    lines = text.split("\n")
    lines = [line.strip() for line in lines if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1].removeprefix("error: ")
