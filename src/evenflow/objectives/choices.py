"""The choices that make an objective, as checked, frozen values; the algebra is in `balance` and
`surrogate`. Both families have the same methods, so that a trainer knows no algorithm by name."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from evenflow.bounds import AnyFloat, NonNegativeFloat, PositiveFloat
from evenflow.objectives import advantages, balance, surrogate
from evenflow.objectives.answers import Answers

LEAST_ALPHA = 1e-3
"""e^{αδ} − αδ − 1 is about (αδ)²/2, of which a float32 has 1e-7/(αδ) as its relative error."""


@dataclass(frozen=True)
class Needs:
    """What an objective asks of the trainer."""

    reference: bool = False
    """Log-probabilities of the reference, in `Answers.ref_logprobs`."""
    log_z: Literal["head", "group", "running", "offline"] | None = None
    """Where log Z comes from. `group`: `estimate` runs over the whole mini-batch first."""
    shares: bool = False
    """How often each answer occurs in its group, in `Answers.share`."""
    old_logprobs: bool = False
    """π_old before the first gradient is taken: a group's log Z or a KL in the reward reads it."""
    values: bool = False
    """A critic: its values in `Answers.values`, and again, with gradient, in `loss`."""
    entropy: bool = False
    """The policy's entropy at each token, with gradient, in `loss`."""


