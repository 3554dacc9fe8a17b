"""The clipped surrogate: raise the log-probability of answers better than expected.

    loss_t = −min(ρ_t·A_t, clip(ρ_t, 1 − ε, 1 + ε_high)·A_t) + c·KL_t − h·H_t + ½·value loss_t
    loss   = aggregate of loss_t over tokens and answers

PPO's surrogate (arXiv 1707.06347, eq. 7). Advantage, ratio, clip and aggregation are independent
choices, and GRPO, DAPO, GSPO, GMPO, CISPO and others are rows of them (`presets`). The algebra is
in `advantages` and `clipping`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from evenflow.bounds import AnyFloat, NonNegativeFloat, PositiveFloat
from evenflow.objectives import advantages, clipping
from evenflow.objectives.answers import Answers
from evenflow.objectives.objective import (
    ON_POLICY,
    STALE,
    UNCORRECTED,
    Choices,
    Idle,
    Loss,
    Needs,
    Scores,
    Setting,
    problems_of_relative,
    problems_of_right,
)
from evenflow.objectives.summary import summarise_weights, weighted_mean

LEAST_SPREAD = 1e-6
"""Of returns: below it a variance is rounding."""


class Surrogate(Choices):
    """aggregate of −min(ρA, clip(ρ)A) + c·KL(π ‖ π_ref) (docs/baselines.md)."""

    advantage: Literal[
        "group", "centred", "leave-one-out", "relative", "best-of-k", "global", "gae"
    ] = "group"
    """A: (r − mean)/std of the group, r − mean, r − mean of the others, (r − mean)/mean (MaxRL),
    what an answer adds to the best of k (PKPO), r normalised over all tokens of the batch, or
    generalised advantage estimation with a critic."""
    best_of: int = Field(default=4, ge=1)
    """k of `advantage: best-of-k`: pass@k is what is raised."""
    smoothing: NonNegativeFloat = 0.0
    """γ_p: a right answer's mean log π_old, times this, is taken off its reward (differential
    smoothing)."""
    smoothing_wrong: NonNegativeFloat = 0.0
    """γ_n: a wrong answer's mean log π_old, times this, is added to its reward."""
    smoothing_in: Literal["reward", "advantage"] = "reward"
    """What both are of: the reward, before it is compared, or the advantage that comes of it."""
    rarity: float = Field(default=0.0, ge=0, le=1)
    """τ, the part of the right answers' weight dealt out by how unlikely they are (UCPO)."""
    right_reward: AnyFloat = 1.0
    """An answer is right, for smoothing and rarity, from this reward on; a recipe that does not say
    takes reward.right."""
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

    # --- to the trainer --------------------------------------------------------------------------

    @property
    def upper(self) -> float:
        """ε_high, or ε where it is not given."""
        return self.epsilon if self.epsilon_high is None else self.epsilon_high

    @property
    def needs(self) -> Needs:
        """What the trainer must provide."""
        return Needs(
            reference=self.kl_coefficient > 0,
            old_logprobs=bool(self.asks_what_is_right)
            or (self.kl_coefficient > 0 and self.kl_in == "reward"),
            values=self.advantage == "gae",
            entropy=self.entropy_bonus > 0,
            groups_of_two=self.advantage not in ("global", "gae"),
            correction="wanted",
        )

    def prepare(self, answers: Answers) -> Answers:
        """Once per rollout batch of whole groups: fill the advantages, and a critic's returns."""
        return advantages.prepare(answers, self)

    def total(self, answers: Answers) -> Tensor | float:
        """The mini-batch's denominator: its tokens, answers, or answers times a length."""
        return clipping.total(answers, self)

    def loss(self, scores: Scores, answers: Answers, total: Tensor | float) -> Loss:
        """A micro-batch's part of the mini-batch's loss, and detached metrics (N,)."""
        return clipping.loss(scores.logprobs, answers, total, self, scores.values, scores.entropy)

    def summarise(self, metrics: Mapping[str, Tensor]) -> dict[str, Any]:
        """Ratios, entropy and the critic; what is said of tokens is a mean over tokens."""
        tokens = metrics["tokens"]
        found = summarise_weights(metrics["ratio"], weighted_mean(metrics["clipped"], tokens))
        if "entropy" in metrics:
            found["policy/entropy_exact"] = weighted_mean(metrics["entropy"], tokens)
        if "value_error" in metrics:
            error, mean, square = (
                weighted_mean(metrics[name], tokens)
                for name in ("value_error", "return", "return_square")
            )
            spread = square - mean**2
            found["value/error"] = error
            found["value/explained"] = 1 - error / spread if spread > LEAST_SPREAD else 0.0
        return found

    # --- to recipes ------------------------------------------------------------------------------

    def settle(self, given: frozenset[str], setting: Setting) -> Self:
        """With the longest answer as the length of `aggregation: constant`, and the recipe's own
        reward of a right answer."""
        changes: dict[str, float] = {}
        if self.aggregation == "constant" and self.aggregation_length is None:
            changes["aggregation_length"] = setting.longest
        if "right_reward" not in given:
            changes["right_reward"] = setting.right
        return self.model_copy(update=changes) if changes else self

    @property
    def asks_what_is_right(self) -> str:
        """The first choice that does, by name."""
        names = ("smoothing", "smoothing_wrong", "rarity")
        return next((name for name in names if getattr(self, name) > 0), "")

    def problems(self, setting: Setting) -> Iterator[str]:
        """A sentence for each combination with the recipe that cannot be."""
        if self.advantage == "best-of-k" and self.best_of > setting.num_generations:
            yield (
                f"objective.best_of: {self.best_of} answers are more than the "
                f"{setting.num_generations} of rollout.num_generations"
            )
        taken_off = {
            "reward.overlong_share": setting.overlong,
            "objective.kl_in: reward": self.kl_in == "reward" and self.kl_coefficient > 0,
            "objective.smoothing_wrong": self.smoothing_wrong > 0 and self.smoothing_in == "reward",
        }
        if self.advantage == "relative":
            yield from problems_of_relative("advantage", taken_off)
        yield from problems_of_right(self.asks_what_is_right, self.right_reward, setting)

    def idle(self, setting: Setting, preset: Choices) -> Idle:
        """Fields that change nothing beside the others."""
        single = setting.single_step
        if self.advantage != "gae":
            yield ("discount", "gae_lambda", "value_epsilon"), "only advantage: gae"
        if self.advantage == "global":
            yield ("whiten",), "advantage: global always does"
        if self.advantage != "best-of-k":
            yield ("best_of",), "only advantage: best-of-k"
        if not self.asks_what_is_right:
            yield ("right_reward",), "only with smoothing or rarity"
        if not (self.smoothing or self.smoothing_wrong):
            yield ("smoothing_in",), "only with smoothing or smoothing_wrong"
        if self.clip == "none" or (self.clip == "weight" and self.epsilon_high is not None):
            yield (
                ("epsilon",),
                "only clip: ratio or log-token, or as the upper limit where epsilon_high is null",
            )
        if self.clip == "none":
            yield ("epsilon_high",), "clip: none"
        if single and self.changed(preset, "clip", "none", "ratio", "log-token"):
            yield ("clip",), "each batch is learned from in one step, in which nothing is clipped"
        one = self._one_advantage or self.clip == "weight"
        if single and (one or self.changed(preset, "ratio", "token", "geometric-token", "none")):
            yield ("ratio",), "each batch is learned from in one step, in which every ratio is 1"
        if one and self.changed(preset, "ratio", "geometric", "geometric-token"):
            yield (
                ("ratio",),
                "geometric and geometric-token are one where an answer's tokens share their "
                "advantage",
            )
        if single:
            yield ("epsilon", "epsilon_high"), ON_POLICY
        if single and not setting.dropout:
            yield (
                ("value_epsilon",),
                "each batch is learned from in one step, before which no value has moved",
            )
        if self.kl_coefficient == 0:
            yield ("kl_in", "kl_estimator", "kl_credit"), "kl_coefficient is 0"
        if self.kl_in != "reward":
            yield ("kl_credit",), "only kl_in: reward"
        if self.advantage == "gae":
            yield (
                ("kl_credit",),
                "advantage: gae credits each token with what follows it anyhow",
            )

    @property
    def _one_advantage(self) -> bool:
        """Whether all tokens of an answer have one advantage."""
        to_go = self.kl_in == "reward" and self.kl_credit == "to-go"
        return self.advantage != "gae" and not (to_go and self.kl_coefficient > 0)

    def aim(self, nats: float, reference_weight: float, longest: int) -> Self:
        """No KL term without a prior, and L where one is needed."""
        del nats
        changes: dict[str, object] = {} if reference_weight else {"kl_coefficient": 0.0}
        if self.aggregation == "constant" and self.aggregation_length is None:
            changes["aggregation_length"] = float(longest)
        return self.model_copy(update=changes)

    def cautions(self, setting: Setting) -> Iterator[str]:
        """What is allowed and seldom meant."""
        if self.ratio == "none" and setting.repeated:
            yield STALE.format("ratio")
        if self.ratio == "none" and setting.uncorrected:
            yield UNCORRECTED.format("ratio")
