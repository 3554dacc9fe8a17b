"""Processes: how many at a time, what ends them, and that none outlives the comparison unseen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from evenflow.run.lock import only_one
from evenflow.studies.compare import pool
from evenflow.studies.compare.pool import Job, Pool, Step, ended_with, last_words

WAITS = """
import pathlib, signal, sys, time
def end(number, frame):
    pathlib.Path(sys.argv[1]).write_text(f"signal {number}")
    sys.exit(1)
signal.signal(signal.SIGINT, end)
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1]).write_text("waits")
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "POLL", 0.01)


def job(folder: Path, name: str, code: str, done: Callable[[], bool]) -> Job:
    step = Step("working", (sys.executable, "-S", "-c", code, str(folder / name)))
    return Job(name, folder, lambda: None if done() else step)


def writes(folder: Path, name: str, code: str = "") -> Job:
    """A job that is done when its file is there."""
    write = (
        "\nimport sys; open(sys.argv[1], 'w').write(__import__('os').environ['OMP_NUM_THREADS'])"
    )
    return job(folder, name, code + write, (folder / name).exists)


def work(jobs: list[Job], at_a_time: int = 2) -> tuple[Pool, list[dict[str, str]]]:
    seen: list[dict[str, str]] = []

    def watch(states: Mapping[str, str]) -> None:
        if not seen or seen[-1] != states:
            seen.append(dict(states))

    with only_one(jobs[0].folder) as lock:
        it = Pool(at_a_time, lock)
        it.work(jobs, watch)
    return it, seen


def test_no_more_than_asked_for_and_one_thread_each(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d", "e"]
    it, seen = work([writes(tmp_path, name) for name in names])
    assert it.states == dict.fromkeys(names, "done")
    assert max(list(states.values()).count("working") for states in seen) == 2
    assert {(tmp_path / name).read_text() for name in names} == {"1"}


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("by someone before")
    work([writes(tmp_path, "a")])
    assert (tmp_path / "a").read_text() == "by someone before"


def test_one_failure_is_not_the_end(tmp_path: Path) -> None:
    code = "import sys; print('error: no luck'); print('bye'); sys.exit(2)"
    empty = job(tmp_path, "empty", "pass", lambda: False)
    it, _ = work([writes(tmp_path, "bad", code), empty, writes(tmp_path, "good")], 1)
    assert it.states == {"bad": "failed", "empty": "failed", "good": "done"}
    assert it.failed["bad"] == "no luck"
    assert it.failed["empty"] == "working ended well and left nothing behind"


def test_a_signal_is_passed_on_and_nothing_more_is_started(tmp_path: Path) -> None:
    there, sent = tmp_path / "a", []

    def watch(states: Mapping[str, str]) -> None:
        if not sent and there.exists() and there.read_text() == "waits":
            sent.append(states)
            os.kill(os.getpid(), signal.SIGTERM)

    with only_one(tmp_path) as lock:
        it = Pool(1, lock)
        it.work([job(tmp_path, "a", WAITS, lambda: False), writes(tmp_path, "b")], watch)
    assert it.stopped_by == signal.SIGTERM
    assert it.states == {"a": "stopped", "b": "waiting"}
    assert there.read_text() == f"signal {int(signal.SIGTERM)}"
    assert not it.failed


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_killed_comparison_leaves_no_process_behind(tmp_path: Path) -> None:
    """SIGKILL to the comparison asks its processes to save and end, and frees the folder then."""
    code = f"""
import sys
from pathlib import Path
from evenflow.studies.compare.pool import Job, Pool, Step
from evenflow.run.lock import only_one
folder = Path({str(tmp_path)!r})
step = Step("working", (sys.executable, "-S", "-c", {WAITS!r}, str(folder / "a")))
with only_one(folder) as lock:
    Pool(1, lock).work([Job("a", folder, lambda: step)], lambda states: None)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    there = tmp_path / "a"
    wait_for(lambda: there.exists() and there.read_text() == "waits")
    parent.kill()
    parent.wait()
    with only_one(tmp_path, wait=True):
        assert there.read_text() == f"signal {int(signal.SIGTERM)}"


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_last_words(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    assert last_words(log) == ""
    log.write_text("step 1\nKeyError: 3\n\n")
    assert last_words(log) == "KeyError: 3"
    log.write_text("error: the first\nerror: the last\nsomething else\n")
    assert last_words(log) == "the last"
    begin = log.stat().st_size
    assert last_words(log, begin) == ""
    with log.open("a") as more:
        more.write("step 2\n")
    assert last_words(log, begin) == "step 2"


def test_what_ended_a_process_that_says_nothing() -> None:
    assert ended_with(3) == "ended with status 3"
    assert ended_with(-signal.SIGTERM) == "ended by SIGTERM"
    assert ended_with(-signal.SIGKILL) == "ended by SIGKILL: out of memory?"
    assert ended_with(-250) == "ended by signal 250"


def test_an_error_of_an_earlier_try_is_not_the_reason_of_this_one(tmp_path: Path) -> None:
    (tmp_path / pool.LOG).write_text("error: the disk is full\n")
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    it, _ = work([job(tmp_path, "killed", kill, lambda: False)])
    assert it.failed == {"killed": "ended by SIGKILL: out of memory?"}


def test_a_signal_at_the_end_of_a_job_stops_the_others(tmp_path: Path) -> None:
    """It comes when nothing is running and no job has been begun after it."""
    first = writes(tmp_path, "first")

    def left() -> Step | None:
        step = first.left()
        if step is None:
            os.kill(os.getpid(), signal.SIGINT)
        return step

    it, _ = work([Job("first", tmp_path, left), writes(tmp_path, "second")], at_a_time=1)
    assert it.stopped_by == signal.SIGINT
    assert it.states == {"first": "done", "second": "waiting"}