class Choices(BaseModel):
    """Frozen, and strict about names; every number is finite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


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

    @property
    def needs(self) -> Needs:
        """What the trainer must provide."""
        source = {"leave-one-out": "group", "none": None}.get(self.log_z, self.log_z)
        return Needs(
            reference=self.reference_weight > 0,
            log_z=source,
            shares=self.duplicates == "once",
            old_logprobs=source in ("group", "running"),
        )

    def prepare(self, answers: Answers) -> Answers:
        """Once per rollout batch of whole groups: fill the normalised reward and the prior."""
        return balance.prepare(answers, self)

    def estimate(self, logprobs: Tensor, answers: Answers) -> Answers:
        """Once per mini-batch of whole groups, log-probs without gradient: fill a group log Z."""
        return balance.estimate(logprobs, answers, self)

    def total(self, answers: Answers) -> Tensor | float:
        """The mini-batch's denominator: its answers, copies counted once where asked."""
        return balance.shares(answers, self).sum()

    def loss(
        self,
        logprobs: Tensor,
        answers: Answers,
        total: Tensor | float,
        log_z: Tensor | None = None,
        values: Tensor | None = None,
        entropy: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A micro-batch's part of the mini-batch's loss, and detached metrics (N,)."""
        del values, entropy
        return balance.loss(logprobs, answers, total, self, log_z)

    def own_log_z(self, logprobs: Tensor, answers: Answers) -> Tensor:
        """(N,) βr̃ − s·(log π − γ·log π_ref): the log Z at which an answer's δ is 0. Detached."""
        return -balance.rest(logprobs.detach(), answers, self)


class Surrogate(Choices):
    """aggregate of −min(ρA, clip(ρ)A) + c·KL(π ‖ π_ref) (docs/baselines.md)."""

    advantage: Literal["group", "centred", "leave-one-out", "global", "gae"] = "group"
    """A: (r − mean)/std of the group, r − mean, r − mean of the others, r normalised over all
    tokens of the batch, or generalised advantage estimation with a critic."""
    whiten: bool = False
    """Normalise A over all tokens of the batch as well (`global` always does)."""
    discount: float = Field(default=1.0, gt=0, le=1)
    """γ of `advantage: gae`: what a reward one token later is worth."""
    gae_lambda: float = Field(default=1.0, ge=0, le=1)
    """λ of `advantage: gae`: 1 trusts the rewards, 0 the critic."""
    value_epsilon: PositiveFloat | None = 0.2
    """The critic's loss is clipped where a value moves further than this; null: it is not."""
    ratio: Literal["token", "geometric", "geometric-token", "none"] = "token"
    """ρ: π/π_old of each token, its geometric mean over the answer, that value with each token's
    own gradient, or 1 with the gradient of log π (on-policy)."""
    clip: Literal["ratio", "log-token", "weight", "none"] = "ratio"
    """What is limited: ρ to 1 − epsilon … 1 + epsilon_high (PPO); each token's log-ratio before
    the geometric mean (GMPO); ρ as a weight without gradient, to 1 + epsilon_high (CISPO)."""
    epsilon: float = Field(default=0.2, gt=0, lt=1)
    """The lower limit: 1 − epsilon, or −epsilon for log-ratios."""
    epsilon_high: PositiveFloat | None = None
    """The upper limit: 1 + epsilon_high, or epsilon_high for log-ratios; epsilon if not given."""
    aggregation: Literal["token-mean", "sequence-mean", "constant"] = "sequence-mean"
    """Mean over all tokens, mean of the answers' means, or sum over tokens / aggregation_length."""
    aggregation_length: PositiveFloat | None = None
    """L of `aggregation: constant`, in tokens; null: rollout.max_completion_length."""
    kl_coefficient: NonNegativeFloat = 0.0
    """c: weight of the KL to the reference."""
    kl_in: Literal["loss", "reward"] = "loss"
    """Where the KL acts: as a term of the loss, or taken off the reward before the advantage."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """−d, ½·d², or e^d − d − 1, with d = log π_ref − log π; k1 belongs in the reward, the other
    two in the loss."""
    kl_credit: Literal["answer", "to-go"] = "answer"
    """With `kl_in: reward`: whether a token pays for the KL of its whole answer, or for its own and
    that of the tokens after it."""
    entropy_bonus: NonNegativeFloat = 0.0
    """Weight of the policy's entropy per token, which is raised."""

    @model_validator(mode="after")
    def _possible(self) -> Surrogate:
        if self.aggregation != "constant" and self.aggregation_length is not None:
            raise ValueError(
                f"aggregation_length is only for aggregation: constant, not {self.aggregation}"
            )
        if self.kl_coefficient > 0 and (self.kl_estimator == "k1") != (self.kl_in == "reward"):
            raise ValueError(
                "kl_estimator: k1 in the loss has a mean gradient of zero, and k2 and k3 are no "
                "log-ratios to take off a reward; use k1 with kl_in: reward, k2 or k3 with "
                "kl_in: loss"
            )
        if self.clip == "log-token" and self.ratio != "geometric":
            raise ValueError(
                f"clip: log-token limits the tokens of ratio: geometric, not {self.ratio}"
            )
        if self.ratio == "none" and self.clip != "none":
            raise ValueError("ratio: none leaves nothing to clip; use clip: none")
        return self

    @property
    def upper(self) -> float:
        """ε_high, or ε where it is not given."""
        return self.epsilon if self.epsilon_high is None else self.epsilon_high

    @property
    def needs(self) -> Needs:
        """What the trainer must provide."""
        return Needs(
            reference=self.kl_coefficient > 0,
            old_logprobs=self.kl_coefficient > 0 and self.kl_in == "reward",
            values=self.advantage == "gae",
            entropy=self.entropy_bonus > 0,
        )

    def prepare(self, answers: Answers) -> Answers:
        """Once per rollout batch of whole groups: fill the advantages, and a critic's returns."""
        return advantages.prepare(answers, self)

    def estimate(self, logprobs: Tensor, answers: Answers) -> Answers:
        """Nothing to estimate: the answers as they are."""
        del logprobs
        return answers

    def total(self, answers: Answers) -> Tensor | float:
        """The mini-batch's denominator: its tokens, answers, or answers times a length."""
        return surrogate.total(answers, self)

    def loss(
        self,
        logprobs: Tensor,
        answers: Answers,
        total: Tensor | float,
        log_z: Tensor | None = None,
        values: Tensor | None = None,
        entropy: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A micro-batch's part of the mini-batch's loss, and detached metrics (N,)."""
        del log_z
        return surrogate.loss(logprobs, answers, total, self, values, entropy)


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
