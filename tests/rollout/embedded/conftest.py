"""A model, prompts of many lengths, and buckets small enough that buffers grow."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator

import pytest
from tests.rollout.embedded.test_engine import LENGTHS, V, make
from transformers import PreTrainedModel

from evenflow.rollout.embedded import refill


@pytest.fixture
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Buffers grow, and a path that is given up unasked fails the test."""
    monkeypatch.setattr(refill, "LEAST_POSITIONS", 4)
    monkeypatch.setattr(refill, "LEAST_SLOTS", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=FutureWarning)  # of Transformers
        yield


@pytest.fixture(scope="module")
def llama() -> PreTrainedModel:
    return make("llama")


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    rng = random.Random(1)
    return [[rng.randrange(3, V) for _ in range(n)] for n in LENGTHS]
