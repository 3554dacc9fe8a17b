"""What an objective is, and what it may know of the run that it is used in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, Self

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from evenflow.bounds import TOLERANCE
from evenflow.objectives.answers import Answers
from evenflow.objectives.fixed_points import FixedPoint

METHODS = ("needs", "prepare", "estimate", "total", "loss", "summarise", "memory", "residual")
"""What the trainer asks of an objective; what `Choices` brings besides is asked by recipes."""
ON_POLICY = "each batch is learned from in one step, so that every weight is 1"
STALE = (
    "objective.{0}: none takes every answer for the policy's own, and after the first optimiser "
    "step of a batch they are an older policy's; use one mini-batch and one epoch, or another {0}"
)
UNCORRECTED = (
    "objective.{0}: none takes every answer for the policy's own, rollout.lag, replay and segment "
    "bring an older policy's, and train.correction.kind: none lets them count as they are; leave "
    "the kind at auto, or take another {0}"
)
Loss = tuple[Tensor, dict[str, Tensor]]
"""A number with gradient, and detached metrics, (B,) each."""
Idle = Iterator[tuple[tuple[str, ...], str]]
"""Fields that change nothing, and why."""
ReferenceSampler = Callable[[list[str]], tuple[Tensor, Tensor]]
"""Keys of questions → rewards (NaN: unknown) and summed log-probs of answers sampled from the
reference, both (questions, samples)."""


@dataclass(frozen=True)
class Needs:
    """What an objective asks of the trainer."""

    reference: bool = False
    """Log-probabilities of the reference, in `Answers.ref_logprobs`."""
    guide: bool = False
    """The same with the gold answer in the prompt, in `Answers.guide_logprobs`."""
    reference_samples: bool = False
    """Answers sampled from the reference, for its `memory`."""
    head: bool = False
    """A learned log Z: its value, with gradient, in `Scores.log_z`."""
    whole_groups: bool = False
    """`estimate` needs every answer of a group, before the first gradient of a mini-batch."""
    shares: bool = False
    """How often each answer occurs in its group, in `Answers.share`."""
    old_logprobs: bool = False
    """π_old before the first gradient is taken: `prepare`, `estimate` or `memory` reads it."""
    values: bool = False
    """A critic: its values in `Answers.values`, and again, with gradient, in `Scores.values`."""
    flows: bool = False
    """A critic whose values, with gradient, are log flows; nothing is asked of it beforehand."""
    entropy: bool = False
    """The policy's entropy at each token, with gradient, in `Scores.entropy`."""
    groups_of_two: bool = False
    """It compares the answers to one question: there must be at least two."""
    correction: Literal["unread", "answers", "tokens", "wanted"] = "unread"
    """Whether its loss multiplies by `Answers.correction`: not at all; by one number an answer, or
    one a token, if a recipe asks for it (`train.correction`); wanted: by either, and without it
    answers of another policy would lead elsewhere."""

    @property
    def critic(self) -> bool:
        """Whether there is one: a number at each token."""
        return self.values or self.flows


class Scores(NamedTuple):
    """What the policy says of B answers of at most T tokens, with gradient; 0 on padding."""

    logprobs: Tensor
    """(B, T) log π of each token."""
    log_z: Tensor | None = None
    """(B,) log Zφ, with a head."""
    values: Tensor | None = None
    """(B, T) V, or log F, before each token, with a critic."""
    entropy: Tensor | None = None
    """(B, T) of the distribution that each token was drawn from, where asked for."""


class Memory(Protocol):
    """What an objective knows of each question from one step to the next."""

    def unknown(self, keys: Sequence[str]) -> set[str]:
        """The questions whose answers must be left out."""
        ...

    def fill(self, answers: Answers, keys: Sequence[str]) -> tuple[Answers, dict[str, float]]:
        """The answers with what is known of their questions, (N,) keys, and numbers to report."""
        ...

    @property
    def log_z(self) -> Mapping[str, float]:
        """The log Z of each question that is known."""
        ...

    def forget(self) -> None:
        """Start anew: the reference is another one."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        ...


class Objective(Protocol):
    """A loss on groups of answers. One of your own is named by `algorithm: my_module:MyObjective`.

    Each batch of whole groups goes through `prepare`, each mini-batch through `estimate` and
    `total`, each micro-batch through `loss`. Subclasses of `Choices` need to write `loss` alone,
    and their fields are those of the recipe's section `objective`.
    """

    @property
    def needs(self) -> Needs:
        """What the trainer must provide."""
        ...

    def prepare(self, answers: Answers) -> Answers:
        """Once per rollout batch of whole groups: fill what follows from rewards and old and
        reference log-probs."""
        ...

    def estimate(self, logprobs: Tensor, answers: Answers) -> Answers:
        """Before the loss, log-probs (N, T) without gradient: on the whole mini-batch where `needs`
        say whole_groups, else on each micro-batch."""
        ...

    def total(self, answers: Answers) -> Tensor | float:
        """The mini-batch's denominator."""
        ...

    def loss(self, scores: Scores, answers: Answers, total: Tensor | float) -> Loss:
        """A micro-batch's part of the mini-batch's loss, and detached metrics, (B,) each. The
        parts of all micro-batches add up to the loss when `total` is the mini-batch's."""
        ...

    def summarise(self, metrics: Mapping[str, Tensor]) -> dict[str, Any]:
        """A step's numbers from the metrics of all its answers, (N,) each; see
        `objectives.summary`."""
        ...

    def memory(self, sample_reference: ReferenceSampler) -> Memory | None:
        """What it remembers of questions between steps; None: nothing."""
        ...

    def residual(self, logprobs: Tensor, answers: Answers, log_z: Tensor | None) -> float | None:
        """How far a policy is from where the objective rests, by sampled answers: √(mean δ²), 0
        at the fixed point; None where it has none. `log_z` (N,) is the head's, where it has one."""
        ...


