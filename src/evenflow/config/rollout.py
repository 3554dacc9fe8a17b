"""How answers are sampled: the section `rollout`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from evenflow.bounds import (
    Count,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Seconds,
    Temperature,
)
from evenflow.config.sections import Section


class ReplayConfig(Section):
    """Learning once more from groups of earlier steps."""

    questions: NonNegativeInt = 0
    """Groups of earlier steps that are mixed into each step; 0: none."""
    keep: PositiveInt = 256
    """Groups that are kept to draw from."""
    by: Literal["recency", "reward"] = "recency"
    """Which are kept: the newest, or those whose best answer has the highest reward (among equals
    those with the fewest such answers, then the newest)."""


class RolloutConfig(Section):
    questions: Count = 32
    """Questions a step."""
    num_generations: Count = 8
    """Answers sampled for each question (the group size G)."""
    temperature: Temperature = 1.0
    """Sampling temperature; every log-prob in training is of the tempered policy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling; refused in training (see docs/objective.md)."""
    top_k: NonNegativeInt = 0
    """Sample among the k likeliest tokens, 0 for all; refused in training."""
    max_completion_length: Count = 512
    """Longest answer in tokens, end token included; longer ones are cut off there."""
    stop: list[str | int] = Field(default=[])
    """Further tokens that end an answer, beside the model's own end tokens: numbers, or texts, each
    of which stands for every token that is decoded to just that."""
    engine: str = "embedded"
    """What samples the answers, in training and on held-out questions: embedded, vllm (extra
    `vllm`, docs/engines.md), or an engine of your own as my_module:MyEngine
    (docs/architecture.md)."""
    server: str | list[str] | None = None
    """With engine vllm: the URL of a running vLLM server that samples, or those of several. null:
    vLLM runs in this process."""
    timeout: Seconds = 600.0
    """Seconds that a server may take for a question's answers, its queue included; after them it
    counts as lost. Raise it for long answers."""
    gpu_share: float = Field(default=0.4, gt=0, le=1)
    """Part of the GPU's memory that vLLM in this process takes while it samples, for its weights
    and cache; it gives them back while the run learns."""
    largest_gap: PositiveFloat | None = 0.3
    """The run stops where a token's log-prob as sampled and as the trainer computes it differ by
    more than this on average, in nats, before anything is learned from such answers. null: however
    far apart they are. Not asked of an engine that is exact."""
    max_batch: PositiveInt = 512
    """Answers decoded at once; lower it when sampling runs out of memory."""
    decoding: Literal["auto", "dynamic", "static"] = "auto"
    """How the embedded engine decodes. dynamic: a batch that gets smaller as answers end. static:
    slots that are refilled, in steps of fixed shapes, which a GPU captures as a CUDA graph. auto:
    static on a GPU, dynamic on a CPU. The answers are the same, but for float error."""
    dynamic_sampling: bool = False
    """Drop questions whose answers are all right or all wrong, and sample others until the batch
    is full (DAPO)."""
    max_rounds: PositiveInt = 10
    """With dynamic_sampling: at most so many rounds of sampling a step; then it learns from what
    there is."""
    segment: PositiveInt | None = None
    """Tokens that an answer may grow by in one step; what is longer goes on in the next step
    (partial rollouts). Must divide max_completion_length; null: every answer is sampled whole."""
    lag: NonNegativeInt = 0
    """Steps that sampling is ahead of learning: each batch is sampled by the policy as it was so
    many steps before, while earlier batches are learned from (docs/ahead.md). 0: in turns."""
    replay: ReplayConfig = ReplayConfig()


def refuse_server(engine: str, server: str | list[str] | None) -> str | None:
    """A sentence where servers are named for another engine than vLLM, or none are in the list."""
    if server is not None and engine != "vllm":
        return f"server: is for engine: vllm, and the engine is {engine}; name vllm, or no server"
    if isinstance(server, list) and not server:
        return "server: is an empty list; name the URL of a vLLM server, or leave it null"
    return None
