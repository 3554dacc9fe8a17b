"""Filling a rollout batch: questions → answers → rewards, and again where groups are dropped."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from evenflow.bounds import is_right
from evenflow.config import TrainConfig
from evenflow.data import Prompt, question_order
from evenflow.errors import UserError
from evenflow.rewards import Rewards
from evenflow.rollout.engine import Engine, sample
from evenflow.rollout.group import Group, count_answers, count_tokens
from evenflow.rollout.judging import Judging
from evenflow.rollout.metrics import rollout_metrics
from evenflow.rollout.parts import go_on, open_rows
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
    """Sampled for it."""
    metrics: dict[str, float]
    going_on: list[Group] = field(default_factory=list)
    """Groups with answers that have not ended: the next batch goes on with them."""


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
    tokenizer: Any = None
    """Needed with `rollout.segment` alone."""

    def collect(
        self,
        step: int,
        drawn: int,
        left: int | None,
        phase: Phase,
        going_on: Sequence[Group] = (),
    ) -> Batch:
        """The batch of `step` (from 0), with `phase(name)` around each part.

        `drawn` questions were asked before it; `left` answers may be sampled, None for any number;
        `going_on` are the last batch's.
        """
        rollout = self.config.rollout
        if rollout.segment is not None:
            return self._in_parts(step, drawn, left, phase, going_on)
        sampled: list[Group] = []
        kept: list[Group] = []
        for number in range(rollout.max_rounds if rollout.dynamic_sampling else 1):
            ask = questions_to_ask(rollout.questions, len(sampled), len(kept))
            if left is not None:
                ask = min(ask, left // rollout.num_generations - len(sampled))
            if ask < 1:
                break
            groups, late = self.judge(
                self._next(drawn + len(sampled), ask), step + number * 1_000_000_007, phase
            )
            sampled += groups
            kept += self._kept(groups, rollout.questions - len(kept))
            if late and not any(len(group.known) for group in groups):
                break  # what judges is out of order: asking on would only wait as long again
        metrics = self._metrics(step, sampled)
        if rollout.dynamic_sampling:
            metrics["rollout/dropped_questions"] = float(len(sampled) - len(kept))
        return Batch(
            groups=kept,
            questions=len(sampled),
            answers=count_answers(sampled),
            tokens=count_tokens(sampled),
            metrics=metrics,
        )

    def _in_parts(
        self,
        step: int,
        drawn: int,
        left: int | None,
        phase: Phase,
        going_on: Sequence[Group],
    ) -> Batch:
        """The batch of a step in which no answer gets more than `rollout.segment` tokens: the
        groups that are whole by then, with as many questions begun as in any step. Where none is
        whole, another segment follows, with further questions, until one is."""
        rollout, limit = self.config.rollout, self.sampling.max_tokens
        segment = rollout.segment or limit
        rounds = limit // segment  # by then a group is whole
        room = rounds * rollout.questions
        if left is not None:
            room = min(room, left // rollout.num_generations)
        questions = self._next(drawn, room)
        seeds = numbers(f"{self.config.seed}/{step}/parts")
        # Places tell the groups apart, and say in which order they stand, whichever comes first.
        rest = [replace(group, place=place) for place, group in enumerate(going_on)]
        first, begun, whole = len(rest), 0, list[Group]()
        with Judging(self.rewards, [*(g.prompt for g in rest), *questions]) as judging:
            with phase("rollout"):
                for number in range(rounds):
                    asked = questions[begun : begun + rollout.questions]
                    new = self._sampled(asked, step + number * 1_000_000_007, segment)
                    groups = itertools.chain(
                        self._longer(rest, segment, seeds) if rest else (),
                        (replace(group, place=first + begun + group.place) for group in new),
                    )
                    rest = []
                    for group in groups:
                        if open_rows(group, limit):
                            rest.append(group)
                        else:
                            whole.append(group)
                            judging.submit(group)
                    begun += len(asked)
                    if whole:
                        break
            with phase("reward"):
                groups = judging.judged()
        rest.sort(key=lambda group: group.place)
        metrics = self._metrics(step, groups)
        metrics["rollout/going_on"] = float(sum(len(open_rows(g, limit)) for g in rest))
        return Batch(
            groups=self._kept(groups, rollout.questions),
            questions=begun,
            answers=begun * rollout.num_generations,
            tokens=count_tokens(groups) + count_tokens(rest) - count_tokens(going_on),
            metrics=metrics,
            going_on=rest,
        )

    def _longer(self, groups: Sequence[Group], segment: int, seeds: Iterator[int]) -> list[Group]:
        return go_on(
            self.engine, groups, self.sampling, segment, seeds, self.tokenizer, self.vocabulary
        )

    def _next(self, drawn: int, count: int) -> list[Prompt]:
        """So many questions of the run's order, after the first `drawn`."""
        order = question_order(len(self.questions), self.config.seed, drawn, count)
        return [self.questions[i] for i in order]

    def _metrics(self, step: int, judged: Sequence[Group]) -> dict[str, float]:
        """Of all that was sampled; UserError where nothing can be known of it."""
        if not any(group.rewards and any(group.rewards.applied) for group in judged):
            raise UserError(
                f"step {step + 1}: no reward function applied to any of {count_answers(judged)} "
                "answers; check reward.functions and the data's columns"
            )
        return rollout_metrics(judged, self.config.reward.right)

    def _sampled(
        self, prompts: Sequence[Prompt], number: int, limit: int | None = None
    ) -> Iterator[Group]:
        """The engine's groups of answers, none to no prompts; `number` tells draws of one run
        apart. `limit`: tokens, where they are fewer than an answer may have."""
        if not prompts:
            return iter(())
        return sample(
            self.engine,
            prompts,
            self.config.rollout.num_generations,
            replace(self.sampling, max_tokens=limit or self.sampling.max_tokens),
            seed=self.config.seed * 1_000_003 + number,
            vocabulary=self.vocabulary,
        )

    def judge(
        self, prompts: Sequence[Prompt], number: int, phase: Phase
    ) -> tuple[list[Group], bool]:
        """A group of answers to each prompt with its rewards, in the prompts' order, and whether
        these came late. `number` tells draws of one run apart."""
        with Judging(self.rewards, prompts) as judging:
            with phase("rollout"):
                for group in self._sampled(prompts, number):
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


def numbers(seed: str) -> Iterator[int]:
    """Seeds without end."""
    stream = random.Random(seed)
    return (stream.getrandbits(63) for _ in itertools.count())


def questions_to_ask(wanted: int, asked: int, kept: int) -> int:
    """How many questions the next round needs, if as many are kept of it as of those so far."""
    if not asked:
        return wanted
    return min(wanted, math.ceil((wanted - kept) * asked / max(kept, 1)))
