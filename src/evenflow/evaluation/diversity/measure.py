"""Every number on diversity that needs no judge: a row a question, and their means."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from evenflow.evaluation.diversity.reading import Question
from evenflow.evaluation.diversity.solutions import as_text, distinct_right, for_diversity
from evenflow.evaluation.diversity.texts import bigram_diversity
from evenflow.evaluation.diversity.vectors import Vectors, vendi_score
from evenflow.evaluation.statistics import interval

MEASURES = ("bigram", "vendi", "distinct-right", "for-diversity")


@dataclass(frozen=True)
class Measures:
    """How the answers are compared."""

    vectors: Vectors
    by_solution: bool = False
    """Tell right answers apart for FoR's diversity by their solution, not by their text."""

    def rows(
        self, questions: Sequence[Question], done: Callable[[int], None] = lambda _: None
    ) -> list[dict[str, Any]]:
        """A row a question; `done` is told how many are.

        Where a right answer of the file has no class, no question has `distinct-right`: a mean over
        those that still could say it would be one over the unsolved ones, which have 0.
        """
        rows = []
        for number, question in enumerate(questions, 1):
            rows.append(self.row(question))
            done(number)
        if any(right_without_class(questions)):
            return [row | {"distinct-right": math.nan} for row in rows]
        return rows

    def row(self, question: Question) -> dict[str, Any]:
        """All measures of one question; NaN where one says nothing of it."""
        # Sorted: the order of the answers is chance, and no measure may depend on it.
        texts = sorted(answer.text for answer in question.answers)
        return {
            "id": question.key,
            "answers": len(texts),
            "bigram": bigram_diversity(texts),
            "vendi": vendi_score(self.vectors.cosines(texts)) if texts else math.nan,
            **self._right(question),
        }

    def _right(self, question: Question) -> dict[str, Any]:
        """How many answers are right, and how many solutions they are. Unknown where nobody has
        judged an answer, or the class of a right one is not given."""
        if all(answer.right is None for answer in question.answers):
            return {"right": None, "distinct-right": math.nan, "for-diversity": math.nan}
        right = [answer for answer in question.answers if answer.right]
        forms = [answer.solution for answer in right if answer.solution is not None]
        known = len(forms) == len(right)
        texts = [as_text(answer.text) for answer in right]
        return {
            "right": len(right),
            "distinct-right": distinct_right(forms) if known else math.nan,
            "for-diversity": for_diversity(forms if self.by_solution else texts),
        }

    def describe(self, questions: Sequence[Question]) -> dict[str, Any]:
        """What a reader must know to measure the same on these questions."""
        return {
            **self.vectors.describe(),
            "distinct-right": self._told_apart_by(questions),
            "for-diversity": "solutions of the task" if self.by_solution else "right texts",
        }

    def _told_apart_by(self, questions: Sequence[Question]) -> str:
        """What `distinct-right` counts, or why it is left out."""
        if self.by_solution:
            return "solutions of the task"
        missing = right_without_class(questions)
        if any(missing):
            return f"left out: {sum(missing)} of {len(missing)} right answers have no class"
        return "classes of right answers"


def right_without_class(questions: Sequence[Question]) -> list[bool]:
    """Of each right answer, whether it has no class that would tell it from the others."""
    return [a.solution is None for question in questions for a in question.answers if a.right]


def mean(values: Sequence[float]) -> dict[str, Any]:
    """Mean over the questions that have the value, its bootstrap interval, and how many they are.

    NaN where none has it.
    """
    known = [value for value in values if not math.isnan(value)]
    low, high = interval(known)
    return {
        "value": fmean(known) if known else math.nan,
        "low": low,
        "high": high,
        "questions": len(known),
    }


def means(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Name → mean, of the measures that some question has."""
    scores = {name: mean([row[name] for row in rows]) for name in MEASURES}
    return {name: score for name, score in scores.items() if score["questions"]}


def right_only(questions: Sequence[Question]) -> list[Question]:
    """The questions with their right answers alone; those without one are left out."""
    kept = [
        Question(question.key, question.prompt, [a for a in question.answers if a.right])
        for question in questions
    ]
    return [question for question in kept if question.answers]
