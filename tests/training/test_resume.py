"""A run that was stopped, killed or cut off goes on, and ends as one that never was."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evenflow.commands.train import finish, resumed
from evenflow.config import TrainConfig, load
from evenflow.errors import UserError
from evenflow.evaluation.heldout import HeldOut
from evenflow.policy.loading import load_model, load_tokenizer
from evenflow.run import checkpoints
from evenflow.run import folder as run_folders
from evenflow.run import folder as run_module
from evenflow.run import tracking as metrics
from evenflow.run.console import Display
from evenflow.run.tracking import MetricsLog, read_jsonl
from evenflow.training import checkpoint, trainer
from evenflow.training.trainer import Trainer
from tests.training.runs import assert_same_run, open_run, train

Make = Callable[..., TrainConfig]


@pytest.fixture(scope="session")
def half_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in float16, as the built-in one is: its weights are converted when a run
    begins, and read as they stand in the checkpoint's file when it goes on."""
    import torch

    folder = tmp_path_factory.mktemp("half")
    load_model(str(tiny_model), torch.float16).save_pretrained(folder)  # pyright: ignore
    load_tokenizer(str(tiny_model)).save_pretrained(folder)
    return folder


# --- bit for bit -----------------------------------------------------------------------------

MINI = ("train.mini_batch_questions=1", "train.epochs=2")
# A matrix times one vector is where a CPU's kernels round by the weights' place in memory.
ONE_TOKEN = ("rollout.max_completion_length=1", "train.micro_batch_tokens=1")
FAMILIES = [
    ("algorithm=tba", *ONE_TOKEN),
    ("algorithm=tba", *MINI, *ONE_TOKEN),
    ("algorithm=tba", "objective={log_z: running}", "train.schedule=cosine", *MINI, *ONE_TOKEN),
    ("algorithm=tba", "objective={log_z: offline}", *ONE_TOKEN),
    ("algorithm=flowrl", "head.dropout=0.1", "train.mini_batch_questions=1", *ONE_TOKEN),
    ("algorithm=flowrl", "rollout.max_batch=1", *MINI),
    ("algorithm=flowrl", "model.lora={rank: 2, dropout: 0.1}", "train.epochs=2"),
    ("algorithm=flowbalance", "rollout.replay.questions=1", "rollout.lag=1", "rollout.segment=5"),
    ("algorithm=grpo", *MINI, *ONE_TOKEN),
    ("algorithm=dapo", "reward.right=0.1", "train.answers=2000"),
    ("algorithm=ppo", *MINI, *ONE_TOKEN),
    ("algorithm=ppo", "critic.trunk=own", "train.mini_batch_questions=1", *ONE_TOKEN),
    ("algorithm=prorl", "reward.right=0.1", "reset.every=1", "reset.patience=0", *ONE_TOKEN),
    ("algorithm=tba", "model.dtype=bfloat16", *MINI),
    ("algorithm=flowrl", "model.dtype=bfloat16", "model.lora={rank: 2}", "train.epochs=2"),
    ("algorithm=ppo", "model.dtype=bfloat16", "critic.trunk=own", "train.mini_batch_questions=1"),
    ("algorithm=prorl", "model.dtype=bfloat16", "reward.right=0.1", "reset.every=1"),
]


