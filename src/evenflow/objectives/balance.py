"""The balance family: regress the policy's log-probability onto the reward's.

    δ(x, y) = log Z(x) + s·[log π(y|x) − γ·log π_ref(y|x)] − β·r̃(x, y)
    loss    = mean over answers of w·g(δ)

FlowRL (arXiv 2509.15207), trajectory balance (arXiv 2201.13259), relative trajectory
balance (arXiv 2405.20971), TBA (arXiv 2503.18929): one equation, different choices, and
`docs/objective.md` derives what each of them does. The algebra is in `residual`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from evenflow.bounds import TOLERANCE, AnyFloat, NonNegativeFloat, PositiveFloat
from evenflow.objectives import residual
from evenflow.objectives.answers import Answers
from evenflow.objectives.fixed_points import FixedPoint, fixed_point
from evenflow.objectives.log_z import LogZMemory, group_log_z
from evenflow.objectives.objective import (
    ON_POLICY,
    STALE,
    Choices,
    Idle,
    Loss,
    Memory,
    Needs,
    ReferenceSampler,
    Scores,
    Setting,
)
from evenflow.objectives.summary import group_error, summarise_weights, weighted_mean

LEAST_ALPHA = 1e-3
"""e^{αδ} − αδ − 1 is about (αδ)²/2, of which a float32 has 1e-7/(αδ) as its relative error."""


class Balance(Choices):
    """mean of w·g(δ), δ = log Z + s·(log π − γ·log π_ref) − β·r̃ (docs/objective.md)."""

    log_z: Literal["head", "group", "leave-one-out", "running", "offline", "none"] = "head"
    """Where log Z comes from: a learned head, the group's own mean, the mean of the group's other
    answers, a running mean per question, reference samples drawn once, or 0."""
    scale: Literal["mean", "sum", "constant"] = "mean"
    """s, the factor of the log-probability: 1/|y|, 1, or 1/scale_length."""
    scale_length: PositiveFloat | None = None
    """L of `scale: constant`, in tokens."""
    reward: Literal["group", "centred", "raw"] = "group"
    """Reward normalisation: (r − mean)/std of the group, r − mean, or r."""
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
    running_rate: float = Field(default=0.1, gt=0, le=1)
    """η of `log_z: running`: how fast a question's estimate follows new answers."""
    prior_lift: float = Field(default=0.0, ge=0, le=1)
    """How far log π_ref of a right answer is moved toward that of its group's best right answer; 1
    asks for all of them alike (MARA)."""
    right_reward: AnyFloat = 1.0
    """An answer is right, for prior_lift, from this reward on; a recipe that does not say takes
    reward.right."""
    duplicates: Literal["each", "once"] = "each"
    """Whether an answer that was sampled k times in its group counts k times or once."""

    @model_validator(mode="after")
    def _possible(self) -> Balance:
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
        if self.prior_lift > 0 and self.reference_weight == 0:
            raise ValueError("prior_lift above 0 needs reference_weight above 0")
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

    # --- to the trainer --------------------------------------------------------------------------

    @property
    def needs(self) -> Needs:
        """What the trainer must provide."""
        own_group = self.log_z in ("group", "leave-one-out")
        return Needs(
            reference=self.reference_weight > 0,
            reference_samples=self.log_z == "offline",
            head=self.log_z == "head",
            whole_groups=own_group,
            shares=self.duplicates == "once",
            old_logprobs=own_group or self.log_z == "running",
            groups_of_two=own_group or self.reward != "raw",
            correction="answers",
        )

    def prepare(self, answers: Answers) -> Answers:
        """Once per rollout batch of whole groups: fill the normalised reward and the prior."""
        return residual.prepare(answers, self)

    def estimate(self, logprobs: Tensor, answers: Answers) -> Answers:
        """Once per mini-batch of whole groups, log-probs without gradient: fill a group log Z."""
        return residual.estimate(logprobs, answers, self)

    def total(self, answers: Answers) -> Tensor | float:
        """The mini-batch's denominator: its answers, copies counted once where asked."""
        return residual.shares(answers, self).sum()

    def loss(self, scores: Scores, answers: Answers, total: Tensor | float) -> Loss:
        """A micro-batch's part of the mini-batch's loss, and detached metrics (N,)."""
        return residual.loss(scores.logprobs, answers, total, self, scores.log_z)

    def memory(self, sample_reference: ReferenceSampler) -> Memory | None:
        """A running or offline log Z of each question."""
        return LogZMemory(self, sample_reference) if self.log_z in ("running", "offline") else None

    def own_log_z(self, logprobs: Tensor, answers: Answers) -> Tensor:
        """(N,) βr̃ − s·(log π − γ·log π_ref): the log Z at which an answer's δ is 0. Detached."""
        return -residual.rest(logprobs.detach(), answers, self)

    def residual(self, logprobs: Tensor, answers: Answers, log_z: Tensor | None) -> float:
        """√(mean δ²) over the answers, in the units of δ: nats an answer for a scale of 1, nats a
        token for 1/|y|.

        log Z is the head's where there is one, 0 where there is none, and else the group's: running
        and offline values are of training questions, and leave-one-out would enlarge δ.
        """
        free = self.log_z in ("head", "none")
        choices = self if free else self.model_copy(update={"log_z": "group"})
        answers = choices.estimate(logprobs, choices.prepare(answers))
        _, metrics = choices.loss(Scores(logprobs, log_z), answers, float(len(answers)))
        return metrics["residual"].square().mean().sqrt().item()

    def summarise(self, metrics: Mapping[str, Tensor]) -> dict[str, Any]:
        """Importance weights, δ and log Z; of δ and log Z means over answers as the loss weighs
        them (share·w). `log_z/error` is against each group's own estimate."""
        tokens, cut = metrics["tokens"], metrics["truncated"]
        of_each = tokens if self.importance == "token" else torch.ones_like(tokens)
        # As they are before truncation: what was cut off is what one wants to see.
        found = summarise_weights(metrics["log_weight"].exp(), weighted_mean(cut, of_each))
        log_omega = metrics["log_omega"]
        omega = (log_omega - log_omega.max()).exp()  # only ratios count
        found |= {
            "residual/mean": weighted_mean(metrics["residual"], omega),
            "residual/abs": weighted_mean(metrics["residual"].abs(), omega),
            "log_z/used": weighted_mean(metrics["log_z"], omega),
            "log_z/group": weighted_mean(metrics["log_z_group"], omega),
        }
        estimate = group_log_z(
            -metrics["log_z_group"],
            metrics["group"],
            log_omega,
            self.regression,
            self.linex_alpha,
        )
        error = group_error(metrics["log_z"], estimate, metrics["group"])
        return found | {"log_z/error": error}

    # --- to recipes ------------------------------------------------------------------------------

    def settle(self, given: frozenset[str], setting: Setting) -> Self:
        """With the recipe's own reward of a right answer."""
        if "right_reward" in given:
            return self
        return self.model_copy(update={"right_reward": setting.right})

    def problems(self, setting: Setting) -> Iterator[str]:
        """A sentence for each combination with the recipe that cannot be."""
        if self.prior_lift > 0:
            if not math.isclose(self.right_reward, setting.right, rel_tol=TOLERANCE):
                yield (
                    f"objective.right_reward, reward.right: {self.right_reward} and "
                    f"{setting.right}; with prior_lift both say from which reward an answer is "
                    "right: leave the first out"
                )
            if setting.overlong:
                yield (
                    "reward.overlong_share: with prior_lift a right answer is known by its reward, "
                    "which a penalty would lower; set one of them to 0"
                )
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
        if self.prior_lift == 0:
            yield ("right_reward",), "only with prior_lift"
        if self.needs.whole_groups and self.changed(preset, "reward", "raw", "centred"):
            yield (
                ("reward",),
                "a group's log Z takes the group's mean off as well: raw and centred are one",
            )
        if setting.num_generations == 1:
            yield (
                ("duplicates", "prior_lift"),
                "a group of one answer has no other to compare with",
            )

    def cautions(self, setting: Setting) -> Iterator[str]:
        """What is allowed and seldom meant."""
        if self.importance == "none" and not setting.single_step:
            yield STALE.format("importance")

    def facts(self, setting: Setting) -> list[tuple[str, str]]:
        """How much likelier a right answer is to become than a wrong one."""
        nats, odds = effective_inverse_temperature(self, right=setting.gain)
        # Rewards normalised by their spread in the group have lost their weights.
        weight = "" if self.reward == "group" or setting.gain == 1 else f"·{setting.gain:g}"
        asked = f"{odds:,.3g} : 1" if math.isfinite(odds) else "beyond e^700 : 1"
        of_token = self.scale == "mean"
        text = (
            f"β{weight}/s = {nats:.3g} nats{' per token of the answer' if of_token else ''}: "
            f"right : wrong = {asked}, times the reference's odds"
            f"{' (one token, half the group right)' if of_token else ''}"
        )
        return [("target", text)]

    def fixed_point(
        self, log_ref: Tensor, rewards: Tensor, lengths: Tensor, group_size: int
    ) -> FixedPoint | None:
        """See `fixed_points`; `prior_lift` and `duplicates` have no formula."""
        if self.prior_lift > 0 or self.duplicates == "once":
            return None
        return fixed_point(self, log_ref, rewards, lengths, group_size)

    def aim(self, nats: float, reference_weight: float, longest: int) -> Self:
        """β/s = nats, for s = 1/|y| at the longest answer; and γ."""
        beta = nats / (longest if self.scale == "mean" else 1)
        changes = {"inverse_temperature": beta, "reference_weight": reference_weight}
        return self.model_copy(update=changes)

    @property
    def rests_at_target(self) -> bool:
        """Raw rewards alone do: normalised ones grow where their spread falls."""
        return self.reward == "raw"

    def true_log_z(self, right: Sequence[float], setting: Setting) -> float | None:
        """mean of log Z(x) = s·log(1 + p(x)·(e^{β/s} − 1)), that is s·log Σ π_ref·e^{βr/s} for
        rewards of 0 and 1, where the target is π_ref·e^{βr/s} (docs/objective.md)."""
        target = (self.reward, self.reference_weight, self.prior_lift) == ("raw", 1.0, 0.0)
        nats = effective_inverse_temperature(self)[0]
        if not (setting.plain and target and self.scale != "mean") or nats > 700:  # e^nats
            return None
        s = self.inverse_temperature / nats
        return fmean(s * math.log1p(p * math.expm1(nats)) for p in right)


def effective_inverse_temperature(
    choices: Balance, length: float = 1.0, accuracy: float = 0.5, right: float = 1.0
) -> tuple[float, float]:
    """β·r/s in nats, and the odds right : wrong e^{β·r/s} that it asks for, on top of the
    reference's.

    For two answers of `length` tokens with rewards r = `right` and 0. `length` matters for `scale:
    mean` only, whose tilt grows with it; `accuracy` p for `reward: group` only, where the
    normalised rewards are 1/√(p(1 − p)) apart, whatever r is.
    """
    s = {"mean": 1 / length, "sum": 1.0}.get(choices.scale, 1 / (choices.scale_length or 1.0))
    gap = 1 / math.sqrt(accuracy * (1 - accuracy)) if choices.reward == "group" else right
    nats = choices.inverse_temperature * gap / s
    return nats, math.exp(nats) if nats < 700 else math.inf
