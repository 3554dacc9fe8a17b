"""A run's needs from its recipe: memory, tokens, FLOPs and seconds, without its weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from evenflow.config import GIVEN, TrainConfig
from evenflow.config.effect import needs_reference
from evenflow.objectives import Objective
from evenflow.objectives.partition import PartitionHead
from evenflow.policy.critic import Critic
from evenflow.policy.loading import load_tokenizer, resolve
from evenflow.policy.reach import reach
from evenflow.policy.shape import Shape, adapter_size, empty_model, shape_of
from evenflow.rollout.embedded.engine import is_static
from evenflow.training.build import load_questions
from evenflow.training.cost import COMPILED, EAGER, ON_CPU, Phase, Speed, Work, phases
from evenflow.training.devices import Device
from evenflow.training.memory import (
    SAFE,
    Held,
    engine_bytes,
    estimate,
    recomputes,
    too_much,
    weights_held,
)


@dataclass(frozen=True)
class Lengths:
    """Tokens of the prompts."""

    mean: float
    longest: int
    source: str
    """Where this is known from."""


@dataclass(frozen=True)
class Plan:
    """What a run needs on a device."""

    shape: Shape
    work: Work
    phases: list[Phase]
    memory: dict[str, float]
    """Bytes by purpose."""
    room: float
    """Bytes that these may be."""
    remedy: str | None
    """What to do where they are more."""
    positions: int | None
    """The longest sequence that the model can read."""

    @property
    def seconds(self) -> float:
        """Of a step."""
        return sum(phase.seconds for phase in self.phases)


def plan(
    config: TrainConfig, device: Device, lengths: Lengths, answer: float | None = None
) -> Plan:
    """The plan of a recipe; `answer`: tokens of an answer on average, None: all reach the limit.
    UserError for a model that is not there."""
    model = empty_model(config.model.path)
    shape, objective = shape_of(model), config.build_objective()
    half = halves(config, device)
    own = objective.needs.critic and config.critic.trunk == "own"
    extra = parts_beside(config, shape)
    lora = config.model.lora
    trained = (adapter_size(model, lora) if lora else shape.parameters) + extra
    reference = needs_reference(config, objective)
    beside = (trained if lora else extra) + own * shape.parameters
    compiled = device.gpu and config.train.compile is not False
    static = is_static(config.rollout.decoding, gpu=device.gpu)
    rounded = own * shape.parameters * half * (half < 4)  # beside the masters that are in it
    held = Held(
        weights=rounded
        + weights_held(
            shape.parameters, beside, half, adapter=lora is not None, reference=reference
        ),
        trained=trained + own * shape.parameters,
        half=half,
        recompute=False,
        compiled=compiled,
        static=static,
        engine=engine_bytes(config, half * shape.parameters, device.memory if device.gpu else None),
    )
    room = SAFE * device.memory
    recompute = recomputes(config, shape, held, lengths.longest, room if device.gpu else None)
    held = replace(held, recompute=recompute)
    rollout, train = config.rollout, config.train
    mini = rollout.questions // (train.mini_batch_questions or rollout.questions)
    work = Work(
        questions=rollout.questions,
        group=rollout.num_generations,
        prompt=lengths.mean,
        answer=min(answer or rollout.max_completion_length, rollout.max_completion_length),
        limit=rollout.max_completion_length,
        slots=rollout.max_batch,
        trained=trained,
        micro=train.micro_batch_tokens,
        adapter=lora is not None,
        epochs=train.epochs,
        updates=train.epochs * mini,
        recompute=recompute,
        reference=reference,
        guide=objective.needs.guide,
        rescore=rescores(config, objective, half),
        own_critic=own,
        shared=not recompute,
    )
    memory = estimate(config, shape, held, lengths.longest)
    return Plan(
        shape=shape,
        work=work,
        phases=phases(
            shape,
            work,
            device,
            speed_of(device, fast=compiled),
            sampler=speed_of(device, fast=static),
        ),
        memory=memory,
        room=room,
        remedy=too_much(memory, room, adapter=lora is not None),
        positions=reach(model, [lengths.longest]),
    )


def rescores(config: TrainConfig, objective: Objective, half: int) -> bool:
    """Whether the policy scores answers before it learns from them, as
    `Learner.needs_old_logprobs` decides batch by batch."""
    needs, rollout = objective.needs, config.rollout
    early = needs.old_logprobs or config.repeated
    exact = half == 4 and rollout.engine == "embedded"
    if config.build_correction() is not None and (config.older or not exact):
        return early or needs.whole_groups or config.setting.dropout
    # What an earlier policy sampled is not scored by a later one, unless it is corrected.
    return early and not exact and not (rollout.lag or rollout.segment)


def halves(config: TrainConfig, device: Device) -> int:
    """Bytes of a number in the forward pass there."""
    return (
        device.half if config.model.dtype == "auto" else 2 + 2 * (config.model.dtype == "float32")
    )


def speed_of(device: Device, *, fast: bool) -> Speed:
    """How near our code comes to that device's ceilings; `fast`: compiled, or decoding as a
    graph."""
    if not device.gpu:
        return ON_CPU
    return COMPILED if fast else EAGER


def parts_beside(config: TrainConfig, shape: Shape) -> int:
    """Parameters of the head and the critic, a critic's own trunk aside."""
    needs = config.build_objective().needs
    parts: list[nn.Module] = []
    with torch.device("meta"):
        if needs.head:
            parts.append(PartitionHead(shape.hidden, config.head))
        if needs.critic:
            parts.append(Critic(shape.hidden, config.critic))
    return sum(p.numel() for part in parts for p in part.parameters())


def read_lengths(config: TrainConfig, prompt: float | None = None) -> Lengths:
    """Of the recipe's questions, where they and a tokenizer are there; else what is allowed."""
    if prompt is not None:
        return Lengths(prompt, round(prompt), "as given")
    folder = Path(resolve(config.model.path))
    has_tokenizer = any(folder.glob("tokenizer*"))
    if config.data.train != GIVEN and has_tokenizer:
        questions = load_questions(config, load_tokenizer(config.model.path)).train
        found = [len(question.ids) for question in questions]
        return Lengths(sum(found) / len(found), max(found), f"of {len(found):,} questions")
    most = config.data.max_prompt_length
    return Lengths(most, most, "data.max_prompt_length, for no questions were read")
