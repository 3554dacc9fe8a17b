"""What a run holds in memory, part by part, from sizes alone: the run's first lines and
`evenflow plan` say the same."""

from __future__ import annotations

from dataclasses import dataclass

from evenflow.config import TrainConfig
from evenflow.policy.shape import Shape

FIELDS = {
    "weights": "train with model.lora",
    "gradients and Adam": "train with model.lora",
    "sampling cache": "lower rollout.max_batch",
    "activations": "lower train.micro_batch_tokens, or set model.gradient_checkpointing=true",
    "logits": "lower model.logprob_chunk",
}
"""What to do where a part is too large."""


@dataclass(frozen=True)
class Held:
    """What is in memory from the first step on."""

    weights: float
    """Bytes of policy, head, critic and reference."""
    trained: int
    """Parameters that have gradients and moments."""
    half: int
    """Bytes of a number in the forward pass: 2 in bfloat16, 4 in float32."""
    recompute: bool
    """Whether backward computes activations again."""
    compiled: bool = False
    """Whether layers and log-probs are compiled, and hold fewer intermediates."""


def recomputes(config: TrainConfig, gpu: bool) -> bool:
    """Whether activations are recomputed on such a device, as `policy.loading.build_policy` decides
    it."""
    asked = config.model.gradient_checkpointing
    return gpu if asked is None else asked


def estimate(config: TrainConfig, shape: Shape, held: Held, longest: int) -> dict[str, float]:
    """Bytes by purpose, `longest` the tokens of the longest prompt; weights, moments and cache are
    counted, the rest comes from measured runs (docs/results/speed.json)."""
    half = held.half
    answers = config.rollout.questions * config.rollout.num_generations
    reach = longest + config.rollout.max_completion_length
    decoded = min(config.rollout.max_batch, answers)  # at once
    tokens = min(config.train.micro_batch_tokens, answers * reach)
    # Of a token in a layer, in bfloat16: what the MLP's four products leave, and the states around
    # norms, rotation and attention, some of them in float32.
    wide, narrow = (6, 18) if held.compiled else (8, 40)
    a_layer = half / 2 * (wide * shape.intermediate + narrow * shape.hidden)
    layers = 1 if held.recompute else shape.layers
    kept = half * shape.hidden * shape.layers if held.recompute else 0
    a_logit = 3.0 if held.compiled else 12.0
    return {
        "weights": held.weights,
        "gradients and Adam": 12.0 * held.trained,
        "sampling cache": float(half * shape.cached * shape.layers * decoded * reach),
        "activations": float(tokens * (layers * a_layer + kept)),
        "logits": a_logit * min(config.model.logprob_chunk, tokens) * shape.vocabulary,
    }


def too_much(parts: dict[str, float], room: float, *, adapter: bool) -> str | None:
    """What to do where the parts do not fit, by the largest that can be made smaller; None where
    they do. `adapter`: an adapter is trained already."""
    if sum(parts.values()) <= room:
        return None
    fixed = ("weights", "gradients and Adam") if adapter else ()
    if sum(parts[name] for name in fixed) > room:
        return "take a smaller model or a device with more memory"
    return FIELDS[max((name for name in parts if name not in fixed), key=lambda n: parts[n])]
