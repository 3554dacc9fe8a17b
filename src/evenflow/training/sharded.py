"""What each of several GPUs holds when verl shares a run out over them (docs/scaling.md).

Shards are counted; activations come by the formula of `memory`, which is held against runs of one
GPU; that verl keeps all logits of a micro-batch and their gradients is read off its code. None of
it was measured on several GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass

from evenflow.config import TrainConfig
from evenflow.config.effect import needs_reference
from evenflow.errors import UserError
from evenflow.policy.shape import Shape
from evenflow.training.devices import Device
from evenflow.training.memory import SAFE, Held, estimate

MOST_OF_A_SHARE = 0.8
"""Of vLLM's share that weights may take, so that a cache is left."""
OFFLOAD = (
    "more GPUs, or actor_rollout_ref.actor.fsdp_config.offload_policy=True (all in the host's "
    "memory; not tried here; optimizer_offload=True does so only while nothing is learned)"
)
FUSED = "actor_rollout_ref.model.use_fused_kernels=True, or lower train.micro_batch_tokens"

LONG = (
    "actor_rollout_ref.actor.ulysses_sequence_parallel_size above 1 (an answer over several GPUs), "
    "or lower rollout.max_completion_length"
)


@dataclass(frozen=True)
class OnEach:
    """Bytes on each GPU."""

    gpus: int
    stays: dict[str, float]
    """All the time: shards."""
    learning: dict[str, float]
    """Beside them while a micro-batch is learned from."""
    sampling: float
    """Beside them while vLLM samples: its share."""
    tensor_parallel: int
    """GPUs over which vLLM has to split the weights at least, for a cache to be left."""
    room: float
    shortest: bool
    """Whether a micro-batch is one longest answer already."""

    @property
    def remedy(self) -> str | None:
        """What to do where it does not fit, in verl's words; None where it does."""
        stays, learning = sum(self.stays.values()), sum(self.learning.values())
        if self.tensor_parallel > self.gpus:
            return "vLLM cannot hold the weights on so many GPUs; raise rollout.gpu_share"
        if stays > self.room:
            return OFFLOAD
        if stays + self.sampling > self.room:
            return "lower rollout.gpu_share"
        if stays + learning > self.room:
            if max(self.learning, key=lambda name: self.learning[name]) == "logits":
                return FUSED
            return LONG if self.shortest else "lower train.micro_batch_tokens"
        return None


def on_each(
    config: TrainConfig, shape: Shape, beside: int, device: Device, gpus: int, longest: int
) -> OnEach:
    """What a run by verl holds on each of so many such GPUs, with FSDP over all of them: float32
    shards of policy and reference, and activations, computed again in backward unless the recipe
    says otherwise. `beside` are the
    parameters of the head, `longest` the tokens of the longest prompt. UserError for an adapter,
    of which verl holds another set."""
    if config.model.lora is not None:
        raise UserError("--gpus: is for training all weights; leave model.lora out")
    if not device.gpu:
        raise UserError("--gpus: needs a --device that is a GPU")
    trained = shape.parameters + beside
    reference = needs_reference(config, config.build_objective()) * shape.parameters
    half = 4 if config.model.dtype == "float32" else 2
    recompute = config.model.gradient_checkpointing is not False
    held = Held(weights=0, trained=0, half=half, recompute=recompute, engine=0.0)
    longest_row = longest + config.rollout.max_completion_length
    tokens = max(config.train.micro_batch_tokens, longest_row)
    train = config.train.model_copy(update={"micro_batch_tokens": tokens})
    passing = estimate(config.model_copy(update={"train": train}), shape, held, longest)
    layer = (shape.parameters - shape.embeddings) / shape.layers
    share = config.rollout.gpu_share * device.memory
    split = 1
    while half * shape.parameters / split > MOST_OF_A_SHARE * share and split <= gpus:
        split *= 2
    return OnEach(
        gpus=gpus,
        stays={
            "weights": 4.0 * trained / gpus,
            "gradients and Adam": 12.0 * trained / gpus,
            "reference": 4.0 * reference / gpus,
        },
        learning={
            # The embeddings, and two layers: the one at work and the next.
            "gathered": half * (shape.embeddings + 2 * layer),
            "activations": passing["activations"],
            "logits": 2.0 * half * tokens * shape.vocabulary,
        },
        sampling=share,
        tensor_parallel=split,
        room=SAFE * device.memory,
        shortest=tokens == longest_row,
    )
