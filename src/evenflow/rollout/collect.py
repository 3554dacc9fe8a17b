"""Filling a rollout batch: questions → answers → rewards, and again where groups are dropped."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from evenflow.bounds import is_right
from evenflow.config import TrainConfig
from evenflow.data import Prompt, question_order
from evenflow.errors import UserError
from evenflow.policy.policy import Policy
from evenflow.rewards import RewardResult, Rewards
from evenflow.rewards.overlong import overlong_penalty
from evenflow.rollout import Sampling
from evenflow.rollout.experience import Experience, Group, merge, sample
from evenflow.rollout.judging import Judging
from evenflow.rollout.metrics import rollout_metrics

Phase = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Batch:
    """What a step learns from."""

    experience: Experience | None
    """Whole groups of answers whose reward is known; None if no group was kept."""
    rewards: Tensor
    """(N,) raw, the penalty for overlong answers included."""
    questions: int
    """Places of the run's order of questions that were used up."""
    answers: int
    """Answers sampled, those of dropped groups included."""
    tokens: int
    """Of these answers."""
    metrics: dict[str, float]

    def without(self, keys: set[str]) -> Batch:
        """Without the answers to the questions of these keys; `log_z/unknown` is their share."""
        if self.experience is None or not keys:
            return self
        asked = [prompt.key for prompt in self.experience.prompts]
        rows = [i for i, key in enumerate(asked) if key not in keys]
        share = {"log_z/unknown": 1 - len(rows) / len(asked)}
        return replace(
            self,
            experience=self.experience[rows] if rows else None,
            rewards=self.rewards[rows],
            metrics=self.metrics | share,
        )


@dataclass(frozen=True)
class Collector:
    """Samples and judges answers until a batch is full."""

    config: TrainConfig
    policy: Policy
    tokenizer: PreTrainedTokenizerBase
    questions: Sequence[Prompt]
    sampling: Sampling
    rewards: Rewards

    def collect(self, step: int, drawn: int, left: int | None, phase: Phase) -> Batch:
        """The batch of `step` (from 0), with `phase(name)` around each part.

        `drawn` questions were asked before it; `left` answers may be sampled, None for any number.
        """
        rollout = self.config.rollout
        sampled: list[Experience] = []
        judged: list[RewardResult] = []
        kept: list[tuple[Experience, Tensor]] = []
        asked = full = passed_by = 0
        seen: set[int] = set()
        for number in range(rollout.max_rounds if rollout.dynamic_sampling else 1):
            ask = questions_to_ask(rollout.questions, asked, full)
            if rollout.dynamic_sampling:
                ask = min(ask, len(self.questions) - asked)
            if left is not None:
                ask = min(ask, left // rollout.num_generations - asked)
            if ask < 1:
                break
            indices, passed = self._next(drawn + passed_by, ask, seen)
            passed_by += passed
            seen.update(indices)
            prompts = [self.questions[i] for i in indices]
            with Judging(self.rewards, prompts) as judging:
                with phase("rollout"):
                    experience = self._sample(step, number, prompts, judging.submit)
                with phase("reward"):  # what is left of it: most was done beside the sampling
                    result = judging.result()
            asked += ask
            sampled.append(experience)
            judged.append(result)
            if judging.late and all(math.isnan(total) for total in result.total):
                break  # what judges is out of order: asking on would only wait as long again
            rows = self._kept(experience, result.total, rollout.questions - full)
            full += len({experience.prompts[row].key for row in rows})
            if rows:
                kept.append((experience[rows], torch.tensor([result.total[i] for i in rows])))
        everything = merge(sampled)
        result = RewardResult.merge(judged)
        if not any(result.applied):
            raise UserError(
                f"step {step + 1}: no reward function applied to any of "
                f"{len(result.total)} answers; check reward.functions and the data's columns"
            )
        metrics = rollout_metrics(everything, result, self.config.reward.right)
        if rollout.dynamic_sampling:
            metrics["rollout/dropped_questions"] = float(asked - full)
        experience = merge([part for part, _ in kept]) if kept else None
        rewards = torch.cat([part for _, part in kept]) if kept else torch.empty(0)
        if self.config.reward.overlong_share and experience is not None:
            penalty = torch.tensor(
                [
                    overlong_penalty(
                        len(answer),
                        rollout.max_completion_length,
                        self.config.reward.overlong_share,
                    )
                    for answer in experience.answers
                ]
            )
            rewards = rewards - penalty
            metrics["reward/overlong"] = -penalty.mean().item()
        return Batch(
            experience=experience,
            rewards=rewards,
            questions=passed_by,
            answers=len(everything.answers),
            tokens=int(everything.mask.sum()),
            metrics=metrics,
        )

    def judge_reference(self, prompts: list[Prompt], step: int) -> tuple[Tensor, Tensor, int]:
        """Rewards and summed log-probs (questions, answers) of the reference's own answers, and
        how many tokens these have."""
        config = self.config
        with Judging(self.rewards, prompts) as judging:
            experience = sample(
                self.policy,
                self.tokenizer,
                prompts,
                config.rollout.num_generations,
                self.sampling,
                seed=config.seed * 1_000_003 + step + 500_000,
                max_batch=config.rollout.max_batch,
                reference=True,
                on_group=judging.submit,
            )
            result = judging.result()
        shape = len(prompts), config.rollout.num_generations
        rewards = torch.tensor(result.total, device=self.policy.device)
        logprobs = experience.logprobs.sum(1)
        return rewards.view(shape), logprobs.view(shape), int(experience.mask.sum())

    def _next(self, start: int, ask: int, seen: set[int]) -> tuple[list[int], int]:
        """The next `ask` questions of the run's order, and how many places of it they take.

        Where a batch is filled in rounds, those `seen` in it are passed over: asked again, a
        question would be one group with its first answers.
        """
        count, seed = len(self.questions), self.config.seed
        if not self.config.rollout.dynamic_sampling:
            return question_order(count, seed, start, ask), ask
        found: list[int] = []
        place = start
        while len(found) < ask:
            (index,) = question_order(count, seed, place, 1)
            place += 1
            if index not in seen and index not in found:
                found.append(index)
        return found, place - start

    def _sample(
        self, step: int, number: int, prompts: list[Prompt], on_group: Callable[[Group], None]
    ) -> Experience:
        config = self.config
        return sample(
            self.policy,
            self.tokenizer,
            prompts,
            config.rollout.num_generations,
            self.sampling,
            seed=config.seed * 1_000_003 + step + number * 1_000_000_007,
            max_batch=config.rollout.max_batch,
            on_group=on_group,
        )

    def _kept(self, experience: Experience, totals: Sequence[float], missing: int) -> list[int]:
        """The rows to learn from: rewards known, and in dynamic sampling of questions that were
        answered both right and wrong, as many as are missing.

        Right and wrong are told before any penalty for length, which would hide that all answers
        are equally right.
        """
        rows = [i for i, total in enumerate(totals) if not math.isnan(total)]
        if not self.config.rollout.dynamic_sampling:
            return rows
        verdicts: dict[str, set[bool]] = defaultdict(set)
        for i in rows:
            verdicts[experience.prompts[i].key].add(is_right(totals[i], self.config.reward.right))
        mixed = [key for key, seen in verdicts.items() if len(seen) == 2][:missing]
        return [i for i in rows if experience.prompts[i].key in mixed]


def questions_to_ask(wanted: int, asked: int, kept: int) -> int:
    """How many questions the next round needs, if as many are kept of it as of those so far."""
    if not asked:
        return wanted
    return min(wanted, math.ceil((wanted - kept) * asked / max(kept, 1)))
