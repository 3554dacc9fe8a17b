"""Models, requests and the comparison for tests of decoding with static shapes."""

from __future__ import annotations

from typing import Any

import torch
from tests.policy.tiny_models import CONFIGS as FAMILIES
from tests.policy.tiny_models import make as make_family
from tests.rollout.embedded.test_engine import GQA, IDS, SIZE, make
from tests.rollout.rollouts import Rollout
from transformers import AutoModelForCausalLM, GptOssConfig, PhiConfig

from evenflow.rollout import Sampling

MAX_TOKENS, G = 30, 4
BLOOM = {"hidden_size": 32, "n_layer": 2, "n_head": 4, **IDS}
FURTHER = {
    "phi": lambda: PhiConfig(**SIZE, **IDS),
    # Sinks: logits that take part in the softmax and attend to nothing; every other layer slides.
    "gpt-oss": lambda: GptOssConfig(
        **SIZE,
        **GQA,
        **IDS,
        head_dim=8,
        sliding_window=6,
        num_local_experts=3,
        num_experts_per_tok=2,
    ),
}


def tiny(name: str) -> Any:
    if name in FURTHER:
        torch.manual_seed(0)
        return sharpened(AutoModelForCausalLM.from_config(FURTHER[name]()))
    return make_family(name) if name in FAMILIES else make(name)


def sharpened(model: Any) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    return model.eval()


def sampling(**changes: Any) -> Sampling:
    return Sampling(**({"max_tokens": MAX_TOKENS, "stop_ids": (1, 2)} | changes))


def assert_same(one: Rollout, other: Rollout) -> None:
    assert torch.equal(one.tokens, other.tokens)
    assert torch.equal(one.mask, other.mask)
    assert torch.equal(one.finished, other.finished)
    torch.testing.assert_close(one.logprobs, other.logprobs, atol=1e-5, rtol=0)
