"""What a run holds in memory, part by part, from sizes alone: the run's first lines and
`evenflow plan` say the same."""

from __future__ import annotations

from dataclasses import dataclass, replace

from evenflow.config import TrainConfig
from evenflow.policy.shape import Shape
from evenflow.rollout.embedded.refill import cache_bytes, largest_shape
from evenflow.rollout.vllm.start import CPU_CACHE

SAFE = 0.92
"""Of a device's memory: the rest goes to its libraries and to gaps between allocations."""
SURE = 0.75
"""Of what is estimated rather than counted: measured runs are within a quarter of it."""
FIELDS = {
    "weights": "train with model.lora",
    "gradients and Adam": "train with model.lora",
    "sampling cache": "lower rollout.max_batch, with vLLM rollout.gpu_share",
    "activations": "lower train.micro_batch_tokens, or set model.gradient_checkpointing=true",
    "logits": "lower model.logprob_chunk",
}
"""What to do where a part is too large."""
SMALLER = "take a smaller model or a device with more memory"


@dataclass(frozen=True)
class Held:
    """What is in memory from the first step on."""

    weights: float
    """Bytes of policy, head, critic and reference, and of float32 masters (`weights_held`)."""
    trained: int
    """Parameters that have gradients and moments, all of them in float32."""
    half: int
    """Bytes of a number in the forward pass: 2 in bfloat16, 4 in float32."""
    recompute: bool
    """Whether backward computes activations again."""
    compiled: bool = False
    """Whether layers and log-probs are compiled, and hold fewer intermediates."""
    static: bool = False
    """Whether answers are decoded with static shapes (`rollout.decoding`)."""
    engine: float | None = None
    """Bytes that an engine takes while it samples (`engine_bytes`); None: it is the embedded one,
    whose cache is estimated."""


def weights_held(
    parameters: int, beside: int, half: int, *, adapter: bool, reference: bool
) -> float:
    """Bytes of a model of so many parameters and its reference, as `policy.loading.build_policy`
    holds them, and of what lies beside in float32: head, critic's MLP, adapter.

    With an adapter one base is both. Else each is held in the type of the forward pass, and in
    bfloat16 the policy has float32 masters (`policy.masters`).
    """
    if adapter:
        return half * parameters + 4.0 * beside
    masters = 4 * parameters if half < 4 else 0
    return (1 + reference) * half * parameters + masters + 4.0 * beside


def engine_bytes(config: TrainConfig, weights: float, room: float | None) -> float | None:
    """Bytes that vLLM takes while it samples, from those of a model's weights and those of the
    whole GPU (None: there is none); None for engines whose cache is estimated, or not known."""
    rollout = config.rollout
    if rollout.engine != "vllm":
        return None
    if rollout.server is not None:
        return 0.0
    return weights + CPU_CACHE if room is None else rollout.gpu_share * room


def estimate(config: TrainConfig, shape: Shape, held: Held, longest: int) -> dict[str, float]:
    """Bytes by purpose, `longest` the tokens of the longest prompt; weights, moments and cache are
    counted, the rest comes from measured runs (docs/results/speed.json). Answers are as long as
    they may be. Logits that are kept where there is room for them are not in it."""
    half, rollout = held.half, config.rollout
    reach = longest + rollout.max_completion_length
    answers = rollout.questions * rollout.num_generations
    learned = (config.train.mini_batch_questions or rollout.questions) * rollout.num_generations
    position = half * shape.cached * shape.layers  # of keys and values
    cache = min(rollout.max_batch, answers) * reach * position
    if held.engine is not None:
        cache = held.engine
    elif held.static:
        slots = largest_shape(
            rollout.questions,
            rollout.num_generations,
            longest,
            rollout.max_completion_length,
            rollout.max_batch,
        )
        cache = cache_bytes(slots, position)
    # A row longer than the budget is a micro-batch of its own.
    tokens = min(max(config.train.micro_batch_tokens, reach), learned * reach)
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
        "sampling cache": float(cache),
        "activations": float(tokens * (layers * a_layer + kept)),
        "logits": a_logit * min(config.model.logprob_chunk, tokens) * shape.vocabulary,
    }


def recomputes(
    config: TrainConfig, shape: Shape, held: Held, longest: int, room: float | None
) -> bool:
    """Whether backward computes activations again: as the recipe says, else where a GPU with `room`
    bytes (None: no GPU) could not hold all of them. What `held` says of it does not count."""
    asked = config.model.gradient_checkpointing
    if asked is not None or room is None:
        return bool(asked)
    return sum(estimate(config, shape, replace(held, recompute=False), longest).values()) > room


def too_much(parts: dict[str, float], room: float, *, adapter: bool = False) -> str | None:
    """What to do where the parts do not fit; None where they do."""
    return None if sum(parts.values()) <= room else remedy(parts, room, adapter=adapter)


def remedy(parts: dict[str, float], room: float, *, adapter: bool = False) -> str:
    """What to do about the largest of what comes and goes, unless what stays is too much.
    `adapter`: an adapter is trained already."""
    if parts["weights"] + parts["gradients and Adam"] > room:
        return SMALLER if adapter else FIELDS["weights"]
    passing = ("sampling cache", "activations", "logits")
    return FIELDS[max(passing, key=lambda name: parts[name])]


def least(parts: dict[str, float]) -> float:
    """Bytes below which a run cannot come to the end of its first step, if its answers are as long
    as they may be: sampling and learning do not happen at once."""
    learning = SURE * (parts["activations"] + parts["logits"])
    return parts["weights"] + parts["gradients and Adam"] + max(parts["sampling cache"], learning)