@dataclass(frozen=True)
class Setting:
    """What an objective may know of a run's recipe."""

    single_step: bool = False
    """Each answer is learned from once, by the very policy that sampled it."""
    repeated: bool = False
    """A batch is learned from in several optimiser steps."""
    uncorrected: bool = False
    """Answers of earlier batches' policies are learned from, and nothing is asked to correct that.
    """
    num_generations: int = 2
    """G."""
    longest: float = 1.0
    """Tokens that an answer may have."""
    right: float = 1.0
    """The reward from which on an answer is right."""
    gain: float = 1.0
    """By how much a right answer's reward exceeds that of one that earns nothing."""
    overlong: bool = False
    """Overlong answers are penalised."""
    dropout: bool = False
    """The policy's own forward passes drop units."""
    plain: bool = False
    """The reward is 0 or 1 and nothing else, the reference is the base model, and what is
    evaluated is what is sampled from."""


def problems_of_right(asking: str, right_reward: float, setting: Setting) -> Iterator[str]:
    """A sentence for each way in which choices that ask which answers are right, the first of them
    by name, could mistake that."""
    if asking and not math.isclose(right_reward, setting.right, rel_tol=TOLERANCE):
        yield (
            f"objective.right_reward, reward.right: {right_reward} and {setting.right}; with "
            f"{asking} both say from which reward an answer is right: leave the first out"
        )
    if asking and setting.overlong:
        yield (
            f"reward.overlong_share: with {asking} a right answer is known by its reward, which a "
            "penalty would lower; leave one of them out"
        )


def problems_of_relative(choice: str, taken_off: Mapping[str, bool]) -> Iterator[str]:
    """A sentence for each setting, by name, that takes something off rewards which `choice:
    relative` divides by their mean."""
    for name, is_set in taken_off.items():
        if is_set:
            yield (
                f"{name}: {choice}: relative divides by a group's mean reward, which could "
                "come to about 0 or below; leave one of them out"
            )


class Choices(BaseModel):
    """An objective whose fields are choices: frozen, strict about names and types, every number
    finite.

    To the trainer it is an `Objective` that needs nothing and remembers nothing, but for its loss;
    to recipes it has nothing to say. Each part is there to be replaced.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    # --- to the trainer: see Objective -----------------------------------------------------------

    @property
    def needs(self) -> Needs:
        return Needs()

    def prepare(self, answers: Answers) -> Answers:
        answers.require_whole()
        return answers

    def estimate(self, logprobs: Tensor, answers: Answers) -> Answers:
        return answers

    def total(self, answers: Answers) -> Tensor | float:
        return float(len(answers))

    def loss(self, scores: Scores, answers: Answers, total: Tensor | float) -> Loss:
        raise NotImplementedError(f"{type(self).__name__} has no loss(scores, answers, total)")

    def summarise(self, metrics: Mapping[str, Tensor]) -> dict[str, Any]:
        return {}

    def memory(self, sample_reference: ReferenceSampler) -> Memory | None:
        return None

    def residual(self, logprobs: Tensor, answers: Answers, log_z: Tensor | None) -> float | None:
        return None

    # --- to recipes ------------------------------------------------------------------------------

    def settle(self, given: frozenset[str], setting: Setting) -> Self:
        """With what follows from the recipe for fields that it has not `given`."""
        return self

    def problems(self, setting: Setting) -> Iterator[str]:
        """A sentence for each combination with the recipe that cannot be."""
        yield from ()

    def idle(self, setting: Setting, preset: Choices) -> Idle:
        """Fields that change nothing beside the others; `preset` is the row before the recipe's
        changes."""
        yield from ()

    def without_effect(
        self, given: Iterable[str], setting: Setting, preset: Choices
    ) -> dict[str, str]:
        """Of the fields that were given those that are not as in the preset and yet change
        nothing, and why."""
        changed = {name for name in given if getattr(self, name) != getattr(preset, name)}
        found: dict[str, str] = {}
        for names, why in self.idle(setting, preset):
            for name in names:
                if name in changed:
                    found.setdefault(name, why)
        return found

    def cautions(self, setting: Setting) -> Iterator[str]:
        """What is allowed and seldom meant."""
        yield from ()

    def facts(self, setting: Setting) -> list[tuple[str, str]]:
        """What is to be said before the first step, as label and text."""
        return []

    def changed(self, preset: Choices, field: str, *options: str) -> bool:
        """Whether the preset has one of these options, and these choices another or the same."""
        return {getattr(preset, field), getattr(self, field)} <= set(options)

    # --- to those who know the truth -------------------------------------------------------------

    def fixed_point(
        self, log_ref: Tensor, rewards: Tensor, lengths: Tensor, group_size: int
    ) -> FixedPoint | None:
        """Where a policy that can represent everything rests, for one question of which all
        answers are listed, (N,) each; None where no formula is known."""
        return None

    def aim(self, nats: float, reference_weight: float, longest: int) -> Self:
        """With the target π_ref^γ·e^{nats·r}, as far as the objective has one; for scales by
        length, of answers of `longest` tokens."""
        return self

    @property
    def rests_at_target(self) -> bool:
        """Whether that is where it comes to rest, rather than beyond."""
        return False

    def true_log_z(self, right: Sequence[float], setting: Setting) -> float | None:
        """The mean log Z of the target over questions, of each of which the chance that the
        reference is right is known; None where there is no target, or no formula."""
        return None