@pytest.mark.parametrize("overrides", FAMILIES, ids=lambda o: " ".join(o))
def test_going_on_is_bit_for_bit(
    recipe: Make, half_model: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    """From a checkpoint in the middle, in a copy of the folder."""
    small = ("rollout.questions=2", "rollout.num_generations=3", "train.steps=3")
    every = ("checkpoint.every=1", "checkpoint.keep=3")
    config = recipe(f"model.path={half_model}", *small, *overrides, *every)
    whole = train(config)
    copy = Path(shutil.copytree(whole.parent, tmp_path / "copy"))
    for name in ("checkpoint-000002", whole.name):
        shutil.rmtree(copy / name)
    resumed = Trainer(config, copy, resume=copy / "checkpoint-000001")
    moments = [
        m for state in resumed.stepper.learner.optimizer.state.values() for m in state.values()
    ]
    for tensor in (*resumed.policy.parameters(), *resumed.policy.buffers(), *moments):
        assert tensor.data_ptr() % 64 == 0
    resumed.run()
    assert_same_run(copy, whole.parent)


# --- killed in every window ------------------------------------------------------------------


class Killed(BaseException):
    """What nothing catches."""


@dataclass(frozen=True)
class Window:
    """The `call`th call (from 1) of a function of a module or class; killed before or after it."""

    place: object
    name: str
    call: int
    after: bool = False

    def __str__(self) -> str:
        owner = getattr(self.place, "__name__", "").rpartition(".")[2]
        return f"{'after' if self.after else 'before'} {owner}.{self.name} {self.call}"

    @contextmanager
    def killing(self) -> Iterator[None]:
        """Be killed there, and nowhere but there."""
        calls, function = 0, getattr(self.place, self.name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == self.call and not self.after:
                raise Killed
            result = function(*args, **kwargs)
            if calls == self.call:
                raise Killed
            return result

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.place, self.name, wrapped)
            with pytest.raises(Killed):
                yield


SMALL = (
    *("rollout.questions=2", "rollout.num_generations=2", "rollout.max_completion_length=2"),
    *("evaluation.every=1", "evaluation.questions=2", "evaluation.samples=1"),
    *("evaluation.num_generations=2", "train.steps=3", "checkpoint.every=2", "checkpoint.keep=1"),
)


@pytest.fixture(scope="session")
def uninterrupted(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps, saved after the second and the third, evaluated after each."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    return train(small_recipe(tiny_model, folder)).parent


def small_recipe(model: Path, output: Path, *overrides: str) -> TrainConfig:
    reward = "reward.functions={tests.training.rewards:digits: 1.0}"
    data = ("data.task=countdown", "data.train_questions=8", "device=cpu")
    rate = ("train.learning_rate=1e-2", "train.warmup_steps=1")
    own = (f"model.path={model}", f"output={output}", reward, *data, *rate)
    return load(TrainConfig, None, [*own, *SMALL, *overrides])


def go_on(run: Path, *overrides: str, **options: bool) -> None:
    """`evenflow train --resume`; from the start where nothing was saved yet."""
    if checkpoints.checkpoints(run):
        finish(resumed(run, list(overrides), **options))
    else:
        train(load(TrainConfig, run / "config.yaml", []))


WINDOWS = [
    # the first save, of step 2; the second, of step 3, which takes the first away
    *(Window(checkpoint, name, 1) for name in ("save_model", "save_parts", "save_state")),
    *(Window(checkpoint, name, 2) for name in ("save_model", "save_parts", "save_state")),
    *(Window(checkpoint, "_sync", call, after) for call in (1, 2, 3, 4) for after in (False, True)),
    # evaluation and rows: before the first step, after the first, the second, the last
    *(Window(HeldOut, "evaluate", call, after) for call in (1, 3, 4) for after in (False, True)),
    *(Window(MetricsLog, "log", call, after) for call in (1, 2, 3, 4) for after in (False, True)),
    *(Window(metrics, "finite", call) for call in (1, 3, 4)),  # samples are written, the row is not
    # the end
    *(Window(trainer, "end_run", 1, after) for after in (False, True)),
    # its second: the first writes the recipe
    *(Window(run_folders, "write_atomic", 2, after) for after in (False, True)),
]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_a_run_killed_anywhere_ends_as_if_it_had_not_been(
    tiny_model: Path, tmp_path: Path, uninterrupted: Path, window: Window
) -> None:
    run = tmp_path / "run"
    with window.killing():
        train(small_recipe(tiny_model, run))
    go_on(run)
    assert_same_run(run, uninterrupted)


ON_RESUME = [
    *(Window(run_module, "save_config", 1, after) for after in (False, True)),
    *(Window(metrics, "keep_rows", call, after) for call in (1, 2) for after in (False, True)),
    *(Window(trainer, "not_ended", 1, after) for after in (False, True)),
    *(Window(MetricsLog, "log", 1, after) for after in (False, True)),
    *(Window(checkpoint, "_sync", 1, after) for after in (False, True)),
]


@pytest.mark.parametrize("window", ON_RESUME, ids=str)
def test_killed_again_while_it_goes_on(
    tiny_model: Path, tmp_path: Path, uninterrupted: Path, window: Window
) -> None:
    """After samples without their row were left behind, and with an override."""
    run = tmp_path / "run"
    with Window(metrics, "finite", 3).killing():
        train(small_recipe(tiny_model, run))
    with window.killing():
        go_on(run, "evaluation.every=1", "rollout.max_batch=7")
    assert load(TrainConfig, run / "config.yaml", [])
    go_on(run)
    assert_same_run(run, uninterrupted)


def test_a_finished_run_goes_on_further_and_is_killed_after_its_last_checkpoint(
    tiny_model: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    """The summary of the earlier end does not count."""
    run = tmp_path / "run"
    train(small_recipe(tiny_model, run, "train.steps=1"))
    assert json.loads((run / "summary.json").read_text())["steps"] == 1
    with Window(trainer, "end_run", 1).killing():
        go_on(run, "train.steps=3")
    assert not (run / "summary.json").exists()
    (run / "summary.json").write_text('{"steps": 1}')  # as earlier versions left it
    go_on(run)
    assert_same_run(run, uninterrupted)
    with pytest.raises(UserError, match="has all of its 3 steps"):
        go_on(run)


@pytest.mark.parametrize("phase", ["step", "evaluation"])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_signal_costs_neither_step_nor_evaluation(
    tiny_model: Path, tmp_path: Path, uninterrupted: Path, step: int, phase: str
) -> None:
    """Whether it comes in a step that is due for evaluation, or in the evaluation after it."""
    config = small_recipe(tiny_model, tmp_path / "run")
    stopped = Trainer(config, open_run(config, "test"))
    part, name = (stopped.stepper, "take") if phase == "step" else (stopped, "_evaluate")
    function = getattr(part, name)

    def signalled(*arguments: Any) -> Any:
        if stopped.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return function(*arguments)

    setattr(part, name, signalled)
    result = stopped.run()
    assert checkpoints.verify(result.checkpoint) is None
    rows = read_jsonl(stopped.folder / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(stopped.step + 1))
    assert result.stopped_by == (0 if stopped.done else signal.SIGTERM)
    if not stopped.done:
        go_on(stopped.folder)
    assert_same_run(stopped.folder, uninterrupted)


def test_an_evaluation_that_fails_loses_no_step(
    tiny_model: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    config = small_recipe(tiny_model, tmp_path / "run", "checkpoint.every=0")
    failing = Trainer(config, open_run(config, "test"))
    evaluate = failing._evaluate

    def fail(display: Display) -> Any:
        if failing.step == 2:
            raise UserError("the grader is gone")
        return evaluate(display)

    failing._evaluate = fail
    with pytest.raises(UserError, match="the grader is gone"):
        failing.run()
    assert checkpoints.latest_whole(failing.folder).name == "checkpoint-000002"
    go_on(failing.folder)
    assert_same_run(failing.folder, uninterrupted)


def test_a_failing_step_never_saves_over_its_only_checkpoint(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_recipe(tiny_model, tmp_path / "run", "checkpoint.every=1")
    failing = Trainer(config, open_run(config, "test"))
    one_step, saved = failing.stepper.take, []
    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda *a, **k: saved.append(a[1]) or save(*a, **k))

    def fail(*arguments: Any) -> Any:
        if failing.step == 2:
            raise UserError("the grader is gone")
        return one_step(*arguments)

    failing.stepper.take = fail
    with pytest.raises(UserError, match="the grader is gone"):
        failing.run()
    assert saved == [1, 2]


def test_patience_outlives_a_stop(recipe: Make) -> None:
    """Three fruitless steps end a run, also where it was stopped between them."""
    fruitless = ("algorithm=dapo", "reward.functions={tests.training.rewards:constant: 1.0}")
    config = recipe(*fruitless, "checkpoint.every=2", "rollout.max_rounds=1")
    first = Trainer(config, open_run(config, "test"))
    with pytest.raises(UserError, match=r"in 3 steps in a row \(last: step 3\)"):
        first.run()
    for _ in range(2):  # the third step is taken again, and is still the third
        saved = checkpoints.latest_whole(first.folder)
        assert saved.name == "checkpoint-000002"
        with pytest.raises(UserError, match=r"in 3 steps in a row \(last: step 3\)"):
            Trainer(config, first.folder, resume=saved).run()


@pytest.mark.parametrize("more", [(), ("checkpoint.every=1",), ("rollout.lag=1",)], ids=str)
def test_a_reward_that_was_mended_is_asked_again(
    recipe: Make, tmp_path: Path, more: tuple[str, ...]
) -> None:
    """The run has ended because of it, and what it said waits in the checkpoint."""
    broken = True

    def flaky(completions: list[str], **_: object) -> list[float]:
        return [math.nan if broken else float(len(text) % 2) for text in completions]

    config = recipe("algorithm=grpo", "train.steps=5", *more)
    first = Trainer(config, open_run(config, "test"), rewards=[flaky])
    with pytest.raises(UserError, match="the reward of every answer was unknown in 3 steps"):
        first.run()
    broken = False
    saved = checkpoints.latest_whole(first.folder)
    result = Trainer(config, first.folder, resume=saved, rewards=[flaky]).run()
    rows = read_jsonl(first.folder / "metrics.jsonl")
    unknown = {row["step"]: row["reward/unknown"] for row in rows if "reward/unknown" in row}
    assert result.steps == 5
    assert unknown == {1: 1.0, 2: 1.0, 3: 0.0, 4: 0.0, 5: 0.0}


def test_a_callback_that_raises_costs_no_step(
    tiny_model: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    config = small_recipe(tiny_model, tmp_path / "run", "checkpoint.every=0")

    def told(step: int, row: Mapping[str, Any]) -> None:
        if step == 2:
            raise LookupError(row["no such metric"])

    folder = open_run(config, "test")
    with pytest.raises(LookupError):
        Trainer(config, folder, on_step=told).run()
    assert checkpoints.latest_whole(folder).name == "checkpoint-000002"
    go_on(folder)
    assert_same_run(folder, uninterrupted)


@pytest.mark.parametrize("error", [UserError, RuntimeError])
@pytest.mark.parametrize("more", [(), ("objective={log_z: running}",)], ids=str)
def test_steps_before_one_that_fails_in_learning_are_saved(
    recipe: Make, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], error: type[Exception]
) -> None:
    """No weight had moved; what the step had put into a running log Z is taken out again."""
    config = recipe("algorithm=tba", "checkpoint.every=0", "train.steps=4", *more)
    whole = train(config.model_copy(update={"output": config.output + "-whole"}))
    first = Trainer(config, open_run(config, "test"))
    learn = first.stepper.learner.learn

    def fail(*arguments: Any, **options: Any) -> Any:
        if first.step == 2:
            raise error("out of memory in learning")
        return learn(*arguments, **options)

    monkeypatch.setattr(first.stepper.learner, "learn", fail)
    with pytest.raises(error, match="out of memory"):
        first.run()
    saved = checkpoints.latest_whole(first.folder)
    assert saved.name == "checkpoint-000002"
    Trainer(config, first.folder, resume=saved).run()
    assert_same_run(first.folder, whole.parent)
