"""Verdicts on saved answers, and which answers to a question are the same one."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any

from evenflow.bounds import is_right
from evenflow.errors import UserError
from evenflow.rewards import Rewards, load_reward
from evenflow.rewards.code import grade_rows as grade_code
from evenflow.rewards.code import parse, published_tests
from evenflow.rewards.deadline import in_time
from evenflow.rewards.load import place_of
from evenflow.rewards.math import extract, normalise
from evenflow.rewards.math import grade_rows as grade_math
from evenflow.rewards.math.claims import LONGEST
from evenflow.rewards.math.equality import same
from evenflow.rewards.thoughts import whole_of
from evenflow.tasks import TASKS, get_task

Line = dict[str, Any]
Row = dict[str, Any]

PRESETS = {
    "math": "default",
    **{name: name for name in ("dapo", "math-verify", "boxed-strict")},
}
"""Graders of mathematics: ours, and others' ways."""
NOT_YET = "not graded yet"
LATE = "no reward within"
"""How the reason begins where a reward function took too long."""


def needs_rows(grader: str) -> bool:
    """Whether a grader needs the questions' other columns, beside the gold."""
    return grader not in PRESETS


def check_name(grader: str) -> None:
    """UserError for a grader's name that can be none, before any module is run."""
    if grader not in PRESETS and grader != "code":
        place_of(grader)


def check_grader(grader: str, questions: Iterable[Row] = ()) -> None:
    """UserError for a grader that there is not, or that asks for what the questions do not have,
    before anything is sampled."""
    if grader in PRESETS or grader == "code":
        return
    function = load_reward(grader)
    with suppress(ValueError):  # written in C, without a signature
        asked = inspect.signature(function).parameters.get("completion_ids")
        if asked is not None and asked.default is inspect.Parameter.empty:
            raise UserError(
                f"grader: {grader} asks for completion_ids, which saved answers do not have"
            )
    rewards = Rewards([(grader, function, 1.0)])
    known: set[frozenset[str]] = set()  # most questions have the same columns
    for question in questions:
        columns = _columns(question)
        if frozenset(columns) not in known:
            try:
                rewards.require_columns(columns)
            except UserError as error:
                raise UserError(f"question {question['id']}: {error}") from None
            known.add(frozenset(columns))


def check_tests(questions: Iterable[Row]) -> None:
    """UserError for a question whose tests cannot be read, before anything is sampled."""
    for question in questions:
        try:
            parse(tests_of(question))
        except UserError as error:
            raise UserError(f"question {question['id']}: {error}") from None


def tests_of(question: Row) -> dict[str, Any] | str:
    """The tests of a question as `parse` reads them."""
    try:
        return published_tests(question)
    except KeyError as error:
        raise UserError(f"the field {error} is missing") from None


def due(lines: Sequence[Line], grader: str) -> list[Line]:
    """The answers to be graded: those that were not, and those whose reward came too late.

    A reward function is called with all answers to a question, also where some have their verdict.
    """
    waiting = [
        line
        for line in lines
        if line["reason"] == NOT_YET
        or (line["verdict"] == "unknown" and line["reason"].startswith(LATE))
    ]
    if grader in PRESETS or grader == "code":
        return waiting
    keys = {line["id"] for line in waiting}
    return [line for line in lines if line["id"] in keys]


def grade(
    lines: Sequence[Line],
    grader: str,
    questions: Mapping[str, Row],
    *,
    right: float = 1.0,
    timeout: float = 60.0,
) -> Iterator[tuple[str, str]]:
    """(verdict, reason) of each answer, in order.

    `questions` are the rows by id, with all columns (`needs_rows`); `right` and `timeout` are for
    reward functions, which are called with all answers to a question.
    """
    if grader in PRESETS or grader == "code":
        yield from _once_each(lines, grader, questions)
        return
    rewards = Rewards([(grader, load_reward(grader), 1.0)], timeout, "grading_timeout")
    for key, members in groupby(lines, lambda line: line["id"]):
        yield from _rewarded(list(members), questions[key], rewards, right)


def _once_each(
    lines: Sequence[Line], grader: str, questions: Mapping[str, Row]
) -> Iterator[tuple[str, str]]:
    """Equal answers to a question are graded once."""
    unique = {(line["id"], line["response"]): whole_of(line) for line in lines}
    if grader == "code":
        found = grade_code(_programs(unique, questions))
    else:
        golds = {line["id"]: line["gold"] for line in lines}
        rows = ({"response": text, "gold": golds[key]} for (key, _), text in unique.items())
        found = grade_math(rows, PRESETS[grader])
    known: dict[tuple[str, str], tuple[str, str]] = {}
    new = iter(unique)
    for line in lines:
        key = line["id"], line["response"]
        while key not in known:
            verdict, reason = next(found)
            known[next(new)] = verdict, reason
        yield known[key]


