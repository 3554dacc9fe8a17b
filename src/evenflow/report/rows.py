"""Files as plain data: what is missing, cut short or not ours is left out with a note."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from evenflow.errors import UserError
from evenflow.inputs import is_number, is_shallow, json_rows
from evenflow.yaml_text import parse_yaml

DEEPEST = 20
"""Levels of lists and mappings within each other; what is nested deeper is no file of ours."""
VERDICTS = ("right", "wrong", "unknown")
Check = Callable[[Any], bool]


def is_step(value: Any) -> bool:
    """Whether a value is a whole number from 0."""
    return is_number(value) and value >= 0 and value == int(value)


def is_text(value: Any) -> bool:
    """Whether a value is text."""
    return isinstance(value, str)


def is_prompt(value: Any) -> bool:
    """Whether a value is a question: text, or the messages of a chat."""
    messages = value if isinstance(value, list) and value else [None]
    return is_text(value) or all(isinstance(message, dict) for message in messages)


def is_verdict(value: Any) -> bool:
    """Whether a value is what a grader says."""
    return value in VERDICTS


def are_answers(value: Any) -> bool:
    """Whether a value is one text or more."""
    return isinstance(value, list) and bool(value) and all(map(is_text, value))


def are_rewards(value: Any) -> bool:
    """Whether a value is a list of numbers; null is a reward that nobody could tell."""
    return isinstance(value, list) and all(each is None or is_number(each) for each in value)


METRICS: Mapping[str, Check] = {"step": is_step}
SAMPLES: Mapping[str, Check] = {
    "step": is_step,
    "prompt": is_prompt,
    "answers": are_answers,
    "rewards": are_rewards,
}
ANSWERS: Mapping[str, Check] = {"prompt": is_prompt, "response": is_text, "verdict": is_verdict}
"""What the lines of each file must have: field → whether its value can be used."""


def mapping(path: Path, notes: list[str], loss: str) -> dict[str, Any]:
    """A JSON or YAML object, or {} and a note that says what its lack costs."""
    if not path.is_file():
        notes.append(f"{path.name} is missing: {loss}")
        return {}
    found = parsed(path.read_text(encoding="utf-8", errors="replace"), path.suffix)
    if isinstance(found, dict):
        return {str(name): value for name, value in found.items()}
    notes.append(f"{path.name} is damaged or only half written: {loss}")
    return {}


def lines(path: Path, fields: Mapping[str, Check], notes: list[str], loss: str) -> list[Any]:
    """The objects of a JSONL file that have all `fields`; a note counts the other lines."""
    if not path.is_file():
        notes.append(f"{path.name} is missing: {loss}")
        return []
    damaged: list[UserError] = []
    rows = [row for _, row in json_rows(path, damaged=damaged)]
    objects = [row for row in rows if is_shallow(row, DEEPEST)]
    if lost := len(damaged) + len(rows) - len(objects):
        notes.append(f"{path.name}: {_count(lost)} cut short or damaged")
    elif not rows:
        notes.append(f"{path.name} is empty: {loss}")
    whole = [row for row in objects if all(fits(row.get(name)) for name, fits in fields.items())]
    if len(whole) < len(objects):
        lost = len(objects) - len(whole)
        notes.append(f"{path.name}: {_count(lost)} without a usable {' or '.join(fields)}")
    return whole


def parsed(text: str, suffix: str) -> Any:
    """The value of a text of JSON or YAML; None where it is none, or nested too deep."""
    try:
        found = parse_yaml(text) if suffix == ".yaml" else json.loads(text)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        return None
    return found if is_shallow(found, DEEPEST) else None


def numbers(values: Any) -> dict[str, float]:
    """The entries that are numbers (a bool is none)."""
    if not isinstance(values, dict):
        return {}
    return {name: float(value) for name, value in values.items() if is_number(value)}


def power(name: Any) -> int | None:
    """The k of ``4``, ``"4"`` or ``"pass@4"``."""
    match = re.fullmatch(r"(?:pass@)?([0-9]{1,9})", str(name))
    return int(match[1]) if match else None


def _count(number: int) -> str:
    return "1 line is left out," if number == 1 else f"{number} lines are left out,"
