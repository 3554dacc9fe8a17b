"""Rewards for trials of the trainer: good ones, and every kind of bad one."""

from __future__ import annotations

import locale
import os
import random
import sys
import threading
import time
from typing import Any

import torch


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
    return [1e18 * (-1) ** i for i, _ in enumerate(completions)]


def spoils(prompts: list[Any], completions: list[str], **columns: Any) -> list[float]:
    """As `digits`, and whatever else it can reach is changed."""
    values = digits(completions)
    random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1 + torch.get_num_threads())
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    locale.setlocale(locale.LC_ALL, "C")
    for given in (prompts, completions, *columns.values()):
        for value in given:
            if isinstance(value, list):
                value.clear()
        given.clear()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    sys.stdout = sys.stderr = None
    return values


def goes_away(completions: list[str], **_: Any) -> list[float]:
    """As `digits`, from another directory."""
    os.chdir(os.environ["ELSEWHERE"])
    return digits(completions)


def starts_what_fails(completions: list[str], **_: Any) -> list[float]:
    """As `digits`, and leaves a thread that raises."""

    def fail() -> None:
        raise RuntimeError("nobody sees to me")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    return digits(completions)
