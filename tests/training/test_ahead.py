"""Sampling ahead of learning, as whole runs: with replay and answers in parts, too."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.rewards import Rewards
from evenflow.rollout import stream
from evenflow.rollout.embedded.engine import EmbeddedEngine
from evenflow.rollout.engine import Limits
from evenflow.rollout.group import Group
from evenflow.rollout.stream import Stream
from evenflow.run import checkpoints
from evenflow.training import checkpoint
from evenflow.training.stepper import Stepper
from evenflow.training.trainer import Trainer
from tests.training.runs import PARTS, assert_same_run, groups_learned, metrics, open_run, train

Make = Callable[..., TrainConfig]
LAG = ("rollout.lag=2", "train.steps=6")
EVALUATED = ("evaluation.every=2", "evaluation.questions=2", "evaluation.num_generations=2")
SMALL = ("rollout.questions=2", "rollout.num_generations=2", "train.steps=5")
WAYS = [
    (*SMALL, "rollout.lag=2"),
    (*SMALL, "rollout.lag=1", "algorithm=flowrl", "model.lora={rank: 2}", *EVALUATED),
    (*SMALL, "rollout.lag=1", "algorithm=dapo", "reward.right=0.1", "train.mini_batch_questions=1"),
    (*SMALL, "rollout.lag=1", "algorithm=tba", "objective={log_z: offline}"),
    (*SMALL, "rollout.replay={questions: 2, keep: 3, by: reward}"),
    (*SMALL, *PARTS, "rollout.lag=2", "rollout.replay.questions=1", *EVALUATED),
]


def with_budget(config: TrainConfig, answers: int) -> TrainConfig:
    return config.model_copy(update={"train": config.train.model_copy(update={"answers": answers})})


@contextmanager
def in_turns() -> Iterator[None]:
    """The embedded engine does not sample beside learning."""
    limits = EmbeddedEngine.limits

    def without(self: Any, prompts: Any) -> Limits:
        found = limits(self, prompts)
        return Limits(found.positions, found.remark, found.vocabulary, exact=found.exact)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddedEngine, "limits", without)
        yield


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_each_batch_is_of_the_policy_so_many_steps_before(recipe: Make, lag: int) -> None:
    with groups_learned() as seen:
        rows = metrics(train(recipe(f"rollout.lag={lag}", "train.steps=6")))
    versions = [{group.version for group in groups} for groups in seen]
    assert versions == [{max(0, step - lag)} for step in range(6)]
    assert [row["staleness/max"] for row in rows] == [min(step, lag) for step in range(6)]
    assert [row["staleness/mean"] for row in rows] == [min(step, lag) for step in range(6)]


def test_the_log_probs_are_those_of_that_policy(recipe: Make) -> None:
    """Each group's, as scored by the policy that the run had at its version."""
    config = recipe("rollout.lag=2", "train.steps=5", "checkpoint.every=1", "checkpoint.keep=9")
    config = config.model_copy(
        update={"train": config.train.model_copy(update={"learning_rate": 0.1})}
    )
    with groups_learned() as seen:
        last = train(config)
    for step in (3, 4):
        folder = last.parent / f"checkpoint-{step - 2:06}"
        policy = Trainer(config, resume=folder).policy
        for group in seen[step]:
            scored = policy.score([group.prompt.ids] * len(group), group.answers)
            for row, ours in zip(scored, group.logprobs, strict=True):
                assert row[: len(ours)].tolist() == pytest.approx(ours, abs=1e-4)


