"""Groups as an engine gives them, by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import Any

import pytest

from evenflow.data import Prompt
from evenflow.rewards import RewardResult
from evenflow.rollout.group import Group


def make_group(
    prompt: Prompt | str,
    answers: list[list[int]],
    texts: list[str] | None = None,
    finished: list[bool] | None = None,
    *,
    rewards: list[float] | None = None,
    logprob: float = -0.5,
    **more: Any,
) -> Group:
    """Every token has the same log-prob."""
    if isinstance(prompt, str):
        prompt = Prompt(prompt, prompt, (1,), {})
    n = len(answers)
    judged = None
    if rewards is not None:
        judged = RewardResult(rewards, {"right": rewards}, [True] * n)
    return Group(
        **{
            "place": 0,
            "prompt": prompt,
            "answers": answers,
            "logprobs": [[logprob] * len(ids) for ids in answers],
            "texts": texts or ["x"] * n,
            "finished": finished or [True] * n,
            "rewards": judged,
            **more,
        }
    )


@contextmanager
def engines(change: Callable[[Group], Group | None]) -> Any:
    """Every group that the embedded engine gives goes through `change`; None: it is kept back."""
    from evenflow.rollout.embedded.engine import EmbeddedEngine

    groups = EmbeddedEngine.groups

    def changed(self: Any, *arguments: Any, **options: Any) -> Iterable[Group]:
        for group in groups(self, *arguments, **options):
            if (new := change(group)) is not None:
                yield new

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddedEngine, "groups", changed)
        yield
