"""Problems whose every answer can be listed, with rewards of three shapes.

An answer is a string over a few letters. *Single-length*: exactly L letters, V^L answers; the
vocabulary is the letters alone, so that whatever a policy samples is an answer. *Mixed-length*: an
end token may come at any place; Σ_{k<L} V^k ended answers and V^L that are cut off after L letters,
which are answers of their own, as everywhere in this library. Prompts are two letters.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

String = tuple[int, ...]
HEIGHTS = (1.0, 0.9, 0.8, 0.7)  # rewards of the modes of a multimodal question
DRAWS = 10_000  # of centres, after which there are taken to be too few
MODES_APART = 3  # positions in which two modes of a question differ, at least


@dataclass(frozen=True)
class Problem:
    """Q questions with N answers each. Letters are tokens after the end token, if there is one."""

    name: str
    letters: int
    """V."""
    limit: int
    """L: tokens of the longest answer."""
    mixed: bool
    """Answers end with an end token (id 0) or are cut off after L letters."""
    shape: str
    """unimodal, multimodal or plateau."""
    prior: bool
    """Whether the target has the reference as a prior: γ 1, or 0."""
    inverse_temperature: float
    """n = β/s of the target π* ∝ π_ref^γ e^{n·r}, in nats."""
    questions: int = 3
    rollouts: int = 450
    """Rollout batches that a run takes."""
    hidden_size: int = 32
    layers: int = 2
    spread: float = 0.07
    """Standard deviation of the reference's random weights: how much it prefers one answer."""

    @property
    def first(self) -> int:
        """The id of the first letter."""
        return int(self.mixed)

    @property
    def vocabulary(self) -> int:
        return self.letters + self.first

    @property
    def reference_weight(self) -> float:
        """γ of the target."""
        return float(self.prior)

    @cached_property
    def prompts(self) -> list[String]:
        """Two letters a question."""
        pairs = (divmod(q, self.letters) for q in range(self.questions))
        return [(high + self.first, low + self.first) for high, low in pairs]

    @cached_property
    def answers(self) -> list[String]:
        """All N answers as token ids, the end token included."""
        letters = range(self.first, self.vocabulary)
        whole = list(product(letters, repeat=self.limit))
        if not self.mixed:
            return whole
        return [(*s, 0) for k in range(self.limit) for s in product(letters, repeat=k)] + whole

    @cached_property
    def lengths(self) -> Tensor:
        """(N,) tokens, the end token included."""
        return torch.tensor([len(answer) for answer in self.answers])

    @cached_property
    def tokens(self) -> Tensor:
        """(N, L) token ids, padded with −1 on the right."""
        rows = [answer + (-1,) * (self.limit - len(answer)) for answer in self.answers]
        return torch.tensor(rows)

    @cached_property
    def index(self) -> dict[String, int]:
        """Where an answer stands in `answers`."""
        return {answer: i for i, answer in enumerate(self.answers)}

    @cached_property
    def rewards(self) -> Tensor:
        """(Q, N) in [0, 1], float64."""
        return torch.stack([reward_of(self, q) for q in range(self.questions)])

    @cached_property
    def modes(self) -> Tensor:
        """(Q, N) bool: the centres of a multimodal question; else the answers of reward 1."""
        if self.shape != "multimodal":
            return self.rewards == 1
        modes = torch.zeros(self.rewards.shape, dtype=torch.bool)
        for q in range(self.questions):
            modes[q, [self.index[centre] for centre in centres_of(self, q, len(HEIGHTS))]] = True
        return modes

    def target(self, log_ref: Tensor) -> tuple[Tensor, Tensor]:
        """log π* ∝ γ·log π_ref + n·r, and the log of what it is divided by.

        Shapes: (Q, N) -> (Q, N), (Q,).
        """
        free = self.reference_weight * log_ref + self.inverse_temperature * self.rewards
        return free.log_softmax(-1), free.logsumexp(-1)


def reward_of(problem: Problem, question: int) -> Tensor:
    """(N,) rewards of all answers to a question.

    unimodal    1 − d/L, d the positions in which the answer differs from one centre
    multimodal  max over four centres of h·exp(−d²/1.5), h = 1, 0.9, 0.8, 0.7
    plateau     1 if the letters are in the question's own alphabetical order, else 0; with an end
                token also only if the answer has a letter and was not cut off
    """
    shapes: dict[str, Callable[[], Tensor]] = {
        "unimodal": lambda: 1 - distances(problem, question, 1)[:, 0] / problem.limit,
        "multimodal": lambda: (
            torch.tensor(HEIGHTS, dtype=torch.float64)
            * (-(distances(problem, question, len(HEIGHTS)) ** 2) / 1.5).exp()
        ).amax(1),
        "plateau": lambda: in_order(problem, question),
    }
    return shapes[problem.shape]()


def centres_of(problem: Problem, question: int, count: int) -> list[String]:
    """Answers that differ pairwise in at least three positions, drawn for the question."""
    draw = random.Random(f"{problem.letters}/{problem.limit}/{problem.mixed}/{question}")
    centres: list[String] = []
    for _ in range(DRAWS):
        candidate = draw.choice(problem.answers)
        if all(differ(candidate, centre) >= MODES_APART for centre in centres):
            centres.append(candidate)
        if len(centres) == count:
            return centres
    raise ValueError(f"{problem.name}: no {count} answers differ in {MODES_APART} positions")


def differ(one: String, other: String) -> int:
    """Positions in which two answers differ; a missing token differs from any."""
    shared = sum(a != b for a, b in zip(one, other, strict=False))
    return shared + abs(len(one) - len(other))


def distances(problem: Problem, question: int, count: int) -> Tensor:
    """(N, count) positions in which each answer differs from each centre."""
    rows = problem.tokens  # (N, L); −1 is a token like any other here
    centres = rows[[problem.index[c] for c in centres_of(problem, question, count)]]
    return (rows[:, None] != centres).sum(-1).double()


def in_order(problem: Problem, question: int) -> Tensor:
    """(N,) 1 where the letters do not descend in an alphabet of the question's own."""
    alphabet = list(range(problem.letters))
    random.Random(f"{problem.letters}/{question}").shuffle(alphabet)

    def right(answer: String) -> bool:
        letters = answer
        if problem.mixed:
            if len(answer) < 2 or answer[-1] != 0:
                return False
            letters = answer[:-1]
        places = [alphabet[letter - problem.first] for letter in letters]
        return places == sorted(places)

    return torch.tensor([right(answer) for answer in problem.answers], dtype=torch.float64)
