"""`main_ppo` on Ray, on a CPU, from the trainer's register to the checkpoint."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from statistics import fmean

import pytest
import verl_run

STEPS, EVERY = 24, 8
EPOCH = 4  # steps: 32 questions, 8 a step


def wait_for(condition, run, folder: Path, seconds: float) -> None:
    """Until it holds; what the run said, where it ends before."""
    begun = time.monotonic()
    while not condition():
        said = (folder / "log.txt").read_text()[-4000:]
        assert run.poll() is None, said
        assert time.monotonic() - begun < seconds, said
        time.sleep(0.5)


def done(folder: Path) -> int:
    """The steps that have been taken."""
    return sum(map(len, verl_run.parts(folder)))


@pytest.mark.timeout(3600)
def test_a_run_learns_is_killed_and_goes_on_from_its_checkpoint(tmp_path) -> None:
    folder = tmp_path / "run"
    questions = verl_run.write_questions(tmp_path / "questions.parquet", 32)
    arguments = verl_run.settings(
        folder,
        questions,
        **{
            "+algorithm.evenflow.preset": "flowrl",
            "trainer.total_training_steps": STEPS,
            "trainer.save_freq": EVERY,
        },
    )
    newest = folder / "latest_checkpointed_iteration.txt"
    run = verl_run.start(folder, arguments)
    wait_for(lambda: newest.is_file() and done(folder) > EVERY, run, folder, 1800)
    run.send_signal(signal.SIGKILL)
    run.wait()
    time.sleep(5)  # Ray's processes notice
    stopped = int(newest.read_text())

    run = verl_run.start(folder, arguments)
    assert run.wait() == 0, (folder / "log.txt").read_text()[-4000:]
    before, after = verl_run.parts(folder)
    assert min(after) == stopped + 1
    found = before | after
    assert sorted(found) == list(range(1, STEPS + 1))
    assert int(newest.read_text()) == STEPS
    # The next questions, and what the head of the checkpoint says of them: at first it says 0.
    again = after[stopped + 1]["actor/log_z/used"]
    assert again == pytest.approx(before[stopped + 1]["actor/log_z/used"], rel=1e-2)
    assert abs(again) > 1e-3

    # The same questions at the beginning and at the end, by one seed: 0.31 and 0.57 were measured.
    rewards = [found[step]["reward/mean"] for step in sorted(found)]
    assert fmean(rewards[-EPOCH:]) > fmean(rewards[:EPOCH]) + 0.1, rewards
    last = found[STEPS]
    assert last["actor/grad_norm/head"] > 0
    assert abs(last["actor/log_z/used"]) > abs(found[1]["actor/log_z/used"])
    assert found[1]["actor/weight/mean"] == pytest.approx(1.0, abs=1e-3)
    # Unknown rewards are left out; a group in which all are is not there at all.
    assert any(step["reward/unknown"] > 0 for step in found.values())
    assert any(step["groups/incomplete"] > 0 for step in found.values())


@pytest.mark.timeout(600)
def test_a_run_that_cannot_be_stops_with_a_sentence(tmp_path) -> None:
    questions = verl_run.write_questions(tmp_path / "questions.parquet", 32)
    wrong = {"+algorithm.evenflow.preset": "dapo"}
    run = verl_run.start(tmp_path, verl_run.settings(tmp_path, questions, **wrong))
    assert run.wait() != 0
    assert "algorithm: dapo is not of the balance family" in (tmp_path / "log.txt").read_text()
