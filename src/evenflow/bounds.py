"""Numbers: those that a recipe may have, within what PyTorch and a machine can hold, and when one
reaches another. It imports nothing of ours, so that everything may import it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

LONG = 2**63 - 1
"""The largest whole number that PyTorch takes."""
MANY = 10_000_000
"""More of anything that takes memory or time each is a slip of the keyboard."""
LARGE, SMALL = 1e30, 1e-30
"""Far from the ends of float32, in which the arithmetic is done."""
LARGEST_REWARD = 1e18
"""Its square, added up over a batch, is within float32; beyond it a reward counts as unknown."""
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
Seed = Annotated[int, Field(ge=0, le=10**12)]
"""A step's own seed is a million times as much, and PyTorch takes no more than 2^63."""
Seconds = Annotated[float, Field(gt=0, le=MANY), AfterValidator(_not_tiny)]
"""The system's clocks end somewhere beyond."""
LearningRate = Annotated[float, Field(gt=0, le=100), AfterValidator(_not_tiny)]
Temperature = Annotated[float, Field(gt=0, le=HOTTEST), AfterValidator(_dividable)]
TemperatureOrGreedy = Annotated[float, Field(ge=0, le=HOTTEST), AfterValidator(_dividable)]
Template = Annotated[str, AfterValidator(_not_blank)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]

TOLERANCE = 1e-6
"""Of the total asked for: what adding weighted numbers up may lose. 0.7 + 0.2 + 0.1 is
0.9999999999999999, and a float32 keeps seven digits."""


def is_known(reward: float) -> bool:
    """Whether a reward counts: not NaN, nor infinite, nor beyond `LARGEST_REWARD`."""
    return abs(reward) <= LARGEST_REWARD


def is_right(total: Any, right: float) -> Any:
    """Whether a total reward, or each of a tensor of them, reaches `right`, up to rounding; NaN
    does not. The one comparison for training, evaluation, the objective and the report."""
    return total >= right - TOLERANCE * max(1.0, abs(right))
