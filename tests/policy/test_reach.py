"""Sampler and trainer agree for every kind of rotary position, and where its factors change."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.rollout.rollouts import rollout as sample
from tiny_models import GQA, SIZE
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MptConfig,
    MptForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
)

from evenflow.policy.policy import Policy
from evenflow.policy.reach import border, positions, reach
from evenflow.rollout import Sampling

BORDER, LONGEST = 16, 64
KINDS: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": BORDER},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": BORDER,
    },
}


def sharpened(model: Any) -> Any:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    return model.eval()


def rotary(kind: str) -> Any:
    parameters = {"rope_type": kind, "rope_theta": 100.0} | KINDS[kind]
    return sharpened(LlamaForCausalLM(LlamaConfig(**SIZE, **GQA, rope_parameters=parameters)))


def longrope() -> Any:
    parameters = {
        "rope_type": "longrope",
        "rope_theta": 100.0,
        "short_factor": [1.0, 1.0],
        "long_factor": [3.0, 9.0],
        "original_max_position_embeddings": BORDER,
    }
    size = SIZE | {"max_position_embeddings": LONGEST}
    config = Phi3Config(
        **size, **GQA, rope_parameters=parameters, original_max_position_embeddings=BORDER
    )
    return sharpened(Phi3ForCausalLM(config))


def gap(model: Any, lengths: list[int], tokens: int) -> float:
    """Between the log-probs of the sampler and of the trainer."""
    prompts = [[2 + (i * 7 + j * 5) % 25 for j in range(n)] for i, n in enumerate(lengths)]
    rollout = sample(model, prompts, 2, Sampling(tokens), seed=0)
    rows = [prompt for prompt in prompts for _ in range(2)]
    scored = Policy(model).score(rows, rollout.tokens.tolist())
    return (scored - rollout.logprobs).abs().max().item()


@pytest.mark.parametrize("lengths", [[9], [3, 9, 30]], ids=["unpadded", "padded"])
@pytest.mark.parametrize("kind", KINDS)
def test_sampler_and_trainer_agree(kind: str, lengths: list[int]) -> None:
    model = rotary(kind)
    assert border(model) is None
    assert gap(model, lengths, 30) < 1e-4


@pytest.mark.parametrize(
    ("lengths", "tokens"),
    [([10], 6), ([3, 9, 4], 7), ([17], 8), ([30, 17, 20], 9)],
    ids=["below", "below, padded", "above", "above, padded"],
)
def test_sampler_and_trainer_agree_on_either_side_of_the_border(
    lengths: list[int], tokens: int
) -> None:
    assert gap(longrope(), lengths, tokens) < 1e-4


@pytest.mark.parametrize(("lengths", "tokens"), [([10], 7), ([16], 1), ([3, 30], 2), ([16, 17], 5)])
def test_an_answer_that_would_cross_the_border_is_refused(lengths: list[int], tokens: int) -> None:
    with pytest.raises(ValueError, match=r"model's 16 positions .*LongRoPE"):
        gap(longrope(), lengths, tokens)


def test_how_far_a_model_reaches() -> None:
    model = longrope()
    assert (positions(model), border(model)) == (LONGEST, BORDER)
    assert reach(model, [3, 30]) == BORDER
    assert reach(model, [17, 30]) == LONGEST
    assert reach(rotary("dynamic"), [3, 30]) == SIZE["max_position_embeddings"]


def test_positions_by_another_name() -> None:
    model = MptForCausalLM(
        MptConfig(d_model=16, n_heads=2, n_layers=1, max_seq_len=24, vocab_size=64)
    )
    assert positions(model) == 24
