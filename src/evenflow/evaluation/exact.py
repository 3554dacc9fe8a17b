"""Accuracy and diversity as exact numbers, where every right answer can be listed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

# (prompts, answers) → (N,) summed log-probs of whole answers, end token included
Scorer = Callable[[Sequence[str], Sequence[str]], Tensor]


def ladder(n: int) -> list[int]:
    """The k of pass@k and its like for n answers: 1, 2, 4 … up to n, and n."""
    return [*(2**power for power in range(n.bit_length()) if 2**power < n), n]


KS = tuple(ladder(256))


@dataclass(frozen=True)
class ExactScores:
    """Means over questions; p is the probability of being right, p_c that of solution c."""

    accuracy: float  # p = Σ p_c: the summed probability of all listed right answers
    pass_at_16: float  # 1 − (1 − p)^16
    distinct_at_16: float  # Σ_c 1 − (1 − p_c)^16: distinct right solutions expected in 16 samples
    effective_solutions: float  # exp H(p_c / p)

    def table(self) -> dict[str, float]:
        """Under the names used in metrics, summaries and tables."""
        return {key.replace("_at_", "@"): value for key, value in asdict(self).items()}


def exact_scores(
    score: Scorer, prompts: Sequence[str], solutions: Sequence[dict[str, list[str]]]
) -> ExactScores:
    """The scores of a policy that `score` speaks for; arguments as in `solution_masses`."""
    return combine(masses.values() for masses in solution_masses(score, prompts, solutions))


def solution_masses(
    score: Scorer, prompts: Sequence[str], solutions: Sequence[dict[str, list[str]]]
) -> list[dict[str, float]]:
    """p_c of every solution c of each question: the summed probability of its spellings.

    `solutions[i]` maps the canonical forms of question i to their spellings.
    """
    spellings = [
        (question, form, text)
        for question, forms in enumerate(solutions)
        for form, texts in forms.items()
        for text in texts
    ]
    mass: list[dict[str, float]] = [dict.fromkeys(forms, 0.0) for forms in solutions]
    if not spellings:
        return mass
    logprobs = score([prompts[q] for q, _, _ in spellings], [text for _, _, text in spellings])
    for (question, form, _), probability in zip(
        spellings, logprobs.double().exp().tolist(), strict=True
    ):
        mass[question][form] += probability
    return mass


def exact_pass_at_k(questions: Iterable[Iterable[float]], k: int) -> float:
    """1 − mean (1 − p)^k, p = Σ p_c: the chance that one of k answers is right."""
    return exact_pass_at_ks(questions, (k,))[k]


def exact_pass_at_ks(questions: Iterable[Iterable[float]], ks: Iterable[int]) -> dict[int, float]:
    """k → `exact_pass_at_k`, from one pass over the probabilities."""
    p = torch.tensor([sum(masses) for masses in questions], dtype=torch.float64).clamp(0, 1)
    return {k: (1 - (1 - p) ** k).mean().item() for k in ks}


def combine(questions: Iterable[Iterable[float]]) -> ExactScores:
    """Scores from the probability of each solution of each question."""
    return ExactScores(*_of_each(questions).mean(0).tolist())


def by_question(questions: Iterable[Iterable[float]]) -> dict[str, list[float]]:
    """The scores of each question, by the names of `ExactScores.table`; arguments as `combine`."""
    columns = _of_each(questions).T.tolist()
    return {name: columns[i] for i, name in enumerate(ExactScores(0, 0, 0, 0).table())}


def _of_each(questions: Iterable[Iterable[float]]) -> Tensor:
    """(N, 4): the fields of `ExactScores` of each question."""
    rows = []
    for masses in questions:
        p_c = torch.tensor(list(masses), dtype=torch.float64).clamp(0, 1)
        p = p_c.sum().clamp(max=1)
        share = p_c / p_c.sum().clamp(min=1e-300)
        rows.append(
            torch.stack(
                [
                    p,
                    1 - (1 - p) ** 16,
                    (1 - (1 - p_c) ** 16).sum(),
                    torch.special.entr(share).sum().exp() * (p > 0),
                ]
            )
        )
    return torch.stack(rows)
