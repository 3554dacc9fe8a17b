"""log Z(x) without a learned head: from the group, from a running mean, from the reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evenflow.objectives.answers import Answers
from evenflow.objectives.groups import group_max, group_sum
from evenflow.objectives.objective import ReferenceSampler

if TYPE_CHECKING:
    from evenflow.objectives.balance import Balance


def group_log_z(
    rest: Tensor,
    groups: Tensor,
    log_weight: Tensor,
    regression: str,
    linex_alpha: float,
    share: Tensor | None = None,
) -> Tensor:
    """argmin_z Σ_j ω_j g(z + rest_j) over the group, for each regression g; ω = share·e^log_weight.

    square  −Σ ω·rest / Σ ω
    linex   −(1/α)·log(Σ ω e^{α rest} / Σ ω)
    cosh    ½·log(Σ ω e^{−rest} / Σ ω e^{rest})

    A factor common to a group's ω changes none of them: only ω_j/ω_k = share_j/share_k ·
    e^{log w_j − log w_k} counts. So the largest weight of each group is set to 1, and where all
    weights of a group underflow the value is what it tends to, the minimiser under their ratios:
    their plain mean (by shares) where they vanish alike, the likeliest answer's −rest where one
    outweighs the others.

    VarGrad's estimate (arXiv 2010.10436) where g is the square and ω = 1; it includes the answer
    itself. Shapes: all (N,) -> (N,), equal within a group.
    """
    share = torch.ones_like(rest) if share is None else share

    def log_sum_exp(x: Tensor) -> Tensor:
        x = log_weight + x
        top = group_max(x, groups)
        return top + group_sum(share * (x - top).exp(), groups).log()

    if regression == "linex":
        total = log_sum_exp(torch.zeros_like(rest))
        return (total - log_sum_exp(linex_alpha * rest)) / linex_alpha
    if regression == "cosh":
        return (log_sum_exp(-rest) - log_sum_exp(rest)) / 2
    weight = share * (log_weight - group_max(log_weight, groups)).exp()
    return -group_sum(weight * rest, groups) / group_sum(weight, groups)


def leave_one_out_log_z(
    rest: Tensor, groups: Tensor, log_weight: Tensor, share: Tensor | None = None
) -> Tensor:
    """−Σ_{j≠i} ω_j rest_j / Σ_{j≠i} ω_j with ω = share·e^log_weight.

    The copies of answer i leave with it: their shares sum to 1, and their weights are taken to be
    its own, so that the whole of weight_i is taken out. Nothing left (a group of one, or of copies)
    gives −rest_i, a residual of 0.

    Only ratios of weights count, as in `group_log_z`. Where answer i outweighs all others a
    thousand times, nothing but rounding would be left of the difference of sums: there the others,
    which are all far below it, are summed on their own, with the largest of them set to 1.
    Shapes: all (N,) -> (N,).
    """
    share = torch.ones_like(rest) if share is None else share
    top = group_max(log_weight, groups)
    weight = (log_weight - top).exp()
    omega = weight * share
    left = group_sum(omega, groups) - weight
    value = group_sum(omega * rest, groups) - weight * rest
    outweighs = left < 1e-3 * weight
    # An answer that outweighs the others has copies at its own weight, and the others below 1e-3.
    below = log_weight < top + math.log(1e-3) / 2
    second = group_max(torch.where(below, log_weight, -torch.inf), groups)
    alone = second == -torch.inf
    omega = torch.where(below, share * (log_weight - second).exp(), 0.0)
    mean = group_sum(omega * rest, groups) / group_sum(omega, groups)
    others = torch.where(outweighs, mean, value / torch.where(outweighs, 1.0, left))
    return -torch.where(outweighs & alone, rest, others)


def offline_log_z(
    rewards: Tensor, ref_logprobs_sum: Tensor, beta: float, s: float, gamma: float
) -> tuple[Tensor, Tensor]:
    """log Z = s·log mean_ref exp(βr/s + (γ − 1)·log π_ref), from samples of the reference.

    Importance sampling of Σ_y π_ref^γ e^{βr/s} with the reference as the proposal, as in DISA. The
    second result is the effective sample size (Σw)²/Σw² of the S weights: near 1 means that one
    sample decides the value, and that more are needed.

    Shapes: rewards and ref_logprobs_sum (..., S), raw rewards and Σ_t log π_ref of S samples of
    each question -> (...,), (...,).
    """
    log_w = beta * rewards / s + (gamma - 1) * ref_logprobs_sum
    total = log_w.logsumexp(-1)
    log_z = s * (total - math.log(log_w.shape[-1]))
    return log_z, (2 * total - (2 * log_w).logsumexp(-1)).exp()


class RunningLogZ:
    """log Z(x) ← (1 − η)·log Z(x) + η·mean_i own_i, one number a question.

    own = βr̃ − s·(log π − γ·log π_ref) of each answer; `share` (N,) is the part that it counts for,
    1/k for k copies. Look up first, update after: an estimate that contains the answer would
    shrink its own residual.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.values: dict[str, float] = {}

    def lookup(
        self, keys: Sequence[str], own: Tensor, groups: Tensor, share: Tensor | None = None
    ) -> Tensor:
        """(N,) log Z of each answer's question; for one not seen yet the mean of the others' own,
        its copies left out.

        `keys` has one question key an answer; own and groups are (N,).
        """
        others = leave_one_out_log_z(-own, groups, torch.zeros_like(own), share)
        known = torch.tensor([key in self.values for key in keys], device=own.device)
        value = torch.tensor([self.values.get(key, 0.0) for key in keys]).to(own)
        return torch.where(known, value, others)

    def update(self, keys: Sequence[str], own: Tensor, share: Tensor | None = None) -> None:
        """Move each question's value toward the mean of its answers' own (N,)."""
        share = torch.ones_like(own) if share is None else share
        seen: dict[str, list[tuple[float, float]]] = {}
        for key, value, part in zip(keys, own.tolist(), share.tolist(), strict=True):
            seen.setdefault(key, []).append((value, part))
        for key, values in seen.items():
            mean = sum(value * part for value, part in values) / sum(part for _, part in values)
            self.values[key] = (1 - self.rate) * self.values.get(key, mean) + self.rate * mean

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"values": dict(self.values)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.values = dict(state["values"])


