"""Decoding with static shapes against the dynamic path: the same answers, whatever is refilled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.policy.tiny_models import CONFIGS as FAMILIES
from tests.rollout.embedded.static_cases import FURTHER, G, assert_same, sampling, tiny
from tests.rollout.embedded.test_engine import CONFIGS, V, make
from tests.rollout.rollouts import rollout as sample
from tests.training.runs import metrics, open_run
from transformers import PreTrainedModel

from evenflow.config import TrainConfig
from evenflow.data import Prompt
from evenflow.policy.policy import Policy
from evenflow.rollout import build_engine
from evenflow.rollout.embedded import refill
from evenflow.rollout.embedded.engine import EmbeddedEngine
from evenflow.rollout.embedded.static import StaticDecoding
from evenflow.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("small_buckets")


@pytest.mark.parametrize("name", sorted({**CONFIGS, **FAMILIES, **FURTHER}))
def test_both_paths_give_the_same_answers(name: str, prompts: list[list[int]]) -> None:
    model = tiny(name)
    before = model.config._attn_implementation
    dynamic = sample(model, prompts, G, sampling(), seed=0)
    assert len(set(dynamic.mask.sum(1).tolist())) > 4, "answers of many lengths"
    for max_batch in (5, 512):
        static = StaticDecoding()
        assert_same(
            dynamic,
            sample(model, prompts, G, sampling(), seed=0, max_batch=max_batch, static=static),
        )
        assert static.refused is None
        assert model.config._attn_implementation == before


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0},
        {"temperature": 0.7},
        {"top_k": 3},
        {"top_p": 0.6},
        {"top_k": 5, "top_p": 0.8, "temperature": 1.5},
        {"stop_ids": (1,)},
        {"stop_ids": ()},
        {"stop_ids": tuple(range(V))},
        {"max_tokens": 1},
        {"max_tokens": 2},
    ],
    ids=str,
)
def test_every_way_to_sample(
    llama: PreTrainedModel, prompts: list[list[int]], changes: dict[str, Any]
) -> None:
    dynamic, static = (
        sample(llama, prompts, G, sampling(**changes), seed=0, max_batch=6, static=static)
        for static in (None, StaticDecoding())
    )
    assert_same(dynamic, static)


@pytest.mark.parametrize("check_every", [1, 3, 50])
@pytest.mark.parametrize("max_batch", [1, 3, 8, 20])
def test_slots_buckets_and_late_looks_change_no_answer(
    llama: PreTrainedModel,
    prompts: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
    max_batch: int,
    check_every: int,
) -> None:
    """Also groups larger than all slots (max_batch < G), and one prompt prefilled after another."""
    monkeypatch.setattr(refill, "CHECK_EVERY", check_every)
    monkeypatch.setattr(refill, "LEAST_POSITIONS", 1 + check_every)
    monkeypatch.setattr(refill, "PREFILLED", 8)
    dynamic = sample(llama, prompts, G, sampling(), seed=3)
    static = StaticDecoding()
    assert_same(
        dynamic, sample(llama, prompts, G, sampling(), seed=3, max_batch=max_batch, static=static)
    )


def test_a_seed_for_each_prompt(llama: PreTrainedModel, prompts: list[list[int]]) -> None:
    seeds = list(range(len(prompts)))
    dynamic = sample(llama, prompts, G, sampling(), seed=seeds)
    static = StaticDecoding()
    assert_same(
        dynamic, sample(llama, prompts, G, sampling(), seed=seeds, max_batch=8, static=static)
    )
    alone = sample(llama, prompts[2:3], G, sampling(), seed=seeds[2:3], static=static)
    assert torch.equal(alone.tokens, dynamic.tokens[2 * G : 3 * G, : alone.tokens.shape[1]])


def test_ended_slots_are_refilled(llama: PreTrainedModel, prompts: list[list[int]]) -> None:
    """Forward passes: far fewer than where each batch waits for its longest answer."""
    passes = 0

    def count(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        nonlocal passes
        passes += kwargs["input_ids"].shape[1] == 1

    hook = llama.register_forward_pre_hook(count, with_kwargs=True)
    many, request = prompts * 8, sampling(max_tokens=50)
    static = sample(llama, many, G, request, seed=0, max_batch=16, static=StaticDecoding())
    refilled, passes = passes, 0
    dynamic = sample(llama, many, G, request, seed=0, max_batch=16)
    hook.remove()
    assert_same(dynamic, static)
    assert refilled < 0.65 * passes
    tokens = int(dynamic.mask.sum())
    assert tokens / (16 * refilled) > 0.5, "more than half of what all slots could do"


def test_half_precision_and_autocast(prompts: list[list[int]]) -> None:
    model = make("llama")
    exact = sample(model, prompts, G, sampling(), seed=0)
    static = StaticDecoding()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = sample(model, prompts, G, sampling(), seed=0, static=static)
    assert static._kept is not None
    assert static._kept.cache.held[0].suffix[0].dtype == torch.bfloat16
    half = sample(make("llama").bfloat16(), prompts, G, sampling(), seed=0, static=static)
    for rollout in (mixed, half):
        assert (rollout.logprobs[:, 0] - exact.logprobs[:, 0]).abs().mean() < 0.2
        assert rollout.logprobs.dtype == torch.float32


def test_lora(prompts: list[list[int]]) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model: Any = peft.get_peft_model(make("llama"), config).eval()
    static = StaticDecoding(lambda step: step)

    def assert_both_same() -> None:
        assert_same(
            sample(model, prompts, G, sampling(), seed=0),
            sample(model, prompts, G, sampling(), seed=0, static=static),
        )

    assert_both_same()
    adapted = static._kept
    with model.disable_adapter():
        assert_both_same()
        assert static._kept is not adapted, "what was captured has the adapter in it"
    model.merge_adapter()
    assert_both_same()


@pytest.mark.parametrize(
    ("decoding", "static"), [("auto", False), ("dynamic", False), ("static", True)]
)
def test_the_recipe_decides_and_a_cpu_decodes_by_the_dynamic_path(
    llama: PreTrainedModel, prompts: list[list[int]], decoding: str, static: bool
) -> None:
    engine = build_engine("embedded", None, 8, decoding)
    assert isinstance(engine, EmbeddedEngine)
    engine.update(Policy(llama), 0)
    asked = [Prompt(str(ids), "", tuple(ids), {}) for ids in prompts]
    groups = sorted(engine.groups(asked, G, sampling(), seed=0), key=lambda group: group.place)
    assert (engine.static._kept is not None) == static
    dynamic = sample(llama, prompts, G, sampling(), seed=0)
    rows = [ids for group in groups for ids in group.answers]
    expected = zip(dynamic.tokens, dynamic.mask, strict=True)
    assert rows == [tokens[mask].tolist() for tokens, mask in expected]


def test_a_run_learns_from_the_same_answers(
    recipe: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    """Two steps: the second samples with the weights of the first, from buffers that were kept."""
    rows = []
    for decoding in ("dynamic", "static"):
        output = f"output={tmp_path / decoding}"
        config = recipe(f"rollout.decoding={decoding}", "train.steps=2", output)
        trainer = Trainer(config, open_run(config, decoding))
        rows.append(metrics(trainer.run().checkpoint))
        assert isinstance(trainer.engine, EmbeddedEngine)
        assert (trainer.engine.static._kept is not None) == (decoding == "static")
    for one, other in zip(*rows, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["reward/mean"] == other["reward/mean"]
