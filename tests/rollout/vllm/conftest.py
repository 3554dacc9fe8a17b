"""What the tests of vLLM's engines share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.rollout.vllm.vllm_server import VllmServer

from evenflow.data import Prompt
from evenflow.policy.loading import load_model, load_tokenizer
from evenflow.policy.policy import Policy
from evenflow.rollout.vllm import client
from evenflow.rollout.vllm.server import ServerEngine


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key from outside, and short pauses."""
    monkeypatch.setattr(client, "PAUSES", (0.01, 0.02))
    for name in client.KEYS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def no_threads_stay() -> Iterator[None]:
    """Every request's thread ends with what asked for it."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("request "):
            thread.join(5)
            assert not thread.is_alive(), thread.name


@pytest.fixture
def policy(tiny_model: Path) -> Policy:
    return Policy(load_model(str(tiny_model), torch.float32))


@pytest.fixture
def engine_of(tiny_model: Path, tmp_path: Path) -> Callable[..., ServerEngine]:
    """An engine over servers."""

    def make(servers: list[VllmServer], max_batch: int = 64, **options: Any) -> ServerEngine:
        settings: dict[str, Any] = {"timeout": 20.0, "folder": tmp_path} | options
        urls = [server.url for server in servers]
        return ServerEngine(load_tokenizer(str(tiny_model)), max_batch, urls=urls, **settings)

    return make


def prompts(count: int) -> list[Prompt]:
    """Different questions."""
    return [Prompt(str(i), f"question {i}", (5, 6, 4 + i % 8), {}) for i in range(count)]


@torch.no_grad()
def move(policy: Policy, by: float = 0.2) -> None:
    """An update that no log-prob survives."""
    generator = torch.Generator().manual_seed(7)
    for parameter in policy.model.parameters():
        if parameter.requires_grad:
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))


def worst_gap(policy: Policy, groups: list[Any]) -> float:
    """The largest difference between a log-prob as sampled and the policy's own."""
    worst = 0.0
    for group in groups:
        own = policy.score([group.prompt.ids] * len(group), group.answers).tolist()
        for ours, theirs in zip(own, group.logprobs, strict=True):
            worst = max(worst, *(abs(a - b) for a, b in zip(ours, theirs, strict=False)))
    return worst
