"""Exponentials that stay finite: e^89 is ∞ in float32, and 0·∞ = NaN as a gradient.

Where an exponential is what a gradient goes through, it is continued linearly above 20, with the
slope e^20: finite, and no gradient is lost where the exponent is largest. Where it is a constant
(an importance weight, a metric) the exponent counts as at most 20.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST = 20.0
"""The largest exponent, in nats: e^20 is 4.9e8."""


def exponential(x: Tensor) -> Tensor:
    """e^x, continued linearly above 20."""
    return x.clamp(max=LARGEST).exp() + _beyond(x)


def exponential_minus_one(x: Tensor) -> Tensor:
    """e^x − 1, without loss of digits near 0, continued linearly above 20."""
    return x.clamp(max=LARGEST).expm1() + _beyond(x)


def _beyond(x: Tensor) -> Tensor:
    """What the line above 20 adds: e^20·(x − 20); 0 below."""
    slope = torch.tensor(math.exp(LARGEST), dtype=x.dtype, device=x.device)
    return slope * (x - LARGEST).clamp(min=0)
