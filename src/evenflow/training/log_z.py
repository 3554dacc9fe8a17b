"""The log Z that outlives a step: a running mean per question, or one estimated offline."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from evenflow.config import TrainConfig
from evenflow.data import Prompt
from evenflow.objectives import (
    Answers,
    Balance,
    RunningLogZ,
    effective_inverse_temperature,
    offline_log_z,
)

# Prompts → rewards (NaN: unknown) and summed log-probs of answers sampled from the reference,
# both (questions, samples).
ReferenceSampler = Callable[[list[Prompt]], tuple[Tensor, Tensor]]


class LogZMemory:
    """Gives each answer its question's log Z, and remembers it between steps and runs."""

    def __init__(self, objective: Balance, sample_reference: ReferenceSampler) -> None:
        self.objective = objective
        self.sample_reference = sample_reference
        self.running = RunningLogZ(objective.running_rate)
        self.offline: dict[str, tuple[float, float]] = {}  # log Z, effective sample size

    def fill(self, answers: Answers, prompts: Sequence[Prompt]) -> tuple[Answers, dict[str, float]]:
        """`answers` with log Z, and numbers to report. Running values are used, then moved."""
        keys = [prompt.key for prompt in prompts]
        if self.objective.log_z == "running":
            own = self.objective.own_log_z(answers.old_logprobs, answers)
            values = self.running.lookup(keys, own, answers.groups)
            self.running.update(keys, own)
            return answers.replace(log_z=values), {}
        if missing := self.unknown(prompts):
            raise ValueError(
                f"{len(missing)} questions have no log Z: leave their answers out first"
            )
        known = [self.offline[key] for key in keys]
        values = torch.tensor([log_z for log_z, _ in known], device=answers.rewards.device)
        report = {"log_z/effective_samples": fmean(size for _, size in known)}
        return answers.replace(log_z=values), report

    def unknown(self, prompts: Sequence[Prompt]) -> set[str]:
        """The questions, by key, that have no log Z: offline where no reference answer could be
        judged. They are asked of the reference again when they come up again."""
        if self.objective.log_z != "offline":
            return set()
        self._estimate({p.key: p for p in prompts if p.key not in self.offline})
        return {p.key for p in prompts} - self.offline.keys()

    def _estimate(self, new: dict[str, Prompt]) -> None:
        """Offline log Z of questions not met before, from the reference's answers."""
        if not new:
            return
        choices = self.objective
        rewards, logprobs = self.sample_reference(list(new.values()))
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


def true_log_z(config: TrainConfig, right: Sequence[float] | None) -> dict[str, float]:
    """`log_z/true`: mean over held-out questions of log Z(x) = s·log(1 + p(x)·(e^{β/s} − 1)), p the
    chance that the reference is right (the policy's before the first step), in `right`.

    That is s·log Σ π_ref·e^{βr/s} for rewards of 0 and 1. Empty where it is not known: answers
    are not listed, the reference or the sampling is another, or the target is not
    π_ref·e^{βr/s} with the task's own reward (docs/objective.md).
    """
    choices = config.build_objective()
    fixed = (
        isinstance(choices, Balance)
        and (choices.reward, choices.reference_weight, choices.prior_lift) == ("raw", 1.0, 0.0)
        and choices.scale != "mean"
        and not (config.reward.functions or config.reward.overlong_share or config.model.reference)
        and config.evaluation.temperature == config.rollout.temperature
    )
    if not fixed or not isinstance(choices, Balance) or right is None:
        return {}
    nats = effective_inverse_temperature(choices)[0]
    if nats > 700:  # e^nats is beyond float64
        return {}
    s = choices.inverse_temperature / nats
    return {"log_z/true": fmean(s * math.log1p(p * math.expm1(nats)) for p in right)}
