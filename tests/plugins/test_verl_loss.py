"""What goes from verl's trainer to its workers; verl itself is not needed for it."""

from __future__ import annotations

import pytest
import torch

from evenflow.objectives import Answers, Balance
from evenflow.objectives.groups import shares_of
from evenflow.plugins.verl.loss import GROUPS, NO_PART, hand_over, rollout_metrics

MASK = torch.tensor([[1, 1, 0]] * 5 + [[0, 0, 0]])
OLD = -torch.arange(18.0).view(6, 3) / 10


def answers(rewards: list[float], groups: list[int]) -> Answers:
    return Answers(MASK, torch.tensor(rewards), torch.tensor(groups), OLD, ref_logprobs=OLD - 0.1)


def test_rows_that_take_no_part_change_nothing_for_the_others() -> None:
    given = answers([1.0, 0.0, torch.nan, 1.0, 0.0, 0.0], [0, 0, 0, 1, 1, 2])
    part = torch.tensor([True, True, False, True, True, False])
    objective = Balance(log_z="group")
    fields = hand_over(objective, given, part)
    alone = objective.prepare(given[part])
    alone = objective.estimate(alone.old_logprobs, alone)
    assert fields[GROUPS].tolist() == [0, 0, NO_PART, 1, 1, NO_PART]
    for name in ("signal", "prior", "log_z"):
        torch.testing.assert_close(fields[f"evenflow_{name}"][part], getattr(alone, name))
        assert (fields[f"evenflow_{name}"][~part] == 0).all()


def test_of_a_batch_without_a_known_reward_nothing_is_handed_over_but_that() -> None:
    given = answers([torch.nan] * 6, [0, 0, 0, 1, 1, 2])
    fields = hand_over(Balance(), given, torch.zeros(6, dtype=torch.bool))
    assert {name: set(values.tolist()) for name, values in fields.items()} == {GROUPS: {NO_PART}}


def test_a_running_log_z_is_looked_up_by_question_and_moves() -> None:
    objective = Balance(log_z="running", reward="raw", scale="sum", running_rate=0.5)
    memory = objective.memory(lambda keys: pytest.fail(str(keys)))
    given = answers([1.0, 0.0, 0.0, 1.0, 0.0, 0.0], [0, 0, 0, 1, 1, 2])
    part, keys = MASK.any(1), ["a", "a", "a", "b", "b", "padding"]
    hand_over(objective, given, part, memory=memory, keys=keys)
    assert memory is not None
    known = dict(memory.log_z)
    assert known.keys() == {"a", "b"}
    fields = hand_over(
        objective, given.replace(rewards=given.rewards + 1), part, memory=memory, keys=keys
    )
    assert fields["evenflow_log_z"][0].item() == pytest.approx(known["a"])
    assert memory.log_z["a"] > known["a"]


def test_a_copy_that_takes_no_part_is_no_copy() -> None:
    given = answers([1.0, torch.nan, 0.0, 1.0, 0.0, 0.0], [0, 0, 0, 1, 1, 2])
    tokens = [[4, 5], [4, 5], [6], [7], [7], []]
    part = MASK.any(1) & given.rewards.isfinite()
    fields = hand_over(Balance(log_z="group", duplicates="once"), given, part, tokens)
    assert fields["evenflow_share"].tolist() == [1.0, 0.0, 1.0, 0.5, 0.5, 0.0]


def test_copies_of_an_answer_share_what_it_counts_for() -> None:
    assert shares_of([0, 0, 0, 1], [[1, 2], [1, 2], [1], [1, 2]]).tolist() == [0.5, 0.5, 1.0, 1.0]


def test_groups_that_lost_an_answer_are_counted() -> None:
    given = answers([1.0, 1.0, 1.0, 1.0, 0.0, 0.0], [0, 0, 0, 1, 1, 2])
    real = MASK.any(1)
    unknown = torch.tensor([False] * 4 + [True, False])
    found = rollout_metrics(given, real & ~unknown, unknown, real, 3, 1.0)
    assert found == {
        "reward/unknown": pytest.approx(1 / 5),
        "groups/incomplete": 1.0,
        "reward/equal_groups": 1.0,
        "reward/mean": 1.0,
        "accuracy": 1.0,
    }
    nothing = rollout_metrics(given, real & False, real, real, 3, 1.0)
    assert nothing == {"reward/unknown": 1.0, "groups/incomplete": 2.0}


def test_accuracy_does_not_see_the_penalty_for_length() -> None:
    """Two right answers, of which the second one is half-way into DAPO's buffer."""
    given, real = answers([1.0, 0.5, 0.0, 0.0, 0.0, 0.0], [0, 0, 0, 1, 1, 1]), MASK.any(1)
    judged = torch.tensor([True, True, *[False] * 4])
    found = rollout_metrics(given, real, ~real, real, 3, 1.0, judged)
    assert found["accuracy"] == pytest.approx(2 / int(real.sum()))
    without = rollout_metrics(given, real, ~real, real, 3, 1.0)
    assert without["accuracy"] == pytest.approx(1 / int(real.sum()))
