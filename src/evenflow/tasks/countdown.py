"""Countdown: reach a target from a few numbers, written as a chain of steps.

A question is ``9,6,3,9>33:`` (numbers, target); an answer is ``9-6=3,9*3=27,27+6=33``. The rules,
which `Countdown.verify` and `Countdown.answers` share:

- each step takes two of the values at hand, a given number or an earlier result, and states the
  result; results are whole and positive, division is exact;
- each given number is used at most once (a subset is allowed), each intermediate result exactly
  once, and the last result is the target.

Every right answer can be listed, so accuracy and diversity on this task are exact numbers, not
estimates. Answers that differ only in the order of operands or of independent steps are one
solution (`canonical`): ``3*9=27`` and ``9*3=27`` are, ``9-6=3`` and ``6-3=3`` are not.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, combinations_with_replacement
from typing import Any, Self

from evenflow.errors import UserError
from evenflow.rewards import text_of
from evenflow.tasks.countdown_chains import (
    STEP,
    Expression,
    answers_by_target,
    combine,
    parse,
    reachable,
    write,
)
from evenflow.tasks.listed import Listed, refuse_twice

__all__ = [
    "STEP",
    "Countdown",
    "Expression",
    "Question",
    "combine",
    "effort",
    "parse",
    "reward",
    "slip",
    "write",
]


LARGEST, FARTHEST = 100, 10**6
LISTABLE = 20_000
"""Sets of numbers up to which the questions are counted before they are drawn (in seconds)."""
PATIENCE = 1000
"""Draws in a row that bring no new question before the search is given up."""
DRAWS = 500_000
"""Draws in all (ten seconds) after which the rest is taken from the list of all questions, where
they can be counted: hardly any numbers reach some targets, and some numbers are seldom drawn."""


@dataclass(frozen=True)
class Question:
    """Numbers (in the order in which they are shown) and the target to reach."""

    numbers: tuple[int, ...]
    target: int

    @property
    def prompt(self) -> str:
        """The text the policy is conditioned on: ``9,6,3,9>33:``."""
        return f"{','.join(map(str, self.numbers))}>{self.target}:"

    @classmethod
    def read(cls, prompt: str) -> Self:
        """The question of a prompt; ValueError where it is none."""
        numbers, target = prompt.removesuffix(":").split(">")
        return cls(tuple(map(int, numbers.split(","))), int(target))

    @property
    def identity(self) -> tuple[tuple[int, ...], int]:
        """What makes two questions the same: the multiset of numbers and the target."""
        return tuple(sorted(self.numbers)), self.target


def reward(
    completions: Sequence[Any],
    numbers: Sequence[Sequence[int]],
    target: Sequence[int],
    operators: Sequence[str] | None = None,
    **_: Any,
) -> list[float]:
    """1 for a right answer, else 0 (TRL's signature; the other arguments are data columns)."""
    allowed = operators or ["+-*"] * len(completions)
    return [
        float(Countdown(operators=signs).verify(Question(tuple(given), goal), text_of(answer)))
        for answer, given, goal, signs in zip(completions, numbers, target, allowed, strict=True)
    ]


class Countdown(Listed[Question]):
    """The task: which questions there are, which answers are right, which of them are the same.

    `numbers` values of 1 … `largest` and a target from `targets` (inclusive); `operators` may add
    "/" to "+-*". Questions fall into three disjoint splits, by a hash of the multiset of numbers
    and the target: ``pretrain`` (demonstrations for a base model, 45 %), ``train`` (45 %) and
    ``test`` (10 %).
    """

    QUESTION = Question
    vocabulary = "0123456789+-*/=,>:"  # a token a character

    reward = staticmethod(reward)

    def __init__(
        self,
        numbers: int = 4,
        largest: int = 9,
        targets: tuple[int, int] = (10, 40),
        operators: str = "+-*",
    ) -> None:
        if not 2 <= numbers <= 5:
            raise UserError(f"Countdown takes 2 to 5 numbers a question, not {numbers}")
        if not 1 <= largest <= LARGEST:
            raise UserError(f"Countdown's largest number is 1 to {LARGEST}, not {largest}")
        if not operators or set(operators) - set("+-*/"):
            raise UserError(f"Countdown's operators are some of '+-*/', not {operators!r}")
        refuse_twice(operators, "Countdown's")
        if not 1 <= targets[0] <= targets[1] <= FARTHEST:
            raise UserError(
                f"Countdown's targets run from low to high, from 1 to {FARTHEST:,}, not {targets}"
            )
        self.numbers, self.largest = numbers, largest
        self.targets, self.operators = targets, operators

    @cached_property
    def _sizes(self) -> Counter[str]:
        """How many different questions each split has."""
        return Counter(map(self.split_of, self._all()))

    def _all(self) -> Iterator[Question]:
        """Every question, its numbers ascending."""
        for numbers in combinations_with_replacement(range(1, self.largest + 1), self.numbers):
            for target in sorted(reachable(numbers, self.operators)):
                if self.targets[0] <= target <= self.targets[1]:
                    yield Question(numbers, target)

    def questions(self, split: str, count: int, seed: int = 0) -> list[Question]:
        """`count` different solvable questions of a split, drawn with `seed`.

        Numbers are drawn independently, in the order shown; the target uniformly; what cannot be
        solved, belongs to another split or was drawn before is drawn again; after `DRAWS` the rest
        is taken from the list.
        """
        if split not in self.SPLITS:
            raise UserError(f"Countdown has the splits {', '.join(self.SPLITS)}, not {split!r}")
        counted = math.comb(self.largest + self.numbers - 1, self.numbers) <= LISTABLE
        if counted and count > self._sizes[split]:
            raise UserError(
                f"Countdown has {self._sizes[split]} different questions in the split {split!r} "
                f"with these settings, fewer than the {count} asked for"
            )
        draw = random.Random(f"countdown {split} {seed}")
        drawn: dict[object, Question] = {}
        since, draws = 0, 0
        while len(drawn) < count:
            since, draws = since + 1, draws + 1
            if counted and draws > DRAWS:
                left = [q for q in self._all() if q.identity not in drawn]
                left = [q for q in left if self.split_of(q) == split]
                rest = draw.sample(left, count - len(drawn))
                mixed = [draw.sample(q.numbers, self.numbers) for q in rest]
                return [
                    *drawn.values(),
                    *(Question(tuple(m), q.target) for m, q in zip(mixed, rest, strict=True)),
                ]
            if since > PATIENCE and not counted:
                raise UserError(
                    f"Countdown found {len(drawn)} different questions in the split {split!r} with "
                    f"these settings, fewer than the {count} asked for"
                )
            numbers = tuple(draw.randint(1, self.largest) for _ in range(self.numbers))
            question = Question(numbers, draw.randint(*self.targets))
            solvable = question.target in reachable(tuple(sorted(numbers)), self.operators)
            if solvable and self.split_of(question) == split and question.identity not in drawn:
                drawn[question.identity] = question
                since = 0
        return list(drawn.values())

    def answers(self, question: Question) -> tuple[str, ...]:
        """Every right answer, in every spelling that `verify` accepts."""
        by_target = answers_by_target(tuple(sorted(question.numbers)), self.operators)
        return by_target.get(question.target, ())

    def canonical(self, question: Question, text: str) -> str | None:
        """The solution that a right answer spells, e.g. ``27+(3*2)`` as ``(2*3)+27``; else None."""
        parsed = parse(text, question.numbers, self.operators)
        if parsed is None or parsed[1] != question.target:
            return None
        return write(parsed[0])

    def row_solutions(self, columns: dict[str, Any]) -> dict[str, list[str]]:
        """The solutions of a row that `rows` made."""
        return self.solutions(Question(tuple(columns["numbers"]), columns["target"]))

    def rows(self, split: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
        """Questions as the rows of a data set: the prompt, and what `reward` needs."""
        return [
            {
                "prompt": question.prompt,
                "numbers": list(question.numbers),
                "target": question.target,
                "operators": self.operators,
            }
            for question in self.questions(split, count, seed)
        ]

    def out_of_distribution(self) -> dict[str, dict[str, Any]]:
        """Options of questions that none of the splits here has: the twenty targets above its own,
        one number less, one more."""
        above = [self.targets[1] + 1, self.targets[1] + 20]
        sets: dict[str, dict[str, Any]] = {f"targets {above[0]} to {above[1]}": {"targets": above}}
        counts = (n for n in (self.numbers - 1, self.numbers + 1) if 2 <= n <= 5)
        return sets | {f"{n} numbers": {"numbers": n} for n in counts}

    def demonstrations(self, seed: int = 0, mistakes: float = 0.0) -> Iterator[tuple[str, str]]:
        """Endless (prompt, answer) pairs over the ``pretrain`` split, to train a base model on.

        The demonstrator writes a right answer with probability ∝ e^(−`effort`), so that some right
        answers are far commoner than others; numbers are shown in a new random order each time.
        A share `mistakes` of the answers slips once in its arithmetic, as real corpora do.
        """
        draw = random.Random(f"countdown demonstrations {seed}")
        questions = self.questions("pretrain", self._sizes["pretrain"], seed)
        while True:
            draw.shuffle(questions)
            for question in questions:
                numbers = draw.sample(question.numbers, len(question.numbers))
                answers, weights = _demonstrator(
                    tuple(sorted(numbers)), question.target, self.operators
                )
                answer = draw.choices(answers, cum_weights=weights)[0]
                if draw.random() < mistakes:
                    answer = slip(answer, draw)
                yield Question(tuple(numbers), question.target).prompt, answer


def slip(answer: str, draw: random.Random) -> str:
    """The answer with one step's result off by a little, and worked out from there as it was."""
    steps = STEP.findall(answer)
    at = draw.randrange(len(steps))
    wrong: dict[int, int] = {}
    written = []
    for i, step in enumerate(steps):
        left, right = (wrong.pop(int(value), int(value)) for value in (step[0], step[2]))
        value = combine(left, step[1], right) or int(step[3])
        if i == at:
            value += draw.choice([off for off in (-10, -2, -1, 1, 2, 10) if value + off > 0])
        if value != int(step[3]):
            wrong[int(step[3])] = value
        written.append(f"{left}{step[1]}{right}={value}")
    return ",".join(written)


def effort(answer: str) -> float:
    """What an answer costs the demonstrator: steps, uncommon operators, small operands first."""
    total = 0.0
    for left, operator, right, _ in STEP.findall(answer):
        total += 1.5 + {"+": 0.0, "*": 0.75, "-": 1.5, "/": 2.25}[operator]
        total += 2.5 if int(left) < int(right) else 0.0
        total += 1.5 if operator in "*/" and "1" in (left, right) else 0.0
    return total


@lru_cache(maxsize=65536)
def _demonstrator(
    numbers: tuple[int, ...], target: int, operators: str
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """The answers to a question with their cumulated weights e^(−effort)."""
    answers = answers_by_target(numbers, operators)[target]
    return answers, tuple(accumulate(math.exp(-effort(answer)) for answer in answers))
