"""Filling a rollout batch: questions → answers → rewards, and again where groups are dropped."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from evenflow.bounds import is_right
from evenflow.config import TrainConfig
from evenflow.data import Prompt, question_order
from evenflow.errors import UserError
from evenflow.rewards import Rewards
from evenflow.rollout.engine import Engine, sample
from evenflow.rollout.group import Group, count_answers, count_tokens
from evenflow.rollout.judging import Judging
from evenflow.rollout.metrics import rollout_metrics
from evenflow.rollout.sampling import Sampling

Phase = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Batch:
    """What a step learns from."""

    groups: list[Group]
    """Those kept, with the answers whose reward is known."""
    questions: int
    """Places of the run's order of questions that were used up."""
    answers: int
    """Answers sampled, those of dropped groups included."""
    tokens: int
    """Of these answers."""
    metrics: dict[str, float]


@dataclass(frozen=True)
class Collector:
    """Samples and judges answers until a batch is full."""

    config: TrainConfig
    engine: Engine
    questions: Sequence[Prompt]
    sampling: Sampling
    rewards: Rewards
    vocabulary: int | None = None
    """How many tokens the policy has, if that is known."""

    def collect(self, step: int, drawn: int, left: int | None, phase: Phase) -> Batch:
        """The batch of `step` (from 0), with `phase(name)` around each part.

        `drawn` questions were asked before it; `left` answers may be sampled, None for any number.
        """
        rollout = self.config.rollout
        sampled: list[Group] = []
        kept: list[Group] = []
        for number in range(rollout.max_rounds if rollout.dynamic_sampling else 1):
            ask = questions_to_ask(rollout.questions, len(sampled), len(kept))
            if left is not None:
                ask = min(ask, left // rollout.num_generations - len(sampled))
            if ask < 1:
                break
            order = question_order(len(self.questions), self.config.seed, drawn + len(sampled), ask)
            groups, late = self.judge(
                [self.questions[i] for i in order], step + number * 1_000_000_007, phase
            )
            sampled += groups
            kept += self._kept(groups, rollout.questions - len(kept))
            if late and not any(len(group.known) for group in groups):
                break  # what judges is out of order: asking on would only wait as long again
        if not any(group.rewards and any(group.rewards.applied) for group in sampled):
            raise UserError(
                f"step {step + 1}: no reward function applied to any of {count_answers(sampled)} "
                "answers; check reward.functions and the data's columns"
            )
        metrics = rollout_metrics(sampled, self.config.reward.right)
        if rollout.dynamic_sampling:
            metrics["rollout/dropped_questions"] = float(len(sampled) - len(kept))
        return Batch(
            groups=kept,
            questions=len(sampled),
            answers=count_answers(sampled),
            tokens=count_tokens(sampled),
            metrics=metrics,
        )

    def judge(
        self, prompts: Sequence[Prompt], number: int, phase: Phase
    ) -> tuple[list[Group], bool]:
        """A group of answers to each prompt with its rewards, in the prompts' order, and whether
        these came late. `number` tells draws of one run apart."""
        config = self.config
        with Judging(self.rewards, prompts) as judging:
            with phase("rollout"):
                for group in sample(
                    self.engine,
                    prompts,
                    config.rollout.num_generations,
                    self.sampling,
                    seed=config.seed * 1_000_003 + number,
                    vocabulary=self.vocabulary,
                ):
                    judging.submit(group)
            with phase("reward"):  # what is left of it: most was done beside the sampling
                return judging.judged(), judging.late

    def _kept(self, groups: Sequence[Group], missing: int) -> list[Group]:
        """The groups to learn from: answers with known rewards, and in dynamic sampling of
        questions that were answered both right and wrong, as many as are missing.

        Right and wrong are told before any penalty for length, which would hide that all answers
        are equally right.
        """
        known = [group.known for group in groups]
        known = [group for group in known if len(group)]
        if not self.config.rollout.dynamic_sampling:
            return known
        right = self.config.reward.right
        mixed = [g for g in known if len({is_right(total, right) for total in g.total}) == 2]
        return mixed[:missing]


def questions_to_ask(wanted: int, asked: int, kept: int) -> int:
    """How many questions the next round needs, if as many are kept of it as of those so far."""
    if not asked:
        return wanted
    return min(wanted, math.ceil((wanted - kept) * asked / max(kept, 1)))
