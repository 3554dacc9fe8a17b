"""Numbers that a recipe may have: within what PyTorch can hold, and what a machine can."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from flowbalance.errors import UserError
from flowbalance.machine import memory

LONG = 2**63 - 1
"""The largest whole number that PyTorch takes."""
MANY = 10_000_000
"""More of anything that takes memory or time each is a slip of the keyboard."""
LARGE, SMALL = 1e30, 1e-30
"""Far from the ends of float32, in which the arithmetic is done."""
COLDEST, HOTTEST = 1e-6, 1e6
"""Temperatures by which logits can be divided in float32."""


def _dividable(temperature: float) -> float:
    if 0 < temperature < COLDEST:
        raise ValueError(f"{temperature} is too low to divide by in float32; at least {COLDEST:g}")
    return temperature


def _not_tiny(value: float) -> float:
    if value < SMALL:
        raise ValueError(f"{value} is nothing in float32; at least {SMALL:g}")
    return value


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty, and so would be every prompt; leave it out")
    return text


PositiveInt = Annotated[int, Field(gt=0, le=LONG)]
NonNegativeInt = Annotated[int, Field(ge=0, le=LONG)]
Count = Annotated[int, Field(gt=0, le=MANY)]
"""How many of what takes memory or time each: questions, answers, tokens of one."""
NonNegativeCount = Annotated[int, Field(ge=0, le=MANY)]
Threads = Annotated[int, Field(gt=0, le=1024)]
"""The OpenMP library ends the process where the system refuses it a thread."""
PositiveFloat = Annotated[float, Field(gt=0, le=LARGE), AfterValidator(_not_tiny)]
NonNegativeFloat = Annotated[float, Field(ge=0, le=LARGE)]
AnyFloat = Annotated[float, Field(ge=-LARGE, le=LARGE)]
LearningRate = Annotated[float, Field(gt=0, le=100), AfterValidator(_not_tiny)]
Temperature = Annotated[float, Field(gt=0, le=HOTTEST), AfterValidator(_dividable)]
TemperatureOrGreedy = Annotated[float, Field(ge=0, le=HOTTEST), AfterValidator(_dividable)]
Template = Annotated[str, AfterValidator(_not_blank)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


def require_memory(needed: int, what: str) -> None:
    """UserError if so many bytes are more than the machine has; `what` names the fields."""
    there = memory()
    if needed > there:
        raise UserError(
            f"{what}: needs at least {needed / 2**30:,.0f} GiB of memory, and this machine has "
            f"{there / 2**30:,.0f}; lower it"
        )
