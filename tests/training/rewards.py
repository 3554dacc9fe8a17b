"""Rewards for trials of the trainer: good ones, and every kind of bad one."""

from __future__ import annotations

import time
from typing import Any


def digits(completions: list[str], **_: Any) -> list[float]:
    """The share of digits: any policy earns some, and can learn to earn more."""
    return [sum(c.isdigit() for c in text) / (len(text) + 1) for text in completions]


def constant(completions: list[str], **_: Any) -> list[float]:
    return [1.0] * len(completions)


def half_unknown(completions: list[str], **_: Any) -> list[float | None]:
    return [None if i % 2 else float(len(c)) for i, c in enumerate(completions)]


def unknown(completions: list[str], **_: Any) -> list[None]:
    return [None] * len(completions)


def raises(completions: list[str], **_: Any) -> list[float]:
    raise RuntimeError("the checker is out of order")


def nan(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    """NaN for every third question, by its text."""
    known = [sum(map(ord, prompt)) % 3 > 0 for prompt in prompts]
    return [d if k else float("nan") for d, k in zip(digits(completions), known, strict=True)]


def hangs_on_some(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    """Hangs where a call is about a question that `nan` does not know."""
    values = nan(prompts, completions)
    if any(value != value for value in values):
        time.sleep(3600)
    return values


def too_few(completions: list[str], **_: Any) -> list[float]:
    return [1.0]


def hangs(completions: list[str], **_: Any) -> list[float]:
    time.sleep(3600)
    return []


def huge(completions: list[str], **_: Any) -> list[float]:
    return [1e38 * (-1) ** i for i, _ in enumerate(completions)]
