"""What a plan says of an adapter's size is what PEFT makes."""

from __future__ import annotations

import pytest
from tiny_models import make

from evenflow.config import LoraConfig
from evenflow.policy.adapters import new_adapter
from evenflow.policy.shape import adapter_size


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_size_of_an_adapter(name: str) -> None:
    lora = LoraConfig(rank=2)
    expected = adapter_size(make(name), lora)
    adapted = new_adapter(make(name), lora)
    found = sum(p.numel() for key, p in adapted.named_parameters() if "lora_" in key)
    assert expected == found > 0
