"""Dynamic sampling, the penalty for length, and the budget of answers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.training.runs import open_run

from evenflow.config import TrainConfig
from evenflow.data import Prompt, question_order
from evenflow.errors import UserError
from evenflow.rewards import Rewards
from evenflow.rollout.collect import questions_to_ask
from evenflow.rollout.group import Group, count_answers
from evenflow.run import checkpoints
from evenflow.run.tracking import read_jsonl
from evenflow.training.scoring import rewards_of, to_rows
from evenflow.training.trainer import Trainer

Make = Callable[..., TrainConfig]
NAN = math.nan


def build(config: TrainConfig) -> Trainer:
    return Trainer(config, open_run(config, "test"))


def judged_by(trainer: Trainer, judge: Callable) -> list[list[str]]:
    """Give the trainer another reward; the questions of each round of sampling, in order."""
    rounds: list[list[str]] = []
    sample = trainer.engine.groups

    def reward(prompts: list[str], completions: list[str], **_: object) -> list[float]:
        return [judge(p, i % 4) for i, p in enumerate(prompts)]

    def noting(prompts: list[Prompt], *arguments: Any, **options: Any) -> Iterator[Group]:
        rounds.append([str(prompt.text) for prompt in prompts])
        return sample(prompts, *arguments, **options)

    object.__setattr__(trainer.stepper.collector, "rewards", Rewards([("judge", reward, 1.0)]))
    trainer.engine.groups = noting  # type: ignore[method-assign]
    return rounds


def collect(trainer: Trainer, step: int = 0, drawn: int = 0, left: int | None = None):
    from contextlib import nullcontext

    return trainer.stepper.collector.collect(step, drawn, left, lambda _: nullcontext())


def hard(prompt: str) -> bool:
    """Half the questions, by their text: nobody ever solves them."""
    return sum(map(ord, prompt)) % 2 == 0


def test_no_group_with_equal_correctness_is_left(recipe: Make) -> None:
    trainer = build(recipe("algorithm=grpo", "rollout.dynamic_sampling=true"))
    calls = judged_by(trainer, lambda p, i: 0.0 if hard(p) else float(i == 0))
    batch = collect(trainer)
    assert len(calls) > 1
    assert [len(group) for group in batch.groups] == [4] * 4
    assert not any(hard(str(group.prompt.text)) for group in batch.groups)
    assert all(set(group.total) == {0.0, 1.0} for group in batch.groups)
    # Nothing is counted twice, and what was dropped is counted.
    asked = [question for call in calls for question in call]
    assert batch.questions == len(asked) == len(set(asked))
    assert batch.answers == 4 * len(asked)
    dropped = sum(map(hard, asked))
    surplus = len(asked) - dropped - 4
    assert batch.metrics["rollout/dropped_questions"] == dropped + surplus
    assert batch.metrics["accuracy"] == pytest.approx((len(asked) - dropped) / 4 / len(asked))
    # The questions are the run's next ones, in its order.
    order = question_order(32, trainer.config.seed, 0, len(asked))
    assert asked == [trainer.questions.train[i].text for i in order]


def test_without_it_every_group_is_kept(recipe: Make) -> None:
    trainer = build(recipe("algorithm=grpo"))
    judged_by(trainer, lambda p, i: 1.0)
    batch = collect(trainer)
    assert count_answers(batch.groups) == batch.answers == 16
    assert "rollout/dropped_questions" not in batch.metrics


def test_correctness_is_told_before_the_penalty(recipe: Make) -> None:
    """All answers of a question are right, of different lengths: the penalty makes their rewards
    differ, and the group is dropped all the same."""
    trainer = build(
        recipe(
            "algorithm=grpo",
            "rollout.dynamic_sampling=true",
            "rollout.max_rounds=2",
            "reward.overlong_share=0.9",
        )
    )
    judged_by(trainer, lambda p, i: 1.0)
    assert collect(trainer).groups == []


def test_penalty_is_taken_off_the_reward_and_not_off_the_accuracy(recipe: Make) -> None:
    trainer = build(recipe("algorithm=grpo", "reward.overlong_share=0.5"))
    judged_by(trainer, lambda p, i: 1.0)
    batch = collect(trainer)
    # L = 10 and C = 5: 0 up to five tokens, one fifth for each further one.
    answers = [answer for group in batch.groups for answer in group.answers]
    expected = [1 - max(0, len(a) - 5) / 5 for a in answers]
    assert rewards_of(batch.groups, trainer.config)[0].tolist() == pytest.approx(expected)
    assert min(expected) < 1
    assert batch.metrics["accuracy"] == batch.metrics["reward/mean"] == 1.0


def test_unknown_rewards_neither_fill_nor_mix_a_group(recipe: Make) -> None:
    trainer = build(recipe("algorithm=grpo", "rollout.dynamic_sampling=true"))
    judged_by(trainer, lambda p, i: [1.0, NAN, NAN, NAN][i] if hard(p) else [1.0, NAN, 0.0, 0.0][i])
    batch = collect(trainer)
    assert not any(hard(str(group.prompt.text)) for group in batch.groups)
    assert [len(group) for group in batch.groups] == [3] * 4
    assert not any(math.isnan(total) for group in batch.groups for total in group.total)


def test_a_round_in_which_every_reward_is_late_is_the_last(recipe: Make) -> None:
    trainer = build(recipe("algorithm=grpo", "rollout.dynamic_sampling=true"))
    calls = judged_by(trainer, lambda p, i: 1.0)

    def hangs(completions: list[str], **_: object) -> list[float]:
        time.sleep(2)
        return [1.0] * len(completions)

    rewards = Rewards([("hangs", hangs, 1.0)], timeout=0.1)
    object.__setattr__(trainer.stepper.collector, "rewards", rewards)
    batch = collect(trainer)
    assert len(calls) == 1
    assert batch.groups == []
    assert batch.metrics["reward/unknown"] == 1


def test_a_round_that_nobody_can_judge_is_not(recipe: Make) -> None:
    """Unknown for most questions, a whole first round of them among these: others are asked."""
    trainer = build(
        recipe("algorithm=grpo", "rollout.dynamic_sampling=true", "rollout.questions=1")
    )
    first = trainer.questions.train[question_order(32, trainer.config.seed, 0, 1)[0]].text
    calls = judged_by(trainer, lambda p, i: None if p == first else float(i == 0))
    batch = collect(trainer)
    assert len(calls) > 1
    assert batch.groups


def test_rounds_are_limited(recipe: Make) -> None:
    trainer = build(
        recipe("algorithm=grpo", "rollout.dynamic_sampling=true", "rollout.max_rounds=3")
    )
    calls = judged_by(trainer, lambda p, i: 0.0)
    batch = collect(trainer)
    assert len(calls) == 3
    assert batch.groups == []
    assert batch.answers == 3 * 16


def test_a_question_that_comes_twice_in_a_batch_is_two_groups(recipe: Make) -> None:
    """Two questions, four a step: each comes twice, and each time its answers are compared among
    themselves alone."""
    trainer = build(recipe("algorithm=grpo", "data.train_questions=2"))
    judged_by(trainer, lambda p, i: float(i == 0))
    batch = collect(trainer)
    assert len({group.prompt.key for group in batch.groups}) == 2
    assert [len(group) for group in batch.groups] == [4] * 4
    rows = to_rows(batch.groups, rewards_of(batch.groups, trainer.config)[0], trainer.device)
    assert rows.count == 4
    assert rows.answers.groups.bincount().tolist() == [4] * 4
    assert len(set(rows.keys)) == 2


def test_dynamic_sampling_asks_again_where_there_are_few_questions(recipe: Make) -> None:
    trainer = build(
        recipe(
            "algorithm=grpo",
            "rollout.dynamic_sampling=true",
            "rollout.max_rounds=2",
            "data.train_questions=6",
        )
    )
    calls = judged_by(trainer, lambda p, i: 0.0)
    assert collect(trainer).questions == 8
    assert [len(call) for call in calls] == [4, 4]


def test_a_run_in_which_nothing_can_be_learned_says_so(recipe: Make) -> None:
    trainer = build(
        recipe("algorithm=grpo", "rollout.dynamic_sampling=true", "rollout.max_rounds=1")
    )
    judged_by(trainer, lambda p, i: 0.0)
    with pytest.raises(UserError, match=r"right and wrong in 3 steps.*rollout.dynamic_sampling"):
        trainer.run()


@pytest.mark.parametrize(
    ("asked", "kept", "expected"), [(0, 0, 16), (16, 0, 16), (16, 12, 6), (22, 15, 2), (16, 1, 16)]
)
def test_later_rounds_ask_what_is_likely_to_fill_the_batch(
    asked: int, kept: int, expected: int
) -> None:
    """16 asked, 12 kept: 4 missing at a rate of 3/4 are ⌈16/3⌉ = 6 questions."""
    assert questions_to_ask(16, asked, kept) == expected


def test_a_batch_that_straddles_two_epochs_takes_the_questions_in_order(recipe: Make) -> None:
    trainer = build(
        recipe("algorithm=grpo", "rollout.dynamic_sampling=true", "data.train_questions=6")
    )
    calls = judged_by(trainer, lambda p, i: float(i == 0))
    for drawn in range(7):
        calls.clear()
        batch = collect(trainer, drawn=drawn)
        order = question_order(6, trainer.config.seed, drawn, 4)
        assert calls == [[trainer.questions.train[i].text for i in order]]
        assert [len(group) for group in batch.groups] == [4] * 4
        assert batch.questions == 4
        assert batch.metrics["rollout/dropped_questions"] == 0


def test_a_step_that_fails_is_not_counted(recipe: Make) -> None:
    """The reference fails in the third step; the saved run goes on as if it never had."""
    config = recipe("algorithm=grpo", "train.answers=64", "train.steps=9")
    trainer = build(config)
    score = trainer.policy.score

    def fail_in_third(*args, **kwargs):  # type: ignore[no-untyped-def]
        if trainer.step == 2:
            raise UserError("out of memory")
        return score(*args, **kwargs)

    trainer.policy.score = fail_in_third
    with pytest.raises(UserError, match="out of memory"):
        trainer.run()
    resumed = Trainer(config, trainer.folder, resume=checkpoints.latest_whole(trainer.folder))
    assert (resumed.step, resumed.stepper.spent.answers, resumed.stepper.spent.questions) == (
        2,
        32,
        8,
    )
    resumed.run()
    assert (resumed.step, resumed.stepper.spent.answers, resumed.stepper.spent.questions) == (
        4,
        64,
        16,
    )


def test_offline_log_z_pays_for_its_reference_answers(recipe: Make) -> None:
    trainer = build(recipe("algorithm=tba", "objective={log_z: offline}", "train.answers=100"))
    trainer.run()
    assert trainer.step == 3
    assert trainer.stepper.spent.answers == 96


def test_the_budget_of_answers_is_never_exceeded(recipe: Make) -> None:
    """100 answers are six batches of 16; dropped answers count."""
    trainer = build(recipe("algorithm=tba", "train.steps=50", "train.answers=100"))
    trainer.run()
    assert trainer.stepper.spent.answers == 96
    assert trainer.step == 6
    other = build(
        recipe(
            "algorithm=grpo",
            "train.steps=50",
            "train.answers=100",
            "rollout.dynamic_sampling=true",
            f"output={trainer.folder}-2",
        )
    )
    judged_by(other, lambda p, i: 0.0 if hard(p) else float(i == 0))
    other.run()
    assert 84 < other.stepper.spent.answers <= 100
    assert other.step < 6
    rows = read_jsonl(other.folder / "metrics.jsonl")
    assert rows[-1]["answers"] == other.stepper.spent.answers


def test_the_schedule_follows_the_budget(recipe: Make) -> None:
    """Half the answers used is half the way down, however few steps that were."""
    trainer = build(
        recipe(
            "train.steps=100",
            "train.answers=64",
            "train.schedule=linear",
            "train.warmup_steps=0",
            "train.learning_rate=1.0e-3",
        )
    )
    rates = [row["learning_rate"] for row in read_jsonl(trainer.run().folder / "metrics.jsonl")]
    assert rates == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])
