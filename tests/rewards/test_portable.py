"""The reward functions as other trainers call them (TRL itself: tests_trl)."""

from __future__ import annotations

import asyncio
import inspect
import json
import math as maths
from typing import Any

import pytest

from evenflow.errors import UserError
from evenflow.rewards.code import code
from evenflow.rewards.compose import Rewards
from evenflow.rewards.math import boxed_strict, dapo, gsm8k, math, math_verify
from evenflow.rewards.portable import portable

TESTS = json.dumps({"entry_point": "f", "inputs": [[3]], "outputs": [9]})


def verl(reward: Any, answer: str, truth: str, **extra_info: Any) -> dict[str, float]:
    """As verl 0.9's reward managers call a `custom_reward_function`: one answer, all by name."""
    return reward(
        data_source="somewhere",
        solution_str=answer,
        ground_truth=truth,
        extra_info={"index": 7, "num_turns": None, "rollout_reward_scores": {}} | extra_info,
    )


@pytest.mark.parametrize("reward", [math, math_verify, boxed_strict, gsm8k])
def test_verl_gets_a_score(reward: Any) -> None:
    assert verl(reward, r"\boxed{3}", "3") == {"score": 1.0, "acc": 1.0, "unknown": 0.0}
    assert verl(reward, r"\boxed{4}", "3") == {"score": 0.0, "acc": 0.0, "unknown": 0.0}


def test_scores_keep_their_values() -> None:
    assert verl(dapo, "Answer: 3", "3") == {"score": 1.0, "acc": 1.0, "unknown": 0.0}
    assert verl(dapo, "Answer: 4", "3") == {"score": -1.0, "acc": 0.0, "unknown": 0.0}


def test_programs_have_their_tests_as_the_truth() -> None:
    assert verl(code, "def f(x):\n    return x * x", TESTS)["score"] == 1.0
    assert verl(code, "def f(x):\n    return x + x", TESTS)["score"] == 0.0


@pytest.mark.parametrize(("reward", "truth"), [(math, ""), (gsm8k, "no number")])
def test_unknown_is_zero_and_counted(reward: Any, truth: str) -> None:
    assert verl(reward, "3", truth) == {"score": 0.0, "acc": 0.0, "unknown": 1.0}


def test_extra_info_is_further_columns() -> None:
    @portable("goal")
    def near(completions: list, goal: list, scale: list, **_: Any) -> list[float]:
        return [1 - abs(float(c) - g) / s for c, g, s in zip(completions, goal, scale, strict=True)]

    assert verl(near, "3", 5, scale=4)["score"] == 0.5  # type: ignore[arg-type]
    assert near(["3"], goal=[5], scale=[4]) == [0.5]
    assert "goal" in inspect.signature(near).parameters


@pytest.mark.parametrize("reward", [math, dapo, math_verify, boxed_strict, gsm8k, code])
def test_trl_gets_a_list(reward: Any) -> None:
    """TRL: f(prompts=…, completions=…, completion_ids=…, trainer_state=…, **columns), texts or
    messages."""
    chat = [[{"role": "assistant", "content": "4"}], [{"role": "assistant", "content": "5"}]]
    for completions in (["4", "5"], chat):
        values = reward(
            prompts=["?", "?"],
            completions=completions,
            completion_ids=[[1], [2]],
            trainer_state=None,
            answer=["4", "4"],
            tests=[TESTS, TESTS],
        )
        assert len(values) == 2
        assert all(isinstance(value, float) and maths.isfinite(value) for value in values)
        assert reward.__name__.isidentifier()


def test_only_what_a_function_takes_reaches_it_and_reward_kwargs_do() -> None:
    """verl adds fields to extra_info that no function asked for."""

    @portable("goal")
    def near(completions: list, goal: list, bonus: float = 0.0) -> list[float]:
        return [bonus + float(c == g) for c, g in zip(completions, goal, strict=True)]

    assert verl(near, "3", "3")["score"] == 1.0
    assert near(solution_str="3", ground_truth="3", data_source="d", bonus=2.0)["score"] == 3.0
    with pytest.raises(UserError, match="needs the column 'prompts'"):
        verl(portable("goal")(lambda completions, prompts: [1.0]), "3", "3")


def test_async_functions_stay_async() -> None:
    @portable("goal")
    async def same(completions: list, goal: list) -> list[float]:
        return [float(c == g) for c, g in zip(completions, goal, strict=True)]

    assert inspect.iscoroutinefunction(same)
    assert asyncio.run(verl(same, "3", "3")) == {"score": 1.0, "acc": 1.0, "unknown": 0.0}
    assert asyncio.run(same(completions=["3", "4"], goal=["3", "3"])) == [1.0, 0.0]


def test_a_reward_may_look_at_its_column_beforehand() -> None:
    def check(value: object) -> None:
        if value == "?":
            raise UserError("no answer")

    @portable("answer", check=check)
    def mine(completions: list, answer: list) -> list[float]:
        return [1.0] * len(completions)

    rewards = Rewards([("mine", mine, 1.0), ("code", code, 1.0), ("math", math, 1.0)])
    rewards.check({"answer": "42", "tests": TESTS}, "row 1")
    rewards.check({}, "row 2")  # which columns there must be is asked elsewhere
    with pytest.raises(UserError, match=r"^row 3: no answer$"):
        rewards.check({"answer": "?"}, "row 3")
    with pytest.raises(UserError, match=r"^row 4: tests: inputs are missing"):
        rewards.check({"tests": {"entry_point": "f"}}, "row 4")
