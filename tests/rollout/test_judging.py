"""Rewards beside sampling: when they begin, what a call holds, and what a failure does."""

from __future__ import annotations

import math
import threading
import time

import pytest
from tests.groups import make_group

from evenflow.data import Prompt
from evenflow.errors import UserError
from evenflow.rewards import RewardResult, Rewards
from evenflow.rollout.group import Group
from evenflow.rollout.judging import Judging


def prompts(count: int) -> list[Prompt]:
    return [Prompt(str(i), f"q{i}", (1,), {"gold": i} if i % 2 else {}) for i in range(count)]


def group(place: int, of: list[Prompt]) -> Group:
    texts = [f"{place}-{g}" for g in range(2)]
    ids = [[place, g] for g in range(2)]
    return make_group(of[place], ids, texts, [True, False], place=place)


def total(groups: list[Group]) -> list[float]:
    return [reward for group in groups for reward in group.total]


def test_rewards_are_told_of_thoughts_that_the_prompts_opened() -> None:
    asked = [Prompt("0", "q", (1,), {}, "<think>"), Prompt("1", "q", (1,), {})]

    def reward(completions: list[str], opened_thoughts: list[str], **_: object) -> list[float]:
        return [float(mark == "<think>") for mark in opened_thoughts]

    with Judging(Rewards([("r", reward, 1.0)]), asked) as judging:
        for place in range(2):
            judging.submit(group(place, asked))
        assert total(judging.judged()) == [1.0, 1.0, 0.0, 0.0]


def test_judging_begins_before_sampling_ends_and_keeps_the_questions_order() -> None:
    """The second group comes only once the first is being judged, and the two others while it
    still is: they share the next call."""
    began, release = threading.Event(), threading.Event()
    calls: list[list[str]] = []

    def reward(completions: list[str], completion_ids: list, finished: list, gold: list, **_):  # type: ignore[no-untyped-def]
        calls.append(completions)
        began.set()
        assert release.wait(10)
        known = {None: 0.0, 1: 10.0, 3: 30.0}
        return [
            known[g] + ids[0] + (0.5 if ended else 0.0)
            for g, ids, ended in zip(gold, completion_ids, finished, strict=True)
        ]

    questions = prompts(4)
    with Judging(Rewards([("r", reward, 1.0)]), questions) as judging:
        judging.submit(group(2, questions))
        assert began.wait(10)
        for place in (3, 0, 1):
            judging.submit(group(place, questions))
        release.set()
        result = judging.judged()
    assert calls == [["2-0", "2-1"], ["3-0", "3-1", "0-0", "0-1", "1-0", "1-1"]]
    assert total(result) == [0.5, 0.0, 11.5, 11.0, 2.5, 2.0, 33.5, 33.0]


def test_a_failure_is_raised_where_the_groups_come_from() -> None:
    def fails(completions: list[str], **_: object) -> list[float]:
        raise RuntimeError("out of order")

    questions = prompts(2)
    with Judging(Rewards([("fails", fails, 1.0)]), questions) as judging:
        judging.submit(group(0, questions))
        with pytest.raises(UserError, match="out of order"):
            judging.judged()
        with pytest.raises(UserError, match="out of order"):
            judging.submit(group(1, questions))


def test_sampling_that_fails_ends_the_thread() -> None:
    questions = prompts(1)
    with (
        pytest.raises(KeyboardInterrupt),
        Judging(Rewards([("r", lambda completions: [0.0] * 2, 1.0)]), questions) as judging,
    ):
        raise KeyboardInterrupt
    judging._thread.join(10)
    assert not judging._thread.is_alive()


def test_a_step_waits_no_longer_than_one_call_may_take() -> None:
    """The first call never ends and no second one is begun; sampling has ended, so it is over."""
    release = threading.Event()

    class Stuck(Rewards):
        calls = 0
        longest = 0.2  # type: ignore[assignment]

        def __call__(self, *_: object, **__: object) -> RewardResult:
            self.calls += 1
            release.wait(20)
            return self.unknown(2)

    stuck = Stuck([("r", lambda completions: [0.0] * 2, 1.0)])
    questions = prompts(3)
    began = time.monotonic()
    with Judging(stuck, questions) as judging:
        for place in (0, 1, 2):
            judging.submit(group(place, questions))
        result = judging.judged()
    assert time.monotonic() - began < 10
    assert all(map(math.isnan, total(result)))
    assert all(group.rewards and group.rewards.applied == [True] * 2 for group in result)
    release.set()
    judging._thread.join(10)
    assert stuck.calls == 1


def test_what_came_during_a_call_gets_a_call_of_its_own() -> None:
    """Two calls of which each may take the whole time: sampling ends early in the first."""
    began = threading.Event()

    def slow(completions: list[str], **_: object) -> list[float]:
        began.set()
        time.sleep(1.2)
        return [1.0] * len(completions)

    questions = prompts(3)
    with Judging(Rewards([("slow", slow, 1.0)], timeout=2.0), questions) as judging:
        judging.submit(group(0, questions))
        assert began.wait(10)
        for place in (1, 2):
            judging.submit(group(place, questions))
        result = judging.judged()
    assert total(result) == [1.0] * 6
    assert not judging.late
