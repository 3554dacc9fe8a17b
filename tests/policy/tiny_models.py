"""Tiny random models of many families, and rows of mixed lengths to put through them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3nTextConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    PhimoeConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

V = 29
SIZE: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "vocab_size": V,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
GQA = {"num_key_value_heads": 2}
TIED = {"tie_word_embeddings": True}
UNTIED = {"tie_word_embeddings": False}
CONFIGS = {
    "llama": lambda: LlamaConfig(**SIZE, **GQA, **UNTIED),
    "llama-tied": lambda: LlamaConfig(**SIZE, **GQA, **TIED),
    "qwen2": lambda: Qwen2Config(**SIZE, **GQA, **UNTIED),
    "qwen2-tied": lambda: Qwen2Config(**SIZE, **GQA, **TIED),
    "qwen3": lambda: Qwen3Config(**SIZE, **GQA, **UNTIED, head_dim=8),
    "gpt2": lambda: GPT2Config(**SIZE),  # with its dropout of 0.1
    "neox": lambda: GPTNeoXConfig(**SIZE),
    "gemma2": lambda: Gemma2Config(
        **SIZE, **GQA, head_dim=4, query_pre_attn_scalar=4, final_logit_softcapping=2.0
    ),
    "gemma3": lambda: Gemma3TextConfig(
        **SIZE, **GQA, **TIED, head_dim=4, query_pre_attn_scalar=4, sliding_window=16
    ),
    # The last two of its layers read keys and values of the two before.
    "gemma3n": lambda: Gemma3nTextConfig(
        **SIZE | {"num_hidden_layers": 4, "intermediate_size": [24, 24, 40, 40]},
        **GQA,
        head_dim=4,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"] * 2,
        num_kv_shared_layers=2,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=V,
        laurel_rank=4,
        activation_sparsity_pattern=[0.0] * 4,
    ),
    "cohere": lambda: CohereConfig(**SIZE, **GQA, logit_scale=0.25),
    "granite": lambda: GraniteConfig(**SIZE, **GQA, logits_scaling=3.0),
}
DRAWING = {
    "falcon": lambda: FalconConfig(
        **SIZE | {"num_attention_heads": 2}, hidden_dropout=0.1, attention_dropout=0.1
    ),
    "phimoe": lambda: PhimoeConfig(
        **SIZE, **GQA, num_local_experts=4, router_jitter_noise=0.1, input_jitter_noise=0.1
    ),
}
"""Models that draw at random in training mode, by what their configuration says or always."""


def make(name: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config((CONFIGS | DRAWING)[name]())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # random weights are flat: sharpen them, so that mistakes show
                parameter.mul_(5)
    return model.eval()


def make_rows(count: int = 7, seed: int = 0) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts of 1 to 9 tokens and answers of 1 to 8."""
    rng = random.Random(seed)
    prompts = [[rng.randrange(2, V) for _ in range(1 + i * 4 % 9)] for i in range(count)]
    answers = [[rng.randrange(2, V) for _ in range(1 + i * 3 % 8)] for i in range(count)]
    return prompts, answers


def gradients(module: Any) -> dict[str, torch.Tensor]:
    return {
        name: parameter.grad.clone()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def save(name: str, folder: Path) -> Path:
    """A base model with its tokenizer, as a folder."""
    make(name).save_pretrained(folder)
    words = {"<pad>": 0, "<eos>": 1} | {f"w{i}": i for i in range(2, V)}
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<pad>")),
        pad_token="<pad>",
        eos_token="<eos>",
    ).save_pretrained(folder)
    return folder
