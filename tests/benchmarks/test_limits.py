"""benchmarks/limits.py: what its teachers teach is what they say."""

from __future__ import annotations

import importlib
import math
import random
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Any

import pytest
import torch

from evenflow.evaluation.exact import solution_masses
from evenflow.policy.loading import load_model
from evenflow.policy.policy import Policy

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("limits")


@pytest.fixture
def policy() -> Policy:
    return Policy(load_model("builtin:countdown", torch.float32))


@pytest.fixture
def lists(limits: ModuleType) -> Any:
    return limits.Lists("countdown")


def test_onward_is_what_leaves_a_right_answer_within_reach(limits: ModuleType) -> None:
    after = limits.onward([[5, 6, 1], [5, 7, 1]])
    assert after == {(): {5}, (5,): {6, 7}, (5, 6): {1}, (5, 7): {1}}


def test_mass_and_reward_are_of_the_probability_of_being_right(
    limits: ModuleType, policy: Policy, lists: Any
) -> None:
    rows = lists.task.rows("train", 3)
    solutions = [lists.task.row_solutions(row) for row in rows]

    def score(prompts: list[str], answers: list[str]) -> torch.Tensor:
        ids = [lists.encode(text, ends=True) for text in answers]
        return policy.score([lists.encode(text) for text in prompts], ids).sum(1)

    found = solution_masses(score, [row["prompt"] for row in rows], solutions)
    right = [sum(of_question.values()) for of_question in found]
    draw = random.Random(0)
    assert -limits.reward(policy, lists, rows, draw).item() == pytest.approx(fmean(right), rel=1e-4)
    logs = fmean(map(math.log, right))
    assert -limits.mass(policy, lists, rows, draw).item() == pytest.approx(logs, rel=1e-4)


def test_slips_end_with_the_first_one(
    limits: ModuleType, policy: Policy, lists: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One right answer and one that slips at its third token: log of the allowed probability at
    every token of the one, at the first three of the other."""
    (row,) = lists.task.rows("train", 1)
    prompt, right = lists.encode(row["prompt"]), lists.right(row)
    after = limits.onward(right)
    good = right[0]
    slip = next(token for token in range(3, 20) if token not in after[tuple(good[:2])])
    wrong = [*good[:2], slip, *good[3:]]
    monkeypatch.setattr(limits, "sample", lambda *_: [(0, good), (0, wrong)])
    reach = []
    for answer, last in ((good, len(good)), (wrong, 3)):
        logprobs = policy.model(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        for position in range(last):
            allowed = sorted(after[tuple(answer[:position])])
            reach.append(logprobs[len(prompt) - 1 + position, allowed].logsumexp(0))
    within, mark = torch.stack(reach), logprobs[len(prompt) + 1, slip]
    expected = {
        "slips": -within.sum() / 2,
        "reach": -within.exp().sum() / 2,
        "marks": mark / 2,
        "weighed": mark / within[-1].detach().exp() / 2,
    }
    for name, value in expected.items():
        found = limits.TEACHERS[name](policy, lists, [row], random.Random(0))
        torch.testing.assert_close(found, value)
