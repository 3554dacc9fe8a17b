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
from evenflow.evaluation.exact import KS, by_question, combine, exact_pass_at_ks, solution_masses
from evenflow.policy.policy import Policy
from evenflow.rewards import Rewards
from evenflow.rollout.engine import Engine, sample
from evenflow.rollout.group import Group
from evenflow.rollout.judging import Judging
from evenflow.rollout.sampling import Sampling

POWERS = KS[1:]
"""The k of pass@k; pass@1 is the accuracy."""
KEPT = 1_000_000
"""Characters of answers up to which an evaluation keeps all that it sampled."""


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
    by_question: dict[str, list[float]]
    """What the scores are means of, a number a question; NaN says nothing."""


@dataclass(frozen=True)
class HeldOut:
    """The questions, and how they are scored. `solutions` where right answers are listed."""

    prompts: list[Prompt]
    solutions: list[dict[str, list[str]]] | None
    rewards: Rewards
    right: float
    sampling: Sampling
    tokenizer: PreTrainedTokenizerBase
    num_generations: int
    samples: int
    seed: int
    budget: int

    def evaluate(self, policy: Policy, engine: Engine) -> Evaluation:
        """Scores of the policy, from which the engine samples; exact where right answers are
        listed. And some of the answers."""
        with self.conditions(policy):
            if self.solutions is None:
                scores, rows, of_each = self._sampled(engine, self.prompts)
                return Evaluation(scores, kept(rows, self.samples), None, of_each)
            _, rows, _ = self._sampled(engine, self.prompts[: self.samples])
            masses = [of_question.values() for of_question in self.masses(policy)]
            table = combine(masses).table()
            curve = {f"pass@{k}": value for k, value in exact_pass_at_ks(masses, POWERS).items()}
            scores = {"accuracy": table["accuracy"], **curve, **table}
            right = [sum(of_question) for of_question in masses]
            return Evaluation(scores, rows, right, by_question(masses))

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

    def masses(self, policy: Policy) -> list[dict[str, float]]:
        """The probability of every solution of each question, where they are listed.

        A spelling may end with any of the sampling's stops. One that has a stop inside, or does not
        fit into the sampling's limit, end token included, has none.
        """
        assert self.solutions is not None
        stops, limit = self.sampling.stop_ids, self.sampling.max_tokens
        encoded: dict[str, list[int]] = {}  # text and end → tokens

        def ways(text: str) -> list[str]:
            ids = self.tokenizer.encode(text, add_special_tokens=False)
            if len(ids) >= limit or not set(stops).isdisjoint(ids):
                return []
            ended = {f"{text}\0{end}": [*ids, end] for end in stops}
            encoded.update(ended)
            return list(ended)

        fitting = [
            {form: [way for t in texts for way in ways(t)] for form, texts in forms.items()}
            for forms in self.solutions
        ]

        def score(places: Sequence[str], texts: Sequence[str]) -> torch.Tensor:
            prompts = [self.prompts[int(place)].ids for place in places]
            answers = [encoded[text] for text in texts]
            return policy.score(prompts, answers, budget=self.budget).sum(1)

        return solution_masses(score, list(map(str, range(len(self.prompts)))), fitting)

    def answers(self, engine: Engine, prompts: Sequence[Prompt]) -> list[Group]:
        """`num_generations` sampled answers to each question, and what they are worth."""
        with Judging(self.rewards, prompts) as judging:
            for group in sample(
                engine, prompts, self.num_generations, self.sampling, seed=self.seed
            ):
                judging.submit(group)
            return judging.judged()

    def _sampled(
        self, engine: Engine, prompts: Sequence[Prompt]
    ) -> tuple[dict[str, float], list[dict[str, Any]], dict[str, list[float]]]:
        """Scores, the answers question by question, and the scores of each question."""
        if not prompts:
            return {}, [], {}
        groups = self.answers(engine, prompts)
        rows = [
            sample_row(group, self.solutions[group.place] if self.solutions else None)
            for group in groups
        ]
        of_each = [scores_of(group, self.right) for group in groups]
        by_name = {name: [of[name] for of in of_each] for name in of_each[0]}
        means = {name: mean_of_known(values) for name, values in by_name.items()}
        # No pass@k is promised of which nothing is known.
        scores = {k: v for k, v in means.items() if not (k.startswith("pass@") and math.isnan(v))}
        return scores, rows, by_name


def mean_of_known(values: Sequence[float]) -> float:
    """The mean over the questions that have the score; NaN where none has it."""
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan


def scores_of(group: Group, right: float) -> dict[str, float]:
    """The scores of one question, by their names; NaN where its judged answers say nothing."""
    n, correct = count_right(group, right)
    return {
        "reward": fmean(group.known.total) if n else math.nan,
        "accuracy": correct / n if n else math.nan,
        **{
            f"pass@{k}": pass_at_k(n, correct, k) if n >= k else math.nan
            for k in POWERS
            if k <= len(group.answers)
        },
        "diversity": bigram_diversity(group.texts),
        "length": fmean(map(len, group.answers)),
        "finished": fmean(group.finished),
        "unknown": 1 - n / len(group.answers),
    }


def kept(rows: list[dict[str, Any]], least: int) -> list[dict[str, Any]]:
    """The first `least` rows, and those after them while all fit into `KEPT`; none of none."""
    room = KEPT
    for count, row in enumerate(rows):
        room -= sum(map(len, row["answers"]))
        if count >= least and (room < 0 or not least):
            return rows[:count]
    return rows


def count_right(group: Group, right: float) -> tuple[int, int]:
    """(answers judged, right ones of them)."""
    known = group.known.total
    return len(known), sum(is_right(total, right) for total in known)


def sample_row(
    group: Group, solutions: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """A question with its answers, as a line of samples.jsonl; an unknown reward is null.

    `solutions` are the question's listed right answers, canonical form → spellings; `classes` then
    says which solution each answer spells, null for a wrong one.
    """
    row = {
        "prompt": group.prompt.text,
        "answers": group.texts,
        "rewards": [None if math.isnan(total) else total for total in group.total],
        "finished": group.finished,
    }
    if solutions is None:
        return row
    form_of = {text: form for form, texts in solutions.items() for text in texts}
    return row | {"classes": [form_of.get(text) for text in group.texts]}
