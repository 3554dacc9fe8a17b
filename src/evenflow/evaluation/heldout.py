"""Held-out questions: exact scores where the right answers are listed, sampled ones elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from evenflow.bounds import is_right
from evenflow.data import Prompt
from evenflow.evaluation.diversity import bigram_diversity
from evenflow.evaluation.exact import KS, combine, exact_pass_at_k, solution_masses
from evenflow.policy.policy import Policy
from evenflow.rewards import RewardResult, Rewards
from evenflow.rollout import Sampling
from evenflow.rollout.experience import Experience, sample
from evenflow.rollout.judging import Judging

POWERS = KS[1:]
"""The k of pass@k; pass@1 is the accuracy."""


def pass_at_k(n: int, correct: int, k: int) -> float:
    """1 − C(n−c, k)/C(n, k): the chance that k of n answers, c of them right, hold a right one
    (Chen et al., arXiv 2107.03374, eq. 1)."""
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


class Evaluation(NamedTuple):
    """What is known of a policy."""

    scores: dict[str, float]
    """By name."""
    rows: list[dict[str, Any]]
    """Some of the answers."""
    right: list[float] | None
    """The chance to be right of each question, exact, where right answers are listed."""


@dataclass(frozen=True)
class HeldOut:
    """The questions, and how they are scored. `solutions` where right answers are listed."""

    prompts: list[Prompt]
    solutions: list[dict[str, list[str]]] | None
    rewards: Rewards
    right: float
    sampling: Sampling
    num_generations: int
    samples: int
    seed: int
    max_batch: int
    budget: int

    def evaluate(self, policy: Policy, tokenizer: PreTrainedTokenizerBase) -> Evaluation:
        """Scores, exact where right answers are listed, and some of the answers."""
        with self.conditions(policy):
            if self.solutions is None:
                scores, rows = self._sampled(policy, tokenizer, self.prompts)
                return Evaluation(scores, rows[: self.samples], None)
            _, rows = self._sampled(policy, tokenizer, self.prompts[: self.samples])
            masses = [of_question.values() for of_question in self.masses(policy, tokenizer)]
            table = combine(masses).table()
            curve = {f"pass@{k}": exact_pass_at_k(masses, k) for k in POWERS}
            scores = {"accuracy": table["accuracy"], **curve, **table}
            return Evaluation(scores, rows, [sum(of_question) for of_question in masses])

    @contextmanager
    def conditions(self, policy: Policy) -> Iterator[None]:
        """The policy as it is evaluated: dropout off, at the temperature of the evaluation."""
        was_training, was_temperature = policy.training, policy.temperature
        policy.eval()
        policy.temperature = self.sampling.temperature or 1.0  # greedy has no distribution
        try:
            yield
        finally:
            policy.train(was_training)
            policy.temperature = was_temperature

    def masses(self, policy: Policy, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, float]]:
        """The probability of every solution of each question, where they are listed.

        A spelling that does not fit into the sampling's limit, end token included, has none.
        """
        assert self.solutions is not None
        ids = {prompt.key: prompt.ids for prompt in self.prompts}
        end: Any = tokenizer.eos_token_id
        if end is None:  # the generation config or the recipe named one
            end = self.sampling.stop_ids[0]
        encoded = {
            text: [*tokenizer.encode(text, add_special_tokens=False), end]
            for forms in self.solutions
            for texts in forms.values()
            for text in texts
        }
        limit = self.sampling.max_tokens
        fitting = [
            {form: [t for t in texts if len(encoded[t]) <= limit] for form, texts in forms.items()}
            for forms in self.solutions
        ]

        def score(keys: Sequence[str], texts: Sequence[str]) -> torch.Tensor:
            prompts, answers = [ids[key] for key in keys], [encoded[text] for text in texts]
            return policy.score(prompts, answers, budget=self.budget).sum(1)

        return solution_masses(score, list(ids), fitting)

    def answers(
        self, policy: Policy, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]
    ) -> tuple[Experience, RewardResult]:
        """`num_generations` sampled answers to each question, and what they are worth."""
        with Judging(self.rewards, prompts) as judging:
            experience = sample(
                policy,
                tokenizer,
                prompts,
                self.num_generations,
                self.sampling,
                seed=self.seed,
                max_batch=self.max_batch,
                on_group=judging.submit,
            )
            return experience, judging.result()

    def _sampled(
        self, policy: Policy, tokenizer: PreTrainedTokenizerBase, prompts: list[Prompt]
    ) -> tuple[dict[str, float], list[dict[str, Any]]]:
        if not prompts:
            return {}, []
        n = self.num_generations
        experience, result = self.answers(policy, tokenizer, prompts)
        rows = [
            sample_row(
                experience,
                result.total,
                slice(i * n, (i + 1) * n),
                self.solutions[i] if self.solutions else None,
            )
            for i in range(len(prompts))
        ]
        known = [[r for r in row["rewards"] if r is not None] for row in rows]
        counts = [(len(k), sum(is_right(r, self.right) for r in k)) for k in known]
        scores = {
            "reward": fmean(r for k in known for r in k) if any(known) else math.nan,
            "accuracy": fmean(c / m for m, c in counts if m) if any(known) else math.nan,
            **{
                f"pass@{k}": fmean(pass_at_k(m, c, k) for m, c in counts if m >= k)
                for k in POWERS
                if k <= n and any(m >= k for m, _ in counts)
            },
            "diversity": fmean(bigram_diversity(row["answers"]) for row in rows),
            "length": experience.mask.sum(1).float().mean().item(),
            "finished": experience.finished.float().mean().item(),
            "unknown": fmean(math.isnan(total) for total in result.total),
        }
        return scores, rows


def sample_row(
    experience: Experience,
    totals: Sequence[float],
    rows: slice,
    solutions: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """A question with its answers, as a line of samples.jsonl; an unknown reward is null.

    `solutions` are the question's listed right answers, canonical form → spellings; `classes` then
    says which solution each answer spells, null for a wrong one.
    """
    row = {
        "prompt": experience.prompts[rows.start].text,
        "answers": experience.texts[rows],
        "rewards": [None if math.isnan(r) else r for r in totals[rows]],
        "finished": experience.finished[rows].tolist(),
    }
    if solutions is None:
        return row
    form_of = {text: form for form, texts in solutions.items() for text in texts}
    return row | {"classes": [form_of.get(text) for text in experience.texts[rows]]}