def _programs(
    answers: Mapping[tuple[str, str], str], questions: Mapping[str, Row]
) -> Iterator[Row]:
    """Rows for the code grader; the tests of a question are unpacked once, then let go."""
    for key, members in groupby(answers.items(), lambda answer: answer[0][0]):
        try:
            tests = tests_of(questions[key])
        except UserError as error:
            raise UserError(f"question {key}: {error}") from None
        is_stub = "entry_point" in questions[key]
        for _, text in members:
            yield {"response": continuation(text) if is_stub else text, "tests": tests}


def continuation(text: str) -> str:
    """A text that goes on with a function's stub, up to the first line that is not indented: what a
    base model writes after the function (other functions, prose, a fence) is not its answer. A text
    that does not begin indented as it is: it holds a fenced block, or a whole program."""
    lines = text.split("\n")
    # By one space alone no stub goes on, and prose may begin with one.
    if not next((line for line in lines if line.strip()), "").startswith(("  ", "\t")):
        return text
    inside = [not line.strip() or line.startswith((" ", "\t")) for line in lines]
    return "\n".join(lines[: _first(inside)])


def _first(inside: Sequence[bool]) -> int:
    """The place of the first False; the length if there is none."""
    return inside.index(False) if False in inside else len(inside)


def _rewarded(
    lines: Sequence[Line], question: Row, rewards: Rewards, right: float
) -> Iterator[tuple[str, str]]:
    columns = _columns(question)
    began = time.monotonic()
    totals = rewards(
        [question["prompt"]] * len(lines),
        [line["response"] for line in lines],
        {name: [value] * len(lines) for name, value in columns.items()},
        finished=[line["finished"] for line in lines],
        opened_thoughts=[line.get("opened_thought") or "" for line in lines],
    ).total
    took = time.monotonic() - began
    late = rewards.timeout is not None and took >= in_time(rewards.timeout)
    for total in totals:
        if math.isnan(total):
            yield "unknown", f"{LATE} {rewards.timeout:g} s" if late else "no reward"
        else:
            yield "right" if is_right(total, right) else "wrong", f"reward {total:g}"


def _columns(question: Row) -> Row:
    """What a reward function is told of a question beside the prompt."""
    ours = ("prompt", "prompts", "completions", "finished")
    return {name: value for name, value in question.items() if name not in ours}


def has_votes(grader: str) -> bool:
    """Whether it is known which answers are the same one."""
    return grader in PRESETS or grader in TASKS


def classes(
    lines: Sequence[Line], grader: str, question: Row | None, options: Mapping[str, Any]
) -> list[str | None]:
    """The class of each graded answer to one question; None where it has none.

    Mathematics: answers of the same value (`equality.same`; text where that cannot tell); all that
    are right are one class, whatever decided. A task that lists its solutions: the solution that a
    right answer spells. Elsewhere nobody can say. `options` are those of the task.
    """
    if grader in PRESETS:
        return _of_values(lines)
    if grader in TASKS and question is not None:
        solve = getattr(get_task(grader, dict(options)), "row_solutions", None)
        if solve is not None:
            forms = {text: form for form, texts in solve(question).items() for text in texts}
            return [forms.get(line["response"]) for line in lines]
    return [None] * len(lines)


def _of_values(lines: Sequence[Line]) -> list[str | None]:
    gold = normalise(str(lines[0]["gold"]))
    members: list[str] = []  # the first answer of each class
    found: list[str | None] = []
    for line in lines:
        if line["verdict"] == "right":
            found.append(gold)
            continue
        said = extract(whole_of(line))
        said = normalise(said) if said is not None and len(said) <= LONGEST else ""
        if not said:
            found.append(None)
            continue
        # What was graded wrong is not the gold, however it is written.
        label = next((each for each in members if _equal(each, said)), None)
        if label is None:
            label = said if said != gold else f"{said} (not right)"
            members.append(label)
        found.append(label)
    return found


def _equal(a: str, b: str) -> bool:
    try:
        return a == b or same(a, b) is True
    except RecursionError:  # brackets within brackets
        return False
