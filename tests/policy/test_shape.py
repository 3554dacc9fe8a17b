"""What a plan says of a model's sizes is what it has, and of an adapter's what PEFT makes."""

from __future__ import annotations

from typing import Any

import pytest
import transformers
from tiny_models import GQA, SIZE, make

from evenflow.config import LoraConfig
from evenflow.policy.adapters import new_adapter
from evenflow.policy.shape import adapter_size, shape_of

KINDS = ["sliding_attention", "full_attention"]
PER_LAYER = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": SIZE["vocab_size"]}


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_size_of_an_adapter(name: str) -> None:
    lora = LoraConfig(rank=2)
    expected = adapter_size(make(name), lora)
    adapted = new_adapter(make(name), lora)
    found = sum(p.numel() for key, p in adapted.named_parameters() if "lora_" in key)
    assert expected == found > 0


def test_sizes_that_differ_from_layer_to_layer_are_taken_on_the_average() -> None:
    assert shape_of(make("llama")).intermediate == 24
    assert shape_of(make("gemma3n")).intermediate == (24 + 24 + 40 + 40) / 4


def test_heads_that_differ_from_layer_to_layer() -> None:
    config: Any = transformers.Gemma4TextConfig(
        **SIZE, **GQA, head_dim=4, global_head_dim=8, layer_types=KINDS, **PER_LAYER
    )
    if not hasattr(config, "per_layer_config"):
        pytest.skip("this release of Transformers knows one size of heads alone")
    shape = shape_of(transformers.AutoModelForCausalLM.from_config(config))
    assert shape.attention == 4 * (4 + 8) / 2
    assert shape.cached == 2 * 2 * (4 + 8) / 2