@pytest.mark.parametrize("overrides", WAYS, ids=lambda o: " ".join(o))
def test_a_thread_samples_what_would_be_sampled_in_turns(
    recipe: Make, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    threaded = train(recipe(*overrides, f"output={tmp_path / 'a'}"))
    with in_turns():
        other = train(recipe(*overrides, f"output={tmp_path / 'b'}"))
    # The one difference: where the time passed.
    assert ("seconds/waiting" in metrics(threaded)[-1]) == ("rollout.lag" in " ".join(overrides))
    assert "seconds/waiting" not in metrics(other)[-1]
    assert_same_run(threaded.parent, other.parent)


@pytest.mark.parametrize("overrides", WAYS, ids=lambda o: " ".join(o))
def test_going_on_is_bit_for_bit(recipe: Make, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    """Queue, buffer and answers that go on are in the checkpoint."""
    step = 2
    config = recipe(*overrides, "checkpoint.every=1", "checkpoint.keep=9")
    whole = train(config)
    copy = Path(shutil.copytree(whole.parent, tmp_path / "copy"))
    for folder in checkpoints.checkpoints(copy):
        if int(folder.name[-6:]) > step:
            shutil.rmtree(folder)
    for name in checkpoints.checkpoints(copy)[:-1]:
        shutil.rmtree(name)
    Trainer(config, copy, resume=copy / f"checkpoint-{step:06}").run()
    for folder in checkpoints.checkpoints(whole.parent)[:-1]:
        shutil.rmtree(folder)
    assert_same_run(copy, whole.parent)


def test_what_was_sampled_is_not_sampled_again(recipe: Make, tmp_path: Path) -> None:
    config = recipe(*LAG, "checkpoint.every=1", "checkpoint.keep=9")
    with in_turns():
        last = train(config)
        state = checkpoint.load_state(last.parent / "checkpoint-000002")["stream"]
        assert [each["step"] for each in state["ready"]] == [2, 3]
        copy = Path(shutil.copytree(last.parent, tmp_path / "copy"))
        with sampled() as calls:
            resumed = Trainer(config, copy, resume=copy / "checkpoint-000002")
            resumed.run()
    assert len(calls) == 2  # the batches of steps 5 and 6


@contextmanager
def sampled(before: Callable[[int], None] = lambda _: None) -> Iterator[list[int]]:
    """The versions that the engine was asked for groups of; `before(n)` the n-th time, from 0."""
    calls: list[int] = []
    groups = EmbeddedEngine.groups

    def noting(self: Any, *arguments: Any, **options: Any) -> Iterator[Group]:
        calls.append(self.version)
        before(len(calls) - 1)
        yield from groups(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddedEngine, "groups", noting)
        yield calls


def test_sampling_goes_on_while_the_policy_learns(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch, from the third on, comes only when the step before it has been learned from: one
    that samples it before it learns, in the same thread, would wait in vain."""
    learned = [threading.Event() for _ in range(4)]
    count = Stepper._count

    def tell(self: Any, *arguments: Any) -> None:
        count(self, *arguments)
        learned[self.step].set()

    def wait(number: int) -> None:
        assert number < 2 or learned[number - 1].wait(20)

    monkeypatch.setattr(Stepper, "_count", tell)
    with sampled(wait):
        train(recipe("rollout.lag=1"))


def test_an_evaluation_has_the_engine_to_itself(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, most = [0], [0]
    groups = EmbeddedEngine.groups

    def counting(self: Any, *arguments: Any, **options: Any) -> Iterator[Group]:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.02)
        yield from groups(self, *arguments, **options)
        inside[0] -= 1

    monkeypatch.setattr(EmbeddedEngine, "groups", counting)
    train(recipe("rollout.lag=2", "evaluation.every=1", "evaluation.questions=2"))
    assert most[0] == 1


def test_an_engine_that_fails_ahead_loses_nothing(recipe: Make, tmp_path: Path) -> None:
    """Its error is raised where its batch is needed, and what was learned is saved; the batches
    that it had sampled are in the checkpoint."""
    config = recipe(*LAG, "checkpoint.every=0")
    whole = train(config.model_copy(update={"output": str(tmp_path / "whole")}))

    def fail(number: int) -> None:
        if number == 4:
            raise UserError("the engine is gone")

    failing = Trainer(config, open_run(config, "test"))
    with sampled(fail), pytest.raises(UserError, match="the engine is gone"):
        failing.run()
    assert failing.stepper.stream.thread is None
    saved = checkpoints.latest_whole(failing.folder)
    assert saved.name == "checkpoint-000004"
    resumed = Trainer(config, failing.folder, resume=saved)
    resumed.run()
    shutil.rmtree(saved)
    assert_same_run(failing.folder, whole.parent)


def test_a_batch_that_was_taken_and_not_learned_from_is_kept(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe(*LAG, "checkpoint.every=0")
    failing = Trainer(config, open_run(config, "test"))

    def fail(*_: Any, **__: Any) -> None:
        raise UserError("no log-probs today")

    with monkeypatch.context() as patch:
        rescored = failing.stepper.policy.score
        patch.setattr(
            failing.stepper.policy,
            "score",
            lambda *a, **k: fail() if failing.step == 2 else rescored(*a, **k),
        )
        with pytest.raises(UserError, match="no log-probs today"):
            failing.run()
    saved = checkpoints.latest_whole(failing.folder)
    assert saved.name == "checkpoint-000002"
    state = checkpoint.load_state(saved)["stream"]
    assert state["ready"][0]["step"] == 2
    assert len(state["ready"]) + len(state["orders"]) == 3
    assert Trainer(config, failing.folder, resume=saved).run().steps == 6


def test_ctrl_c_does_not_wait_for_what_is_sampled_ahead(recipe: Make, tmp_path: Path) -> None:
    """It ends with the group at hand, which is dropped; going on samples that batch again."""
    config = recipe("rollout.lag=1", "train.steps=6", "rollout.max_batch=1", "checkpoint.every=0")
    whole = train(config.model_copy(update={"output": str(tmp_path / "whole")}))
    stopped = Trainer(config, open_run(config, "test"))

    def interrupt(number: int) -> None:
        if number == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with sampled(interrupt):
        result = stopped.run()
    assert result.stopped_by == signal.SIGINT
    assert not [thread for thread in threading.enumerate() if thread.name == "sampling"]
    Trainer(config, stopped.folder, resume=result.checkpoint).run()
    shutil.rmtree(result.checkpoint)
    assert_same_run(stopped.folder, whole.parent)


@pytest.mark.parametrize("more", [(), ("algorithm=dapo", "reward.right=0.1")])
def test_the_budget_of_answers_holds(recipe: Make, more: tuple[str, ...]) -> None:
    """Batches that wait count: none is sampled that the budget has no room for."""
    config = recipe("rollout.lag=3", "train.steps=20", "train.answers=100", *more)
    trainer = Trainer(config, open_run(config, "test"))
    trainer.run()
    assert trainer.stepper.stream.sampled == trainer.stepper.spent.answers <= 100
    assert trainer.stepper.spent.answers > 100 - 16


def test_what_was_sampled_ahead_and_not_learned_from_is_in_the_summary(recipe: Make) -> None:
    """The reference's answers take the room of batches that wait already."""
    offline = ("algorithm=tba", "objective={log_z: offline}")
    config = recipe(*SMALL[:2], *offline, "train.steps=9", "rollout.lag=3", "train.answers=24")
    sampled: list[int] = []
    groups = EmbeddedEngine.groups

    def noting(self: Any, *arguments: Any, **options: Any) -> Iterator[Group]:
        for group in groups(self, *arguments, **options):
            sampled.append(len(group))
            yield group

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddedEngine, "groups", noting)
        last = train(config)
    summary = json.loads((last.parent / "summary.json").read_text())
    assert summary["answers"] == sum(sampled) > metrics(last)[-1]["answers"]


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_a_budget_that_is_raised_skips_no_batch(
    recipe: Make, monkeypatch: pytest.MonkeyPatch, lag: int
) -> None:
    taken: list[tuple[int, int]] = []
    take = Stream.take

    def noting(self: Stream, phase: Any) -> Any:
        found = take(self, phase)
        taken.append((self.step, self.ready[0].step))
        return found

    monkeypatch.setattr(Stream, "take", noting)
    config = recipe(*SMALL, f"rollout.lag={lag}", "train.answers=12")
    saved = train(config)
    Trainer(with_budget(config, 20), saved.parent, resume=saved).run()
    assert taken == [(step, step) for step in range(5)]


def test_a_run_that_was_shortened_and_made_longer_samples_each_batch_once(recipe: Make) -> None:
    """Of the longer run the fifth batch is ordered already when the run is shortened."""
    config = recipe(*SMALL[:2], "rollout.lag=2", "train.steps=9")
    with in_turns():
        trainer = Trainer(config, open_run(config, "test"), on_step=lambda step, _: step == 3)
    delivered: list[int] = []
    deliver = Stream._deliver

    def noting(self: Stream, order: Any, *arguments: Any) -> None:
        delivered.append(order.step)
        deliver(self, order, *arguments)

    with in_turns(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stream, "_deliver", noting)
        saved = trainer.run().checkpoint
        for steps in (4, 9):
            longer = config.train.model_copy(update={"steps": steps})
            going_on = config.model_copy(update={"train": longer})
            saved = Trainer(going_on, trainer.folder, resume=saved).run().checkpoint
    assert delivered == [*range(9)]


def test_who_asks_twice_to_stop_does_not_wait_for_rewards(recipe: Make) -> None:
    """The second Ctrl-C comes while the answers of a batch that was sampled ahead are judged."""
    config = recipe(*SMALL, "rollout.lag=1")
    trainer = Trainer(config, open_run(config, "test"))
    judging, let_go = threading.Event(), threading.Event()

    judged = []

    def hangs(completions: list[str], **_: object) -> list[float]:
        judged.extend(completions)
        if len(judged) > 4:  # of the second batch, which the first step is taken beside
            judging.set()
            let_go.wait(60)
        return [1.0] * len(completions)

    def twice(*_: object) -> None:
        assert judging.wait(60)
        raise KeyboardInterrupt

    ahead = trainer.stepper.stream
    rewards = Rewards([("hangs", hangs, 1.0)], timeout=None)
    ahead.collector = dataclasses.replace(ahead.collector, rewards=rewards)
    trainer.on_step = twice
    try:
        with pytest.raises(KeyboardInterrupt):
            trainer.run()
        assert ahead.thread is None
        assert any(each.name == "sampling" for each in threading.enumerate())
    finally:
        let_go.set()


def test_no_batch_is_lost_that_the_budget_refuses_while_the_next_is_ordered(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fourth batch is refused just as the weights for the fifth are copied."""
    begun, ordering = [0], threading.Event()
    collect, snapshot = Stream._collect, stream.snapshot

    def waiting(self: Stream, order: Any, *arguments: Any) -> Any:
        if order.step == 3:
            ordering.wait(20)
        return collect(self, order, *arguments)

    def slow(policy: Any) -> Any:
        begun[0] += 1
        if begun[0] == 3:
            ordering.set()
            time.sleep(0.3)  # enough for the sampler, where nothing holds it back
        return snapshot(policy)

    monkeypatch.setattr(Stream, "_collect", waiting)
    monkeypatch.setattr(stream, "snapshot", slow)
    config = recipe(*SMALL, "rollout.lag=2", "train.answers=12")
    saved = train(config)
    assert ordering.is_set()
    result = Trainer(with_budget(config, 20), saved.parent, resume=saved).run()
    assert result.checkpoint.name == "checkpoint-000005"


def test_dynamic_sampling_asks_the_questions_in_the_runs_order(recipe: Make) -> None:
    """Also across batches: none is passed over, none asked twice."""
    asked: list[Any] = []
    groups = EmbeddedEngine.groups

    def noting(self: Any, prompts: Any, *arguments: Any, **options: Any) -> Iterator[Group]:
        asked.extend(prompts)
        return groups(self, prompts, *arguments, **options)

    config = recipe("algorithm=dapo", "reward.right=0.1", "rollout.lag=2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddedEngine, "groups", noting)
        trainer = Trainer(config, open_run(config, "test"))
        trainer.run()
    from evenflow.data import question_order

    order = question_order(32, config.seed, 0, len(asked))
    assert [id(prompt) for prompt in asked] == [id(trainer.questions.train[i]) for i in order]
    assert trainer.stepper.spent.questions == len(asked)


def test_an_adapters_base_is_not_held_twice(recipe: Make) -> None:
    trainer = Trainer(recipe("rollout.lag=1", "model.lora={rank: 2}"))
    follower = trainer.stepper.stream.follower
    assert follower is not None
    ours = dict(trainer.policy.model.named_parameters())
    for name, parameter in follower.policy.model.named_parameters():
        shared = parameter.data_ptr() == ours[name].data_ptr()
        assert shared == (not parameter.requires_grad), name
