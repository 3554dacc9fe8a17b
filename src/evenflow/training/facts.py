"""What a run states at its start, and the memory that it will take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from evenflow.config import TrainConfig
from evenflow.config.effect import cautions, without_effect
from evenflow.objectives import Choices, preset
from evenflow.policy.policy import Policy
from evenflow.policy.stops import ids_of, stop_ids
from evenflow.rollout.embedded.engine import is_static
from evenflow.rollout.embedded.refill import cache_bytes, largest_shape
from evenflow.rollout.stopping import chat_ends
from evenflow.training.build import Questions

GIB = 2**30


def facts(
    config: TrainConfig,
    policy: Policy,
    questions: Questions,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> list[tuple[str, str]]:
    """What a person wants to know before the first step; with a tokenizer, where answers end."""
    parameters = sum(p.numel() for p in policy.model.parameters())
    trained = sum(p.numel() for p in policy.model.parameters() if p.requires_grad)
    rows = [
        ("algorithm", preset(config.algorithm).source),
        ("device", f"{device_name(policy.device)}, {str(policy.compute_dtype)[6:]} forward passes"),
        ("model", f"{config.model.path}, {parameters:,} parameters, {trained:,} trained"),
        ("questions", f"{len(questions.train):,} to train on, {len(questions.test):,} held out"),
        ("memory", "about " + memory_text(config, policy, questions)),
    ]
    if tokenizer is not None:
        rows.append(("answers end", ends_text(config, policy.model, questions, tokenizer)))
    objective = config.build_objective()
    if isinstance(objective, Choices):
        rows += objective.facts(config.setting)
    rows += [("no effect", sentence) for sentence in without_effect(config)]
    rows += [("take care", sentence) for sentence in cautions(config)]
    return rows


def ends_text(
    config: TrainConfig, model: Any, questions: Questions, tokenizer: PreTrainedTokenizerBase
) -> str:
    """The tokens that end an answer, and whether one of them comes from the chat template alone."""
    ends = chat_ends(questions.all, config.data, tokenizer, model)
    found = stop_ids([*config.rollout.stop, *ends], tokenizer, model)
    names = {end: str(tokenizer.convert_ids_to_tokens(end)) for end in found}
    named = (tokenizer.eos_token_id, *ids_of(model.generation_config.eos_token_id))
    added = [
        f"; {names[end]} is added, because the chat template ends a turn with it"
        for end in ends
        if end not in named
    ]
    return f"at {', '.join(names.values())}{''.join(added)}"


def device_name(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def memory_text(config: TrainConfig, policy: Policy, questions: Questions) -> str:
    """The estimate, with its largest parts."""
    parts = memory_estimate(config, policy, questions)
    shown = ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts.items())
    return f"{sum(parts.values()) / GIB:.2f} GiB ({shown})"


def memory_estimate(config: TrainConfig, policy: Policy, questions: Questions) -> dict[str, float]:
    """Bytes by purpose; activations by the usual rule of 34 bytes × hidden × layers a token
    (Korthikanti et al., arXiv 2205.05198, without attention matrices), the rest counted."""
    model: Any = policy.model
    shape = model.config.get_text_config()
    trained = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    held = sum(p.numel() * p.element_size() for p in policy.parameters())
    half = 2 if policy.compute_dtype != torch.float32 else 4
    longest = max(len(prompt.ids) for prompt in questions.train or questions.test)
    heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
    size = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    cached = 2 * half * shape.num_hidden_layers * heads * size  # keys and values of a token
    answers = config.rollout.questions * config.rollout.num_generations
    sampled = sampling_bytes(config, policy.device, longest, cached)
    reach = longest + config.rollout.max_completion_length
    recomputed = config.model.gradient_checkpointing
    if recomputed is None:  # as `policy.loading.build_policy` decides
        recomputed = policy.device.type == "cuda"
    layers = 1 if recomputed else shape.num_hidden_layers
    tokens = min(config.train.micro_batch_tokens, answers * reach)
    return {
        "weights": float(held),
        "gradients and Adam": 12.0 * trained,
        "sampling cache": float(sampled),
        "activations": 17.0 * half * shape.hidden_size * layers * tokens
        + half * shape.hidden_size * shape.num_hidden_layers * tokens,
        "logits": 12.0 * min(config.model.logprob_chunk, tokens) * shape.vocab_size,
    }


def sampling_bytes(config: TrainConfig, device: torch.device, longest: int, position: int) -> int:
    """Of keys and values while answers are sampled to prompts of at most `longest` tokens, with
    `position` bytes for a position."""
    rollout = config.rollout
    limit = rollout.max_completion_length
    if is_static(rollout.decoding, device):
        questions, group = rollout.questions, rollout.num_generations
        shape = largest_shape(questions, group, longest, limit, rollout.max_batch)
        return cache_bytes(shape, position)
    decoded = min(rollout.max_batch, rollout.questions * rollout.num_generations)  # at once
    return decoded * (longest + limit) * position


def true_log_z(config: TrainConfig, right: Sequence[float] | None) -> dict[str, float]:
    """`log_z/true`: the mean log Z of the objective's target over held-out questions, of each of
    which `right` has the chance that the reference is right (the policy's before the first step).
    Empty where it is not known."""
    objective = config.build_objective()
    if right is None or not isinstance(objective, Choices):
        return {}
    value = objective.true_log_z(right, config.setting)
    return {} if value is None else {"log_z/true": value}
