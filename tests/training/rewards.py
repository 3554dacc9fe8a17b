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


def nan(completions: list[str], **_: Any) -> list[float]:
    return [float("nan"), *digits(completions)[1:]]


def too_few(completions: list[str], **_: Any) -> list[float]:
    return [1.0]


def hangs(completions: list[str], **_: Any) -> list[float]:
    time.sleep(3600)
    return []


def huge(completions: list[str], **_: Any) -> list[float]:
    return [1e38 * (-1) ** i for i, _ in enumerate(completions)]
