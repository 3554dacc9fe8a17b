"""Which of vLLM's engines a recipe chooses, and what is refused or without effect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.rollout.vllm.fake_vllm import LLM, fake

from evenflow.config import BenchmarkConfig, TrainConfig, load
from evenflow.config.effect import without_effect
from evenflow.errors import UserError
from evenflow.rollout import engine
from evenflow.rollout.engine import build_engine
from evenflow.rollout.vllm.engine import VllmEngine
from evenflow.rollout.vllm.start import CPU_CACHE
from evenflow.training.memory import engine_bytes

__all__ = ["fake"]
Make = Callable[..., TrainConfig]
HERE = __name__
URL = "http://127.0.0.1:8000"


class Servers:
    def __init__(self, **given: Any) -> None:
        self.given = given


def test_without_a_server_it_is_in_this_process(fake: type[LLM]) -> None:
    made = build_engine("vllm", None, 8, gpu_share=0.3)
    assert isinstance(made, VllmEngine)
    assert (made.max_batch, made.gpu_share, fake.made) == (8, 0.3, [])


@pytest.mark.parametrize("server", [URL, [URL]])
def test_a_server_stands_in_its_place(monkeypatch: pytest.MonkeyPatch, server: Any) -> None:
    monkeypatch.setattr(engine, "SERVERS", f"{HERE}:Servers")
    made: Any = build_engine("vllm", None, 8, server=server, timeout=5.0, folder=Path("x"))
    given = {"tokenizer": None, "max_batch": 8, "urls": [URL], "timeout": 5.0, "folder": Path("x")}
    assert made.given == given


@pytest.mark.parametrize("server", [URL, f"[{URL}, {URL}1]"])
def test_a_server_needs_vllm(recipe: Make, server: str) -> None:
    with pytest.raises(UserError, match=r"rollout\.server: is for engine: vllm.*is embedded"):
        recipe(f"rollout.server={server}")
    recipe(f"rollout.server={server}", "rollout.engine=vllm")
    words = ["model.path=m", "benchmark=countdown", f"server={server}"]
    with pytest.raises(UserError, match="server: is for engine: vllm"):
        load(BenchmarkConfig, None, words)
    load(BenchmarkConfig, None, [*words, "engine=vllm"])


def test_no_server_at_all_is_refused(recipe: Make) -> None:
    with pytest.raises(UserError, match="server: is an empty list"):
        recipe("rollout.server=[]", "rollout.engine=vllm")


def test_what_has_no_effect_is_said(recipe: Make) -> None:
    share, wait = "rollout.gpu_share=0.5", "rollout.timeout=9"

    def idle(*words: str) -> set[str]:
        found = without_effect(recipe(share, wait, *words))
        return {sentence.split(":")[0] for sentence in found}

    both = {"rollout.gpu_share", "rollout.timeout"}
    assert idle() & both == both
    assert idle("rollout.engine=vllm") & both == {"rollout.timeout"}
    assert idle("rollout.engine=vllm", f"rollout.server={URL}") & both == {"rollout.gpu_share"}


def test_memory_counts_what_vllm_takes(recipe: Make) -> None:
    assert engine_bytes(recipe(), 100.0, 1000.0) is None
    config = recipe("rollout.engine=vllm", "rollout.gpu_share=0.3")
    assert engine_bytes(config, 100.0, 1000.0) == pytest.approx(300.0)
    assert engine_bytes(config, 100.0, None) == 100.0 + CPU_CACHE
    served = recipe("rollout.engine=vllm", f"rollout.server={URL}")
    assert engine_bytes(served, 100.0, 1000.0) == 0.0
