"""How many different right solutions there are among the answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from evenflow.errors import UserError
from evenflow.evaluation.diversity.reading import Answer, Question
from evenflow.tasks import LISTED, get_task

Canonical = Callable[[str, str], str | None]
"""(prompt, answer) → the solution that a right answer spells; None for a wrong one."""


def distinct_right(solutions: Sequence[str]) -> float:
    """The number of different solutions among a question's right answers; 0 where none is right."""
    return float(len(set(solutions)))


def for_diversity(solutions: Sequence[str]) -> float:
    """S_i, the same number, where a right answer was found; else NaN.

    The mean over questions that leaves NaN out is then FoR's diversity,
    Σ S_i·1[S_i ≥ 1] / Σ 1[S_i ≥ 1]. Flow of Reasoning (arXiv 2406.05673); the formula as it is
    restated in FlowRL's released `analysize_diversity.py`, what S_i counts from FoR's released
    `test_step` of BlocksWorld and GSM8K: right trajectories that differ as texts.
    """
    return float(len(set(solutions))) if solutions else math.nan


def as_text(answer: str) -> str:
    """An answer with its spaces collapsed: how solutions are told apart where no task does it."""
    return " ".join(answer.split())


def told_apart(questions: Sequence[Question], canonical: Canonical) -> list[Question]:
    """The same questions with the task's own verdict and solution of every answer.

    UserError for a question without a prompt.
    """
    found = []
    for question in questions:
        if question.prompt is None:
            raise UserError(f"task: question {question.key!r} has no prompt")
        forms = [canonical(question.prompt, answer.text) for answer in question.answers]
        answers = [
            Answer(answer.text, form is not None, form)
            for answer, form in zip(question.answers, forms, strict=True)
        ]
        found.append(Question(question.key, question.prompt, answers))
    return found


def at_odds(given: Sequence[Question], found: Sequence[Question], task: str) -> str | None:
    """A sentence where none of the answers that the file calls right is right to the task, as where
    the questions are another's; else None."""
    pairs = zip(given, found, strict=True)
    verdicts = [
        (ours.right, theirs.right)
        for before, after in pairs
        for ours, theirs in zip(before.answers, after.answers, strict=True)
    ]
    of_right = [right for said, right in verdicts if said]
    if not of_right or any(of_right):
        return None
    return (
        f"calls {len(of_right)} of {len(verdicts)} answers right, and {task} finds none of these "
        "right; are the questions another task's, or of other task_options?"
    )


def canonical_of(name: str, options: dict[str, Any]) -> Canonical:
    """What tells the solutions of a built-in task apart, from its prompts and answers as text.

    Raises UserError for a task that does not, and where a prompt is not one of the task's.
    """
    if name not in LISTED:
        raise UserError(f"task: {name} tells no solutions apart; {', '.join(LISTED)} do")
    task: Any = get_task(name, options)

    def canonical(prompt: str, answer: str) -> str | None:
        try:
            question = task.question_of(prompt)
        except ValueError:
            raise UserError(f"task: {prompt[:60]!r} is not a question of {name}") from None
        return task.canonical(question, answer)

    return canonical
