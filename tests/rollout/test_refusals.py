"""Requests and models that the engine refuses, each with a sentence that says why."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    Qwen3NextConfig,
    RobertaConfig,
    T5Config,
    T5ForConditionalGeneration,
)

from evenflow.policy.policy import Policy
from evenflow.rollout import Sampling
from evenflow.rollout.embedded.engine import EmbeddedEngine
from evenflow.rollout.embedded.generate import generate

V = 24
REQUEST = Sampling(max_tokens=5, stop_ids=(1,))


@pytest.fixture(scope="module")
def llama() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=V,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config)


@pytest.mark.parametrize(
    ("prompts", "changes", "message"),
    [
        ([], {}, "prompts is empty"),
        ([[3], []], {}, "prompt 1 is empty"),
        (
            [[3], [3] * 60],
            {},
            "prompt 1 has 60 tokens.*lower max_tokens to at most 4",
        ),
        ([[3]], {"stop_ids": (V,)}, r"stop_ids \[24\] are not in the model's vocabulary of 24"),
    ],
)
def test_bad_requests(llama, prompts, changes, message):
    with pytest.raises(ValueError, match=message):
        generate(llama, prompts, 2, replace(REQUEST, **changes), seed=0)


@pytest.mark.parametrize(("argument", "value"), [("num_generations", 0), ("max_batch", 0)])
def test_bad_numbers(llama, argument, value):
    arguments = {"num_generations": 1, "max_batch": 1, argument: value}
    with pytest.raises(ValueError, match=f"{argument} must be at least 1, got 0"):
        generate(llama, [[3]], sampling=REQUEST, seed=0, **arguments)


def test_models_that_the_cache_cannot_serve():
    small = {"vocab_size": V, "hidden_size": 32, "num_hidden_layers": 4}
    mamba = AutoModelForCausalLM.from_config(MambaConfig(**small, state_size=4))
    hybrid = AutoModelForCausalLM.from_config(
        Qwen3NextConfig(
            **small,
            intermediate_size=32,
            moe_intermediate_size=16,
            shared_expert_intermediate_size=16,
            num_experts=2,
            num_experts_per_tok=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
        )
    )
    t5 = T5ForConditionalGeneration(
        T5Config(vocab_size=V, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    )
    for model, message in (
        (mamba, "takes no cache|attention in every layer|whose state"),
        (hybrid, "layers whose state the rollout cache cannot hold"),
        (t5, "encoder-decoder"),
    ):
        with pytest.raises(ValueError, match=message):
            generate(model, [[3]], 1, REQUEST, seed=0)


def test_learned_prompts_are_refused(llama):
    peft = pytest.importorskip("peft")
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    model = peft.get_peft_model(llama, config)
    with pytest.raises(ValueError, match=r"prepends learned prompts.*use LoRA instead"):
        generate(model, [[3]], 1, REQUEST, seed=0)


@pytest.mark.parametrize("kind", [RobertaConfig, BertConfig])
def test_positions_that_do_not_begin_at_0(kind) -> None:
    """RoBERTa's begin behind its padding token's id, BERT's, else the same, at 0."""
    torch.manual_seed(0)
    config = kind(
        vocab_size=V,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        is_decoder=True,
    )
    engine = EmbeddedEngine(None, 4)
    model = AutoModelForCausalLM.from_config(config).train()  # with its dropout
    engine.update(Policy(model), 0)
    if kind is BertConfig:
        assert engine.limits([]).vocabulary == V
        assert model.training
        return
    for _ in range(2):
        with pytest.raises(ValueError, match="RobertaForCausalLM does not count the positions"):
            engine.limits([])
