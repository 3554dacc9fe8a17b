"""Models and captures that cannot be had: a sentence, then the path that can."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.rollout.embedded.static_cases import BLOOM, G, assert_same, sampling, sharpened
from tests.rollout.embedded.test_engine import IDS, SIZE, V, make
from tests.rollout.rollouts import rollout as sample
from transformers import AutoModelForCausalLM, BloomConfig, LlamaConfig, PreTrainedModel

from evenflow.rollout.embedded.static import StaticDecoding

pytestmark = pytest.mark.usefixtures("small_buckets")


def rotating(kind: str) -> PreTrainedModel:
    rope = {"rope_type": kind, "rope_theta": 1e4, "factor": 2.0}
    if kind == "longrope":
        rope |= {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
        rope |= {"original_max_position_embeddings": 48}
    return AutoModelForCausalLM.from_config(LlamaConfig(**SIZE, **IDS, rope_parameters=rope)).eval()


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: AutoModelForCausalLM.from_config(BloomConfig(vocab_size=V, **BLOOM)), "its own"),
        (lambda: rotating("dynamic"), "longest sequence"),
        (lambda: rotating("longrope"), "longest sequence"),
    ],
    ids=["alibi", "dynamic", "longrope"],
)
def test_a_model_that_cannot_takes_the_other_path_and_says_so_once(
    build: Any, reason: str, prompts: list[list[int]]
) -> None:
    torch.manual_seed(0)
    model, static = sharpened(build()), StaticDecoding()
    reason = reason.replace("its own", "an attention of its own")
    with pytest.warns(UserWarning, match=reason):
        rollout = sample(model, prompts, G, sampling(), seed=0, static=static)
    again = sample(model, prompts, G, sampling(), seed=0, static=static)  # a warning would raise
    assert_same(sample(model, prompts, G, sampling(), seed=0), rollout)
    assert_same(rollout, again)


def test_a_model_that_computes_something_else_is_found_out(
    prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here one that multiplies its keys once more, after they were cached."""
    model = make("llama")
    attention = type(model.model.layers[0].self_attn)
    plain = attention.forward

    def odd(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.config._attn_implementation != "sdpa":
            kwargs["position_embeddings"] = tuple(x * 0.5 for x in kwargs["position_embeddings"])
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(attention, "forward", odd)
    with pytest.warns(UserWarning, match="LlamaForCausalLM computes other log-probs"):
        rollout = sample(model, prompts, G, sampling(), seed=0, static=StaticDecoding())
    assert_same(sample(model, prompts, G, sampling(), seed=0), rollout)


def test_what_an_attention_is_asked_and_does_not_know_is_named(
    prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make("llama")
    attention = type(model.model.layers[0].self_attn)
    plain = attention.forward

    def biased(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.config._attn_implementation != "sdpa":
            kwargs["position_bias"] = 0.0
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(attention, "forward", biased)
    with pytest.warns(UserWarning, match="gives its attention position_bias"):
        sample(model, prompts, G, sampling(), seed=0, static=StaticDecoding())


def test_a_step_that_cannot_be_captured_runs_as_it_is(
    llama: PreTrainedModel, prompts: list[list[int]]
) -> None:
    def fails(step: Any) -> Any:
        step()  # a warm-up, which must not count
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")

    static = StaticDecoding(fails)
    with pytest.warns(UserWarning, match="could not be captured.*stream is capturing$") as said:
        rollout = sample(llama, prompts, G, sampling(), seed=0, static=static)
    assert len(said) == 1
    assert_same(sample(llama, prompts, G, sampling(), seed=0), rollout)
    sample(llama, prompts, G, sampling(), seed=0, static=static)


def test_memory_that_runs_out_in_a_capture_is_said_as_that(
    llama: PreTrainedModel, prompts: list[list[int]]
) -> None:
    def fails(step: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    static = StaticDecoding(fails)
    with pytest.raises(torch.OutOfMemoryError):
        sample(llama, prompts, G, sampling(), seed=0, static=static)
    assert static._kept is None, "the buffers are given back"