class LogZMemory:
    """Gives each answer its question's log Z, and remembers it between steps and runs."""

    def __init__(self, objective: Balance, sample_reference: ReferenceSampler) -> None:
        self.objective = objective
        self.sample_reference = sample_reference
        self.running = RunningLogZ(objective.running_rate)
        self.offline: dict[str, tuple[float, float]] = {}  # log Z, effective sample size

    def fill(self, answers: Answers, keys: Sequence[str]) -> tuple[Answers, dict[str, float]]:
        """`answers` with log Z, and numbers to report; `keys` (N,) of their questions. Running
        values are used, then moved."""
        if self.objective.log_z == "running":
            own = self.objective.own_log_z(answers.old_logprobs, answers)
            share = answers.share if self.objective.duplicates == "once" else None
            values = self.running.lookup(keys, own, answers.groups, share)
            self.running.update(keys, own, share)
            return answers.replace(log_z=values), {}
        if missing := self.unknown(keys):
            raise ValueError(
                f"{len(missing)} questions have no log Z: leave their answers out first"
            )
        known = [self.offline[key] for key in keys]
        values = torch.tensor([log_z for log_z, _ in known], device=answers.rewards.device)
        report = {"log_z/effective_samples": fmean(size for _, size in known)}
        return answers.replace(log_z=values), report

    def unknown(self, keys: Sequence[str]) -> set[str]:
        """The questions, by key, that have no log Z: offline where no reference answer could be
        judged. They are asked of the reference again when they come up again."""
        if self.objective.log_z != "offline":
            return set()
        self._estimate([key for key in dict.fromkeys(keys) if key not in self.offline])
        return set(keys) - self.offline.keys()

    def _estimate(self, new: list[str]) -> None:
        """Offline log Z of questions not met before, from the reference's answers."""
        if not new:
            return
        choices = self.objective
        rewards, logprobs = self.sample_reference(new)
        for key, r, log_ref in zip(new, rewards, logprobs, strict=True):
            judged = ~r.isnan()
            if not judged.any():
                continue
            value, size = offline_log_z(
                r[judged],
                log_ref[judged],
                choices.inverse_temperature,
                1.0 / (choices.scale_length or 1.0),
                choices.reference_weight,
            )
            self.offline[key] = value.item(), size.item()

    @property
    def log_z(self) -> Mapping[str, float]:
        """The log Z of each question that is known."""
        offline = {key: value for key, (value, _) in self.offline.items()}
        return self.running.values or offline

    def forget(self) -> None:
        """Start anew: the reference is another one."""
        self.running = RunningLogZ(self.objective.running_rate)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"running": self.running.state_dict(), "offline": dict(self.offline)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.running.load_state_dict(state["running"])
        self.offline = dict(state["offline"])
