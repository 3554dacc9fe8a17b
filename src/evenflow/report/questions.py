"""Which questions of different runs are the same one, and what each run answers to them.

Two evaluations of a benchmark share its ids, however each puts a question to its model; all others
share a question's text. The questions of one evaluation are different ones, whatever their texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from evenflow.bounds import is_right
from evenflow.report.reading import Run


class Answer(NamedTuple):
    """An answer, and what a grader made of it."""

    text: str
    verdict: str
    form: str | None
    """Its class: the canonical form, or what the grader read as the final answer."""
    ended: bool
    """Whether it came to its end."""
    reason: str = ""
    """Why the grader said so."""


@dataclass
class Question:
    """A question as a run put it at one step, and the answers."""

    text: str
    name: tuple[str, str] | None = None
    """(benchmark, id) in an evaluation of a known benchmark."""
    gold: str | None = None
    answers: list[Answer] = field(default_factory=list)


def asked(run: Run) -> dict[int | None, list[Question]]:
    """What was asked at each step; an evaluation has the step None."""
    found: dict[int | None, list[Question]] = {}
    for row in run.samples:
        sampled = list(_sampled(row, run.right))
        question = Question(prompt_text(row["prompt"]), answers=sampled)
        found.setdefault(int(row["step"]), []).append(question)
    if run.answers:
        found[None] = _evaluated(run)
    return found


def _sampled(row: dict[str, Any], right: float) -> Iterable[Answer]:
    """The answers of a line of samples.jsonl; one without a reward is unknown."""
    count = len(row["answers"])
    rewards = row["rewards"] + [None] * (count - len(row["rewards"]))
    forms, ended = row.get("classes"), row.get("finished")
    if not isinstance(forms, list) or len(forms) != count:
        forms = [None] * count
    if not isinstance(ended, list) or len(ended) != count:
        ended = [True] * count
    for text, reward, form, end in zip(row["answers"], rewards, forms, ended, strict=False):
        verdict = "unknown" if reward is None else "right" if is_right(reward, right) else "wrong"
        yield Answer(text, verdict, None if form is None else str(form), bool(end))


def _evaluated(run: Run) -> list[Question]:
    """The questions of an evaluation, by their ids; by their texts where lines have none."""
    benchmark, found = source(run), dict[str, Question]()
    for row in run.answers:
        text, key = prompt_text(row["prompt"]), row.get("id")
        name = None if benchmark is None or key is None else (benchmark, str(key))
        place = f"id {key}" if key is not None else f"text {text}"
        question = found.setdefault(place, Question(text, name))
        if row.get("gold") is not None:
            question.gold = str(row["gold"])
        form = row.get("class")
        solution = None if form is None else str(form)
        ended = bool(row.get("finished", True))
        reason = str(row.get("reason") or "")
        question.answers.append(Answer(row["response"], row["verdict"], solution, ended, reason))
    return [*found.values()]


def source(run: Run) -> str | None:
    """What an evaluation took its questions from, None where that is not known.

    The name alone is not enough: it is a file's without its folder, or a task's without options.
    """
    if run.result.get("benchmark") is None:
        return None
    options = {k: v for k, v in run.config.items() if k.startswith("task_options")}
    return str((run.result["benchmark"], run.result.get("source"), options))


def prompt_text(prompt: Any) -> str:
    """A question as text: messages of a chat one below the other."""
    if isinstance(prompt, list):
        return "\n\n".join(f"{m.get('role', '')}: {m.get('content', '')}" for m in prompt)
    return str(prompt)


def paired(sides: list[list[Question]]) -> list[dict[int, Question]]:
    """The questions of each side by number; the same number is the same question.

    By its name where a side before had it, else by its text: the first question of a text is the
    first of another side, the second the second. Never twice within a side.
    """
    by_name: dict[tuple[str, str], int] = {}
    by_text: dict[tuple[str, int], int] = {}
    named: set[tuple[int, str]] = set()  # numbers for which a benchmark has an id already
    count, found = 0, []
    for side in sides:
        repeated = Counter[str]()
        known = {by_name[q.name] for q in side if q.name in by_name}
        numbered: dict[int, Question] = {}
        for question in side:
            name, text = question.name, (question.text, repeated[question.text])
            repeated[question.text] += 1
            number = by_name.get(name) if name else None
            if number is None:
                number = by_text.get(text)
                if number is None or number in known or (name and (number, name[0]) in named):
                    number, count = count, count + 1
                known.add(number)
            by_text[text] = number
            if name:
                by_name[name] = number
                named.add((number, name[0]))
            numbered[number] = question
        found.append(numbered)
    return found
