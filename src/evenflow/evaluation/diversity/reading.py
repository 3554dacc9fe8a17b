"""Answers by question, from the files that hold them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from evenflow.bounds import is_right
from evenflow.errors import UserError
from evenflow.inputs import json_rows
from evenflow.run.files import writable

VERDICTS = {"right": True, "wrong": False, "unknown": None, None: None}


@dataclass(frozen=True)
class Answer:
    """One answer to a question."""

    text: str
    right: bool | None
    """None where nobody has said."""
    solution: str | None
    """What the file calls its class: answers of one class are the same solution."""


@dataclass
class Question:
    """A question with its answers, in the order of the file."""

    key: str
    prompt: str | None
    answers: list[Answer] = field(default_factory=list)


def read_questions(path: Path, right: float = 1.0) -> list[Question]:
    """The questions of a file of answers, in the order in which they first come.

    A line is one answer, as `evenflow eval` writes it (`response`, with `id` or `prompt`, and if
    known `verdict` and `class`), or a question with all its answers, as training writes it
    (`prompt`, `answers`, and if known `rewards`, of which `right` and more is right, and `classes`;
    the last `step` is taken). UserError names the line that is neither.
    """
    questions: dict[str, Question] = {}
    samples: set[tuple[str, Any]] = set()
    last: float | None = None
    for place, row in json_rows(path):
        if "answers" in row:
            step = row.get("step", 0)
            if not isinstance(step, int | float):
                raise UserError(f"{place}: step must be a number, not {step!r}")
            if last is not None and step < last:
                continue
            if last is not None and step > last:
                questions.clear()
            last = step
            key, prompt = _question(place, row)
            question = _of(questions, key, prompt, place)
            question.answers += _listed(place, row, right)
        elif "response" in row:
            key, prompt = _question(place, row)
            question = _of(questions, key, prompt, place)
            if row.get("sample") is not None:
                sample = (key, json.dumps(row["sample"]))
                if sample in samples:
                    raise UserError(f"{place}: sample {sample[1]} of question {key!r} comes again")
                samples.add(sample)
            question.answers.append(_answer(place, row))
        else:
            names = ", ".join(row) or "none"
            raise UserError(f"{place}: has neither 'response' nor 'answers'; its fields: {names}")
    if not questions:
        raise UserError(f"{path}: there are no lines")
    return list(questions.values())


def _question(place: str, row: dict[str, Any]) -> tuple[str, str | None]:
    prompt = row.get("prompt")
    text = None if prompt is None else _text(prompt, f"{place}: prompt", every=True)
    if row.get("id") is not None:
        return writable(str(row["id"])), text
    if text is None:
        raise UserError(f"{place}: has neither 'id' nor 'prompt' to say which question it is of")
    return text, text


def _of(questions: dict[str, Question], key: str, prompt: str | None, place: str) -> Question:
    question = questions.setdefault(key, Question(key, prompt))
    if question.prompt != prompt:
        raise UserError(f"{place}: question {key!r} has another prompt than before")
    return question


def _answer(place: str, row: dict[str, Any]) -> Answer:
    verdict, solution = row.get("verdict"), row.get("class")
    if not isinstance(verdict, str | None) or verdict not in VERDICTS:
        raise UserError(f"{place}: verdict must be right, wrong or unknown, not {verdict!r}")
    return Answer(
        _text(row["response"], f"{place}: response"),
        VERDICTS[verdict],
        None if solution is None else writable(str(solution)),
    )


def _is_known(reward: float | None) -> TypeGuard[float]:
    """Whether it is a number, maybe a whole one that no float can hold."""
    return reward is not None and (isinstance(reward, int) or math.isfinite(reward))


def _listed(place: str, row: dict[str, Any], right: float) -> list[Answer]:
    texts, rewards = row["answers"], row.get("rewards")
    if not isinstance(texts, list):
        raise UserError(f"{place}: answers must be a list of texts")
    if rewards is None:
        rewards = [None] * len(texts)
    if not isinstance(rewards, list) or len(rewards) != len(texts):
        raise UserError(f"{place}: rewards must be as many as answers")
    if not all(reward is None or isinstance(reward, int | float) for reward in rewards):
        raise UserError(f"{place}: rewards must be numbers or null")
    forms = row.get("classes")
    if not isinstance(forms, list) or len(forms) != len(texts):  # of something else
        forms = [None] * len(texts)
    return [
        Answer(
            _text(text, f"{place}: answer {number}"),
            is_right(reward, right) if _is_known(reward) else None,
            None if form is None else writable(str(form)),
        )
        for number, (text, reward, form) in enumerate(zip(texts, rewards, forms, strict=True), 1)
    ]


def _text(value: Any, what: str, every: bool = False) -> str:
    """Text, or chat messages: what the last one says, or all of them."""
    if isinstance(value, list) and value:
        said = [message.get("content") if isinstance(message, dict) else None for message in value]
        texts = [part for part in said if isinstance(part, str)]
        if len(texts) == len(value):
            value = "\n\n".join(texts) if every else texts[-1]
    if not isinstance(value, str):
        raise UserError(f"{what} must be text or chat messages")
    return writable(value)
