"""What a step costs: tokens, FLOPs and seconds of each phase, from sizes alone.

FLOPs are those of matrix products, 2 for each weight that a token meets: forward 2, backward 4,
recomputed forward 2 more; and of attention, 4 for each pair of positions and number of the heads'
width. Seconds are FLOPs at a share of the device's matrix products, or bytes at its copying rate,
whatever takes longer. The shares (`Speed`) come from measured runs, docs/results/speed.json,
against which tests hold these formulas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from evenflow.policy.shape import Shape
from evenflow.training.devices import Device


@dataclass(frozen=True)
class Speed:
    """How near to the ceilings our code comes."""

    trunk: float
    """Share of the device's rate of matrix products in the layers."""
    head: float
    """And in the projection to the vocabulary with its log-softmax."""
    decode: float
    """Share of the rate of matrix products in a step of decoding, where the batch is small."""
    layer: float
    """Seconds that a layer takes in one pass, however little there is to do."""
    refills: bool
    """Whether the place of an answer that has ended is filled by another."""


EAGER = Speed(trunk=0.26, head=0.18, decode=0.26, layer=1.5e-3, refills=False)
"""A GPU, operation by operation."""
COMPILED = Speed(trunk=0.45, head=0.55, decode=0.45, layer=0.2e-3, refills=True)
"""A GPU with compiled layers and log-probs, and decoding as a graph."""
ON_CPU = Speed(trunk=0.52, head=0.52, decode=0.215, layer=0.0, refills=False)


@dataclass(frozen=True)
class Work:
    """What a step does."""

    questions: int
    group: int
    """Answers to each."""
    prompt: float
    """Tokens, on average."""
    answer: float
    """Tokens, on average."""
    limit: int
    """Most tokens of an answer."""
    slots: int
    """Answers decoded at once."""
    trained: int
    """Parameters."""
    micro: int = 16_384
    """Tokens of a micro-batch."""
    adapter: bool = False
    """Whether these are an adapter's: then matrices need no gradient of their own."""
    epochs: int = 1
    updates: int = 1
    """Optimiser steps, all epochs together."""
    recompute: bool = False
    """Activations, in backward."""
    reference: bool = True
    """Whether the reference scores the answers."""
    guide: bool = False
    """Whether it does so again with the gold answers before them, whose length is left out."""
    rescore: bool = False
    """Whether the policy does so too, before it learns."""
    own_critic: bool = False
    """Whether a second trunk learns beside the policy."""
    shared: bool = False
    """Whether learning and scoring read a prompt once for its answers."""

    @property
    def answers(self) -> int:
        return self.questions * self.group

    @property
    def read(self) -> float:
        """Tokens of prompts and answers that learning and scoring read."""
        prompts = self.questions if self.shared else self.answers
        return prompts * self.prompt + self.written

    @property
    def written(self) -> float:
        """Tokens of answers."""
        return self.answers * self.answer

    @property
    def batches(self) -> int:
        """Micro-batches in which they are read, at least one an optimiser step."""
        return max(math.ceil(self.read / self.micro), self.updates // self.epochs)


@dataclass(frozen=True)
class Phase:
    """A part of a step."""

    name: str
    flops: float
    seconds: float


def phases(
    shape: Shape, work: Work, device: Device, speed: Speed, *, sampler: Speed
) -> list[Phase]:
    """The step, phase by phase, at the speeds of learning and of sampling; rewards, evaluation and
    checkpoints are not in it."""
    found = [rollout(shape, work, device, sampler)]
    if work.rescore:
        found.append(scoring("old log-probs", shape, work, device, speed))
    if work.reference:
        found.append(scoring("reference", shape, work, device, speed))
    if work.guide:
        found.append(scoring("guide", shape, work, device, speed))
    return [*found, learning(shape, work, device, speed)]


def attention(shape: Shape, tokens: float, context: float) -> float:
    """FLOPs of so many tokens that look back on `context` positions each."""
    return 4.0 * shape.layers * shape.attention * tokens * context


def rollout(shape: Shape, work: Work, device: Device, speed: Speed) -> Phase:
    """Prompts read once a group; then every step of decoding reads all weights and the cache."""
    asked = work.questions * work.prompt
    reading = 2 * shape.trunk * asked + attention(shape, asked, work.prompt / 2)
    context = work.prompt + work.answer / 2
    a_token = 2.0 * (shape.trunk + shape.head) + attention(shape, 1, context)
    slots = min(work.slots, work.answers)
    if speed.refills:  # all slots are full until the last answers run out
        steps = work.answers * work.answer / slots + (work.limit - work.answer)
    else:
        steps = math.ceil(work.answers / slots) * work.limit
    busy = work.written / steps  # slots, on average
    held = shape.cached * shape.layers * (work.prompt / work.group + work.answer / 2)
    touched = device.half * (shape.trunk + shape.head + busy * held)
    a_step = max(touched / device.copy, a_token * busy / (speed.decode * device.gemm))
    seconds = steps * (shape.layers * speed.layer + a_step)
    return Phase(
        "rollout",
        reading + a_token * work.written,
        seconds + reading / (speed.trunk * device.gemm),
    )


def scoring(name: str, shape: Shape, work: Work, device: Device, speed: Speed) -> Phase:
    """A forward pass over prompts and answers, log-probs of the answers alone."""
    trunk = 2 * shape.trunk * work.read + attention(
        shape, work.read, (work.prompt + work.answer) / 2
    )
    head = 2.0 * shape.head * work.written
    return Phase(name, trunk + head, seconds_of(trunk, head, 1, shape, work, device, speed))


def learning(shape: Shape, work: Work, device: Device, speed: Speed) -> Phase:
    """Forward, backward and what is recomputed of it, logits always; AdamW."""
    weights = 2 if work.adapter else 4
    passes = 2 + weights + 2 * work.recompute
    trunk = passes * shape.trunk * work.read
    # Attention's backward has twice the products of its forward.
    trunk += (3 + work.recompute) * attention(shape, work.read, (work.prompt + work.answer) / 2)
    trunk *= 1 + work.own_critic
    head = (4 + weights) * shape.head * work.written
    seconds = seconds_of(trunk, head, 3 + work.recompute, shape, work, device, speed)
    # AdamW reads weight, gradient and two moments, and writes three of them, in float32.
    adam = work.updates * 28 * work.trained * (1 + work.own_critic) / device.copy
    return Phase("learning", work.epochs * (trunk + head), work.epochs * seconds + adam)


def seconds_of(
    trunk: float,
    head: float,
    passes: int,
    shape: Shape,
    work: Work,
    device: Device,
    speed: Speed,
) -> float:
    """FLOPs of layers and projection as seconds; backward counts as two passes."""
    least = passes * work.batches * shape.layers * speed.layer
    busy = trunk / (speed.trunk * device.gemm) + head / (speed.head * device.gemm)
    return max(least, busy)
