"""The balance family: regress the policy's log-probability onto the reward's.

    δ(x, y) = log Z(x) + s·[log π(y|x) − γ·log π_ref(y|x)] − β·r̃(x, y)
    loss    = mean over answers of w·g(δ)

FlowRL (arXiv 2509.15207), trajectory balance (arXiv 2201.13259), relative trajectory
balance (arXiv 2405.20971), TBA (arXiv 2503.18929): one equation, different choices, and
`docs/objective.md` derives what each of them does. The algebra is in `residual`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Self

import torch
from torch import Tensor

from evenflow.objectives import residual
from evenflow.objectives.answers import Answers
from evenflow.objectives.family import Family
from evenflow.objectives.fixed_points import FixedPoint, fixed_point
from evenflow.objectives.log_z import LogZMemory, group_log_z
from evenflow.objectives.objective import (
    Loss,
    Memory,
    Needs,
    ReferenceSampler,
    Scores,
    Setting,
)
from evenflow.objectives.summary import group_error, summarise_weights, weighted_mean


class Balance(Family):
    """mean of w·g(δ), δ = log Z + s·(log π − γ·log π_ref) − β·r̃ (docs/objective.md)."""

    # --- to the trainer --------------------------------------------------------------------------

    @property
    def needs(self) -> Needs:
        """What the trainer must provide."""
        return Needs(
            reference=any(self.gammas) or self.guidance > 0,
            guide=self.guidance > 0,
            reference_samples=self.log_z == "offline",
            head=self.log_z == "head",
            flows=self.log_z == "flow",
            whole_groups=self.own_group and self.log_z_policy == "current",
            shares=self.duplicates == "once",
            old_logprobs=(
                self.own_group or self.log_z == "running" or self.rarity > 0 or self.clips
            ),
            groups_of_two=self.own_group or self.reward != "raw",
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
        flows = scores.values if self.log_z == "flow" else None
        return residual.loss(scores.logprobs, answers, total, self, scores.log_z, flows)

    def memory(self, sample_reference: ReferenceSampler) -> Memory | None:
        """A running or offline log Z of each question."""
        return LogZMemory(self, sample_reference) if self.log_z in ("running", "offline") else None

    def own_log_z(self, logprobs: Tensor, answers: Answers) -> Tensor:
        """(N,) βr̃ − s·(log π − γ·log π_ref): the log Z at which an answer's δ is 0. Detached."""
        return -residual.rest(logprobs.detach(), answers, self)

    def residual(self, logprobs: Tensor, answers: Answers, log_z: Tensor | None) -> float | None:
        """√(mean δ²) over the answers, in the units of δ: nats an answer for a scale of 1, nats a
        token for 1/|y|. None where guidance asks for a pass that was not made.

        log Z is the head's where there is one, 0 where there is none, and else the group's: running
        and offline values are of training questions, and leave-one-out would enlarge δ.
        """
        if self.needs.guide and answers.guide_logprobs is None:
            return None
        free = self.log_z in ("head", "none")
        choices = self if free else self.model_copy(update={"log_z": "group"})
        answers = choices.estimate(logprobs, choices.prepare(answers))
        _, metrics = choices.loss(Scores(logprobs, log_z), answers, float(len(answers)))
        return metrics["residual"].square().mean().sqrt().item()

    def summarise(self, metrics: Mapping[str, Tensor]) -> dict[str, Any]:
        """Importance weights, δ and log Z; of δ and log Z means over answers as the loss weighs
        them (share·emphasis·w). `log_z/error` is against each group's own estimate."""
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
        if "residual_clipped" in metrics:
            found["residual/clipped"] = metrics["residual_clipped"].mean().item()
        return found | {"log_z/error": error}

    # --- to recipes, and to those who know the truth ---------------------------------------------

    def facts(self, setting: Setting) -> list[tuple[str, str]]:
        """How much likelier a right answer is to become than a wrong one."""
        nats, odds = effective_inverse_temperature(self, right=setting.gain)
        # Rewards divided by their spread or mean in the group have lost their weights.
        divided = self.reward in ("group", "relative")
        weight = "" if divided or setting.gain == 1 else f"·{setting.gain:g}"
        asked = f"{odds:,.3g} : 1" if math.isfinite(odds) else "beyond e^700 : 1"
        of_token = self.scale == "mean"
        text = (
            f"β{weight}/s = {nats:.3g} nats{' per token of the answer' if of_token else ''}: "
            f"right : wrong = {asked}, times the reference's odds"
            f"{' (one token, half the group right)' if of_token else ''}"
            f"{' (half the group right)' if divided and not of_token else ''}"
        )
        return [("target", text)]

    def fixed_point(
        self, log_ref: Tensor, rewards: Tensor, lengths: Tensor, group_size: int
    ) -> FixedPoint | None:
        """See `fixed_points`; `prior_lift`, `guidance` and `duplicates` have no formula. What
        weighs or clips residuals moves nothing where all of them can be 0; else it has none
        either."""
        if self.prior_lift > 0 or self.guidance > 0 or self.duplicates == "once":
            return None
        weighs = self.question_weight != "none" or self.rarity > 0 or self.clips
        certain = self.reward == "raw" or (self.reward == "centred" and self.own_group)
        if weighs and (not certain or self.log_z == "none"):
            return None
        return fixed_point(self, log_ref, rewards, lengths, group_size)

    def aim(self, nats: float, reference_weight: float, longest: int) -> Self:
        """β/s = nats, for s = 1/|y| at the longest answer; and γ."""
        beta = nats / (longest if self.scale == "mean" else 1)
        changes = {"inverse_temperature": beta, "reference_weight": reference_weight}
        if self.right_reference_weight is not None:
            changes["right_reference_weight"] = reference_weight
        return self.model_copy(update=changes)

    @property
    def rests_at_target(self) -> bool:
        """Raw rewards do, and relative ones, whose gap 1/p falls to that of raw ones as the policy
        gets right; those divided by their spread grow where it falls."""
        return self.reward in ("raw", "relative")

    def true_log_z(self, right: Sequence[float], setting: Setting) -> float | None:
        """mean of log Z(x) = s·log(1 + p(x)·(e^{β/s} − 1)), that is s·log Σ π_ref·e^{βr/s} for
        rewards of 0 and 1, where the target is π_ref·e^{βr/s} (docs/objective.md)."""
        target = (self.reward, *self.gammas, self.prior_lift) == ("raw", 1.0, 1.0, 0.0)
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
    mean` only, whose tilt grows with it; `accuracy` p for `reward: group` and `relative` only,
    where the normalised rewards are 1/√(p(1 − p)) and 1/p apart, whatever r is.
    """
    s = {"mean": 1 / length, "sum": 1.0}.get(choices.scale, 1 / (choices.scale_length or 1.0))
    gap = right
    if choices.reward == "group":
        gap = 1 / math.sqrt(accuracy * (1 - accuracy))
    elif choices.reward == "relative":
        gap = 1 / accuracy
    nats = choices.inverse_temperature * gap / s
    return nats, math.exp(nats) if nats < 700 else math.inf
