"""The atom of the field: one question, and the answers that were sampled for it together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from evenflow.data import Prompt
from evenflow.rewards import RewardResult


@dataclass(frozen=True)
class Group:
    """One question and its G answers, from the engine to the learner.

    Plain data: an engine of any kind can make one, and another process can be sent one.
    """

    place: int
    """Which of the questions that were asked for together, from 0. A question that is asked for
    twice is two groups."""
    prompt: Prompt
    answers: list[list[int]]
    """(G,) token ids, the end token included."""
    logprobs: list[list[float]]
    """(G,) of each token, in nats, under the distribution that it was drawn from."""
    texts: list[str]
    """(G,) without special tokens."""
    finished: list[bool]
    """(G,) False: cut off at the limit."""
    version: int = 0
    """Of the policy that sampled them: how many optimiser steps it had taken."""
    versions: list[list[int]] | None = None
    """(G,) of each token, where the answers were sampled in parts; None: `version`, all of them."""
    rewards: RewardResult | None = None
    """(G,) once they are known."""

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, rows: Sequence[int]) -> Group:
        """The group with some of its answers."""
        return replace(
            self,
            answers=[self.answers[i] for i in rows],
            logprobs=[self.logprobs[i] for i in rows],
            texts=[self.texts[i] for i in rows],
            finished=[self.finished[i] for i in rows],
            versions=None if self.versions is None else [self.versions[i] for i in rows],
            rewards=None if self.rewards is None else self.rewards[rows],
        )

    @property
    def oldest(self) -> list[int]:
        """(G,) versions of the oldest policy that had a part in each answer."""
        if self.versions is None:
            return [self.version] * len(self)
        return [min(versions) for versions in self.versions]

    @property
    def total(self) -> list[float]:
        """(G,) rewards, NaN where unknown; to be asked for once they are there."""
        if self.rewards is None:
            raise ValueError("this group was not judged yet")
        return self.rewards.total

    @property
    def known(self) -> Group:
        """With the answers whose reward is known."""
        return self[[i for i, total in enumerate(self.total) if not math.isnan(total)]]


def count_answers(groups: Iterable[Group]) -> int:
    """N, over all groups."""
    return sum(map(len, groups))


def count_tokens(groups: Iterable[Group]) -> int:
    """Tokens of all answers, end tokens included."""
    return sum(len(answer) for group in groups for answer in group.answers)
