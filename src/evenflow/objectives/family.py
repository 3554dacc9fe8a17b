"""What may be chosen of the balance family, and what cannot be combined."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, model_validator

from evenflow.bounds import AnyFloat, NonNegativeFloat, PositiveFloat
from evenflow.objectives.objective import (
    ON_POLICY,
    STALE,
    Choices,
    Idle,
    Setting,
    problems_of_relative,
    problems_of_right,
)

LEAST_ALPHA = 1e-3
"""e^{αδ} − αδ − 1 is about (αδ)²/2, of which a float32 has 1e-7/(αδ) as its relative error."""


class Family(Choices):
    """The fields of `Balance`, and what recipes ask of them."""

    log_z: Literal["head", "group", "leave-one-out", "running", "offline", "none", "flow"] = "head"
    """Where log Z comes from: a learned head, the group's own mean, the mean of the group's other
    answers, a running mean per question, reference samples drawn once, or 0; flow: a learned log F
    at every token, and a residual for every stretch between two (sub-trajectory balance)."""
    flow_decay: float = Field(default=0.9, gt=0, le=1)
    """λ of `log_z: flow`: how much less a stretch counts than one that is a token shorter; 1 looks
    at all stretches alike."""
    flow_base: Literal["none", "group"] = "none"
    """What the learned flow is added to: nothing, or the group's log Z. The critic then learns how
    a beginning differs from its question, in units of β: log F_t = log Z + β·v_t, v_0 = 0."""
    log_z_policy: Literal["current", "old"] = "current"
    """Whose log-probs the group's log Z is of: the policy's before each optimiser step, or that
    which sampled, once for all steps of a batch."""
    scale: Literal["mean", "sum", "constant"] = "mean"
    """s, the factor of the log-probability: 1/|y|, 1, or 1/scale_length."""
    scale_length: PositiveFloat | None = None
    """L of `scale: constant`, in tokens."""
    reward: Literal["group", "centred", "raw", "relative"] = "group"
    """Reward normalisation: (r − mean)/std of the group, r − mean, r, or (r − mean)/mean, with
    which log p, p a question's share of right answers, is raised in place of p (MaxRL)."""
    importance: Literal["none", "sequence", "geometric", "token"] = "sequence"
    """Level of the importance weight π/π_old: none, the product over tokens, its geometric mean, or
    one weight a token."""
    truncation: Literal["symmetric", "upper", "none"] = "symmetric"
    """How the weight is bounded: to 1 ± epsilon, to at most cap, or not."""
    epsilon: float = Field(default=0.2, gt=0, lt=1)
    """Half-width of `truncation: symmetric`."""
    cap: PositiveFloat = 10.0
    """Largest weight of `truncation: upper`."""
    regression: Literal["square", "linex", "cosh"] = "square"
    """g: δ², 2(e^{αδ} − αδ − 1)/α², or 2(cosh δ − 1)."""
    linex_alpha: AnyFloat = -1.0
    """α of `regression: linex`; −1 covers the target's modes, 1 punishes excess probability."""
    inverse_temperature: PositiveFloat = 15.0
    """β: how much a unit of reward weighs. Not a KL coefficient, but the inverse of one."""
    reference_weight: NonNegativeFloat = 1.0
    """γ: how much the reference counts as a prior; 0 leaves it out."""
    right_reference_weight: NonNegativeFloat | None = None
    """γ of right answers; null: reference_weight. Below it, right answers are flattened
    (differential smoothing)."""
    running_rate: float = Field(default=0.1, gt=0, le=1)
    """η of `log_z: running`: how fast a question's estimate follows new answers."""
    prior_lift: float = Field(default=0.0, ge=0, le=1)
    """How far log π_ref of a right answer is moved toward that of its group's best right answer; 1
    asks for all of them alike (MARA)."""
    guidance: NonNegativeFloat = 0.0
    """β_G: by how much β·r̃ of an answer above its group's mean rises, and of one below it falls,
    for each nat by which the reference finds it likelier once it has read the gold answer, times s
    as the log-probability (FlowBalance)."""
    guidance_clip: PositiveFloat | None = None
    """Nats that a token may count for or against an answer in guidance; null: any."""
    right_reward: AnyFloat = 1.0
    """An answer is right, for prior_lift and all that asks for it, from this reward on; a recipe
    that does not say takes reward.right."""
    duplicates: Literal["each", "once"] = "each"
    """Whether an answer that was sampled k times in its group counts k times or once."""
    question_weight: Literal["none", "inverse", "root"] = "none"
    """How much a question counts: 1, 1/p̂ or 1/√p̂, p̂ the share of right answers in its group (at
    least 1/G), with mean 1 over the batch."""
    rarity: float = Field(default=0.0, ge=0, le=1)
    """τ, the part of the right answers' weight dealt out by how unlikely they are (UCPO)."""
    residual_low: PositiveFloat | None = None
    """δ before the first step on a batch counts as at least −residual_low: the bound of the pull on
    answers that are too rare, right ones above all; null: none."""
    residual_high: PositiveFloat | None = None
    """… and as at most residual_high: the bound of the push on those that are too likely."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.log_z == "flow":
            clipped = self.residual_low is not None or self.residual_high is not None
            wants = {
                "scale: sum or constant": self.scale != "mean",
                "regression: square": self.regression == "square",
                "importance: none, sequence or geometric": self.importance != "token",
                "no residual_low and residual_high": not clipped,
            }
            for wanted, given in wants.items():
                if not given:
                    raise ValueError(f"log_z: flow needs {wanted}")
        if self.scale == "constant" and self.scale_length is None:
            raise ValueError("scale: constant needs scale_length, a number of tokens above 0")
        if self.scale != "constant" and self.scale_length is not None:
            raise ValueError(f"scale_length is only for scale: constant, not {self.scale}")
        if self.log_z == "offline":
            if self.scale == "mean":
                raise ValueError("log_z: offline needs scale: sum or constant, not mean")
            if self.reward != "raw":
                raise ValueError(f"log_z: offline needs reward: raw, not {self.reward}")
            if self.prior_lift > 0:
                raise ValueError("log_z: offline needs prior_lift: 0, as it depends on the group")
        if self.log_z == "leave-one-out" and self.regression != "square":
            raise ValueError(
                f"log_z: leave-one-out needs regression: square, not {self.regression}, for which "
                "log Z is no baseline; use log_z: group"
            )
        if self.prior_lift > 0 and self.gammas[1] == 0:
            raise ValueError("prior_lift above 0 needs reference_weight above 0")
        if self.guidance > 0 and self.log_z == "offline":
            raise ValueError(
                "guidance above 0 is not in the rewards that log_z: offline is of; use log_z: group"
            )
        if self.guidance > 0 and self.reward == "raw":
            raise ValueError(
                "guidance above 0 needs reward: group or centred, whose sign says whether an "
                "answer is better than its group"
            )
        if self.log_z == "offline" and self.gammas[0] != self.gammas[1]:
            raise ValueError("log_z: offline needs one reference_weight for all answers")
        if abs(self.linex_alpha) < LEAST_ALPHA:
            raise ValueError(
                f"linex_alpha must not be 0, nor nearer to it than {LEAST_ALPHA}, where float32 "
                "has no digits left; for its limit use regression: square"
            )
        if self.log_z == "none" and self.scale == "mean":
            warnings.warn(
                "log_z: none with scale: mean moves the fixed point, as log Z is no baseline "
                "there; use log_z: group or head, or scale: sum or constant",
                stacklevel=2,
            )
        return self

    @property
    def gammas(self) -> tuple[float, float]:
        """γ of wrong answers, and of right ones."""
        right = self.right_reference_weight
        return self.reference_weight, self.reference_weight if right is None else right

    @property
    def own_group(self) -> bool:
        """Whether log Z is the group's own."""
        on_group = self.log_z == "flow" and self.flow_base == "group"
        return on_group or self.log_z in ("group", "leave-one-out")

    @property
    def clips(self) -> bool:
        """Whether δ has a bound."""
        return self.residual_low is not None or self.residual_high is not None

    @property
    def asks_what_is_right(self) -> str:
        """The first choice that does, by name."""
        asking = {
            "prior_lift": self.prior_lift > 0,
            "right_reference_weight": self.right_reference_weight is not None,
            "question_weight": self.question_weight != "none",
            "rarity": self.rarity > 0,
        }
        return next((name for name, asks in asking.items() if asks), "")

    # --- to recipes ------------------------------------------------------------------------------

    def settle(self, given: frozenset[str], setting: Setting) -> Self:
        """With the recipe's own reward of a right answer."""
        if "right_reward" in given:
            return self
        return self.model_copy(update={"right_reward": setting.right})

    def problems(self, setting: Setting) -> Iterator[str]:
        """A sentence for each combination with the recipe that cannot be."""
        if self.reward == "relative":
            yield from problems_of_relative("reward", {"reward.overlong_share": setting.overlong})
        yield from problems_of_right(self.asks_what_is_right, self.right_reward, setting)
        if setting.overlong and self.log_z == "offline":
            yield (
                "reward.overlong_share: an offline log Z is of the reward without the penalty; "
                "set it to 0 or use log_z: group"
            )

    def idle(self, setting: Setting, preset: Choices) -> Idle:
        """Fields that change nothing beside the others."""
        if self.importance == "none":
            yield ("truncation", "epsilon", "cap"), "importance: none has no weight to bound"
        if self.truncation != "symmetric":
            yield ("epsilon",), "only truncation: symmetric"
        if self.truncation != "upper":
            yield ("cap",), "only truncation: upper"
        # A cap below 1 acts on weights of 1 as well.
        if setting.single_step and (self.cap >= 1 or self.truncation != "upper"):
            yield ("importance", "truncation", "epsilon", "cap"), ON_POLICY
        if self.regression != "linex":
            yield ("linex_alpha",), "only regression: linex"
        if self.log_z != "running":
            yield ("running_rate",), "only log_z: running"
        if self.guidance == 0:
            yield ("guidance_clip",), "guidance is 0"
        if self.log_z != "flow":
            yield ("flow_decay", "flow_base"), "only log_z: flow"
        if not self.asks_what_is_right:
            yield ("right_reward",), "only with prior_lift, or another that asks what is right"
        if not self.own_group:
            yield ("log_z_policy",), "only log_z: group, leave-one-out, or flow on the group's"
        elif setting.single_step:
            yield (
                ("log_z_policy",),
                "each batch is learned from in one step, before which current and old are one",
            )
        if self.own_group and self.changed(preset, "reward", "raw", "centred"):
            yield (
                ("reward",),
                "a group's log Z takes the group's mean off as well: raw and centred are one",
            )
        if setting.num_generations == 1:
            yield (
                ("duplicates", "prior_lift", "rarity", "question_weight"),
                "a group of one answer has no other to compare with",
            )

    def cautions(self, setting: Setting) -> Iterator[str]:
        """What is allowed and seldom meant."""
        if self.importance == "none" and setting.repeated:
            yield STALE.format("importance")
