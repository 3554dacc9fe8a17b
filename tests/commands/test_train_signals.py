"""`evenflow train` in a process of its own: Ctrl-C, kill, a terminal and a reader that go away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from evenflow.cli import main
from evenflow.config import TrainConfig
from evenflow.run import checkpoints
from evenflow.run.tracking import read_jsonl

Make = Callable[..., TrainConfig]


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "evenflow", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ctrl_c_then_resume_then_kill_then_resume(
    recipe: Make, written: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(str(recipe().output))
    process = start("train", written, "train.steps=100000", "checkpoint.every=100000")
    wait_for(lambda: len(read_jsonl(run / "metrics.jsonl")) >= 2, process)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, said
    assert f"go on with: evenflow train --resume {run}" in said.replace("\n", " ")
    saved = checkpoints.latest_whole(run)
    step = int(saved.name.removeprefix("checkpoint-"))
    assert len(read_jsonl(run / "metrics.jsonl")) == step

    process = start("train", "--resume", str(run), "checkpoint.every=1")
    wait_for(lambda: len(checkpoints.checkpoints(run)) >= 2, process)
    process.kill()
    process.communicate()
    capsys.readouterr()
    reached = int(checkpoints.latest_whole(run).name.removeprefix("checkpoint-"))
    assert reached > step
    assert main(["train", "--resume", str(run), f"train.steps={reached + 2}"]) == 0
    steps = [row["step"] for row in read_jsonl(run / "metrics.jsonl")]
    assert steps == list(range(1, reached + 3))
    assert not list(run.glob(".checkpoint-*"))


@contextmanager
def hang_up(handler: Any) -> Iterator[None]:
    """What SIGHUP does, which processes that are started meanwhile take over; by nohup: nothing."""
    before = signal.signal(signal.SIGHUP, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_closes_saves(recipe: Make, written: str) -> None:
    run = Path(str(recipe().output))
    with hang_up(signal.SIG_DFL):
        process = start("train", written, "train.steps=100000", "checkpoint.every=100000")
    wait_for(lambda: len(read_jsonl(run / "metrics.jsonl")) >= 2, process)
    process.send_signal(signal.SIGHUP)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGHUP, said
    assert checkpoints.verify(checkpoints.latest_whole(run)) is None


def test_a_run_under_nohup_outlives_its_terminal(recipe: Make, written: str) -> None:
    run = Path(str(recipe().output))
    with hang_up(signal.SIG_IGN):
        process = start("train", written, "train.steps=100000", "checkpoint.every=100000")
    rows = run / "metrics.jsonl"
    wait_for(lambda: len(read_jsonl(rows)) >= 2, process)
    process.send_signal(signal.SIGHUP)
    reached = len(read_jsonl(rows))
    wait_for(lambda: len(read_jsonl(rows)) >= reached + 2, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_reader_that_has_seen_enough_costs_no_step(recipe: Make, written: str) -> None:
    run = Path(str(recipe().output))
    process = start("train", written, "train.steps=100000", "checkpoint.every=100000")
    wait_for(lambda: len(read_jsonl(run / "metrics.jsonl")) >= 2, process)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 128 + signal.SIGPIPE
    saved = checkpoints.latest_whole(run)
    assert int(saved.name.removeprefix("checkpoint-")) == len(read_jsonl(run / "metrics.jsonl"))
