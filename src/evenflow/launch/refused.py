"""What a recipe asks for and verl does not have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evenflow.config import GIVEN, TrainConfig
from evenflow.errors import UserError
from evenflow.launch.job import Cluster
from evenflow.launch.losses import of_objective

CORRECTIONS = {"token-truncate": "token", "sequence-truncate": "sequence"}
"""Ours → verl's name."""


def refuse(config: TrainConfig) -> None:
    """UserError with a sentence for each field that verl has no counterpart for."""
    complain([*of_objective(config)[2], *impossible(config)])


def complain(problems: Sequence[str]) -> None:
    if problems:
        raise UserError("\n".join(("not by verl:", *problems)))


def impossible(config: TrainConfig) -> list[str]:
    """A sentence for each field that asks for what verl does not have."""
    return [f"{name}: {why}" for name, wrong, why in _impossible(config) if wrong]


def _impossible(c: TrainConfig) -> Iterator[tuple[str, bool, str]]:
    rollout, train, model, data = c.rollout, c.train, c.model, c.data
    dropout = model.lora is not None and model.lora.dropout > 0
    kind, floor = train.correction.kind, train.correction.floor
    yield "device", c.device not in ("auto", "cuda"), "verl's runs are on GPUs; leave it at auto"
    yield "threads", c.threads is not None, "verl's processes choose by themselves; leave it null"
    yield "data.train", data.train == GIVEN, "verl reads questions from files; name one"
    resets = (
        "verl has one reference for the whole run; set reset='{every: 0, patience: 0, kl: null}'"
    )
    yield "reset", c.reset.active, resets
    yield (
        "model.reference",
        model.reference is not None,
        "verl's reference is model.path; leave it null",
    )
    yield "model.lora.dropout", dropout, "verl's adapters have none; set it to 0"
    broken = model.lora is not None and not model.lora.alpha.is_integer()
    yield "model.lora.alpha", broken, "verl wants a whole number"
    chunk = type(model).model_fields["logprob_chunk"].default
    yield (
        "model.logprob_chunk",
        model.logprob_chunk != chunk,
        f"verl has its own ways to save memory there; leave it at {chunk}, and see "
        f"actor_rollout_ref.model.use_fused_kernels",
    )
    looked_up = "${" in data.chat_template
    yield "data.chat_template", looked_up, "holds ${, which verl's configuration would look up"
    own = rollout.engine not in ("embedded", "vllm")
    yield (
        "rollout.engine",
        own,
        "verl samples by vLLM; name embedded or vllm, or behind -- another of verl's",
    )
    yield "rollout.server", rollout.server is not None, "verl starts its own; leave it null"
    yield (
        "rollout.stop",
        bool(rollout.stop),
        "verl ends answers at the model's own end tokens alone",
    )
    yield "rollout.segment", rollout.segment is not None, "leave it null"
    yield "rollout.lag", rollout.lag > 0, "set it to 0 (verl's own way: trainer.v1.trainer_mode)"
    yield "rollout.replay", rollout.replay.questions > 0, "set rollout.replay.questions to 0"
    yield (
        "rollout.decoding",
        rollout.decoding != "auto",
        "is of the embedded engine; leave it at auto",
    )
    gap = type(rollout).model_fields["largest_gap"].default
    yield (
        "rollout.largest_gap",
        rollout.largest_gap != gap,
        f"verl reports it alone; leave it at {gap}",
    )
    yield "train.answers", train.answers is not None, "verl counts steps; set train.steps"
    linear = train.schedule == "linear"
    yield "train.schedule", linear, "verl has constant and cosine; choose one of them"
    other = kind not in ("auto", "none", *CORRECTIONS)
    known = ", ".join(CORRECTIONS)
    yield "train.correction.kind", other, f"verl multiplies by {known}, or rejects by its own rules"
    idle = kind == "auto" and train.correction.limit is not None
    named = f"auto leaves verl's correction off, and with it the limit; name {known}"
    yield "train.correction.limit", idle, named
    yield "train.correction.floor", floor is not None, "verl's weights have no floor; leave it null"


def too_few(config: TrainConfig, questions: int, cluster: Cluster) -> list[str]:
    """Where a step cannot be shared out over the GPUs, or there is not one."""
    found = []
    if questions < config.rollout.questions:
        found.append(
            f"rollout.questions: {config.rollout.questions} are more than the {questions} training "
            "questions, of which verl wants a whole step at least; lower it"
        )
    mini = config.train.mini_batch_questions or config.rollout.questions
    answers = mini * config.rollout.num_generations
    if answers % cluster.gpus:
        found.append(
            f"train.mini_batch_questions: {mini} questions × {config.rollout.num_generations} "
            f"answers cannot be shared out evenly over {cluster.gpus} GPUs; choose a multiple"
        )
    return found
