"""Learning from a rollout batch: mini-batches of whole groups, micro-batches by token budget."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW

from evenflow.config import OptimizerConfig, TrainConfig
from evenflow.errors import UserError
from evenflow.imports import ask, calling, named
from evenflow.objectives import Answers, Correction, Objective, Scores
from evenflow.policy.policy import Policy
from evenflow.policy.tokens import collate
from evenflow.training.optim import adamw, parameter_groups, rate_factor, set_rate
from evenflow.training.scoring import Rows

ALGORITHM = "algorithm"
"""The field that names an objective."""


@dataclass
class Learned:
    """What one rollout batch taught: one number an answer and pass, and one an optimiser step."""

    answers: dict[str, list[Tensor]] = field(default_factory=dict)  # each (n,)
    losses: list[float] = field(default_factory=list)
    grad_norms: dict[str, list[float]] = field(default_factory=dict)
    skipped: int = 0  # optimiser steps left out because the loss or gradient was not finite

    def add(self, metrics: dict[str, Tensor]) -> None:
        for name, values in metrics.items():
            self.answers.setdefault(name, []).append(values)


@dataclass
class Learner:
    """The parts that take optimiser steps."""

    policy: Policy
    objective: Objective
    optimizer: AdamW
    config: OptimizerConfig
    version: int = 0
    """Of the policy: how many optimiser steps it has taken."""
    correction: Correction | None = None
    """Of answers that another policy sampled."""
    dropout: bool = False
    """Whether the training forward drops units, and its log-probs are no policy's."""

    def set_rate(self, step: int, progress: float) -> float:
        """The learning rates of rollout step `step` (from 0), which all its mini-batches share; the
        first of them. `progress`: the steps done, as the budget of answers counts them."""
        train = self.config
        factor = rate_factor(
            step, train.schedule, train.warmup_steps, train.steps, progress=progress
        )
        set_rate(self.optimizer, factor)
        return self.optimizer.param_groups[0]["lr"]

    def mini_batches(self, groups: int) -> int:
        """Into how many mini-batches of equal size so many groups are divided. Questions without a
        known reward are gone: as many as fit."""
        return max(1, round(groups / (self.config.mini_batch_questions or groups)))

    def corrects(self, rows: Rows, *, exact: bool) -> bool:
        """Whether the correction acts on these rows: an earlier policy sampled some of them, or an
        engine whose log-probs are not `exact`."""
        own = bool((rows.versions == self.version).all())
        return self.correction is not None and not (exact and own)

    def needs_old_logprobs(self, rows: Rows, *, exact: bool) -> Tensor:
        """(N,) bool: of which answers the policy's log-probs are asked for before its first step;
        else the training forward gives them, or what sampled them is all that is known."""
        own = rows.versions == self.version
        single = self.config.epochs == 1 and self.mini_batches(rows.count) == 1
        early = self.objective.needs.old_logprobs or not single
        if self.corrects(rows, exact=exact):
            asked = early or self.objective.needs.whole_groups or self.dropout
            return torch.full_like(own, asked)
        return own if early and not exact else torch.zeros_like(own)

    def learn(self, rows: Rows, *, seed: str) -> Learned:
        """All epochs and mini-batches over the rows, as `objective.prepare` left them."""
        # Dropout's, whatever a reward has drawn from the same generator, or set it to.
        torch.manual_seed(random.Random(seed).getrandbits(63))
        learned, groups = Learned(), rows.answers.groups
        if rows.before is not None and rows.scored:
            rows = rows.with_answers(
                self._corrected(rows.answers.old_logprobs, rows.answers, learned)
            )
        count, parts = rows.count, self.mini_batches(rows.count)
        for epoch in range(self.config.epochs):
            order = list(range(count))
            random.Random(f"{seed}/{epoch}").shuffle(order)
            for part in range(parts):
                of_part = order[part * count // parts : (part + 1) * count // parts]
                chosen = torch.tensor(of_part, device=groups.device)
                self._mini_batch(rows[torch.isin(groups, chosen).nonzero()[:, 0].tolist()], learned)
        return learned

    def _corrected(self, before: Tensor, answers: Answers, learned: Learned) -> Answers:
        """The answers, weighed by the policy before its first step on them, (N, T) log-probs."""
        assert self.correction is not None
        answers, said = self.correction.weigh(before, answers)
        learned.add(said)
        return answers

    def _mini_batch(self, rows: Rows, learned: Learned) -> None:
        """One optimiser step. Answers of the policy's own version are on-policy."""
        policy, answers, width = self.policy, rows.answers, rows.answers.mask.shape[1]
        own = rows.versions == self.version  # (N,)
        staleness = self.version - rows.versions
        unmoved = own  # whether the policy is still the one of the old log-probs
        if rows.before is not None:
            unmoved = torch.full_like(own, rows.before == self.version)
        micros = policy.micro_batches(
            rows.prompt_ids, rows.answer_ids, self.config.micro_batch_tokens
        )
        whole = len(micros) == 1
        if not whole and self.objective.needs.whole_groups:
            # The estimate needs every answer of the group before the first gradient.
            current = answers.old_logprobs
            if not bool(unmoved.all()):
                current = policy.score(
                    rows.prompt_ids, rows.answer_ids, budget=self.config.micro_batch_tokens
                )
                current = nn.functional.pad(current, (0, width - current.shape[1]))
            answers = ask(ALGORITHM, self.objective, "estimate", current, answers, gives=Answers)
        with calling(ALGORITHM, self.objective, "total"):
            total = self.objective.total(answers)
        policy.train()
        loss_sum = 0.0
        for micro_rows in micros:
            tokens = collate(
                [rows.prompt_ids[i] for i in micro_rows],
                [rows.answer_ids[i] for i in micro_rows],
                width=width,
                device=policy.device,
            )
            scores = policy(tokens, entropy=self.objective.needs.entropy)
            fixed = scores.logprobs.detach()
            index = torch.tensor(micro_rows, device=policy.device)
            micro, on_policy = answers[index], own[index]
            if rows.before is not None and micro.correction is None:
                micro = self._corrected(fixed, micro, learned)
            if micro.sampled_logprobs is not None and bool(on_policy.any()):
                # The two are one policy: what differs is arithmetic.
                gap = (fixed - micro.sampled_logprobs).abs()
                gap = gap.masked_fill(~micro.mask.bool(), 0.0)[on_policy]
                learned.add({"sampler_gap": gap.amax(1), "sampler_gap_sum": gap.sum(1)})
                learned.add({"sampler_gap_tokens": micro.mask[on_policy].sum(1)})
            # The ratio is exactly 1, whatever the sampler's arithmetic.
            old = torch.where(unmoved[index][:, None], fixed, micro.old_logprobs)
            micro = micro.replace(old_logprobs=old)
            if whole or not self.objective.needs.whole_groups:
                micro = ask(ALGORITHM, self.objective, "estimate", fixed, micro, gives=Answers)
            loss, metrics = loss_of(self.objective, scores, micro, total)
            with calling(ALGORITHM, self.objective, "loss"):
                loss.backward()
            loss_sum += loss.item()
            # Each optimiser step has its own groups: log Z moves between them.
            of_each = {"group": micro.groups + (len(learned.losses) << 32)}
            learned.add(metrics | of_each | {"staleness": staleness[index]})
        self._step(loss_sum, learned)

    def _step(self, loss: float, learned: Learned) -> None:
        masters = self.policy.masters
        parts: list[tuple[str, nn.Module]] = [("policy", self.policy.model)]
        for name, part in (("head", self.policy.head), ("critic", self.policy.critic)):
            if part is not None:
                parts.append((name, part))
        norms = {
            name: float(clip_grad_norm_(masters.of(part.parameters()), self.config.max_grad_norm))
            for name, part in parts
        }
        if all(map(torch.isfinite, map(torch.tensor, [loss, *norms.values()]))):
            self.version += 1  # first: a step that is cut short has moved weights, too
            self.optimizer.step()
            masters.round()
        else:
            learned.skipped += 1
        self.optimizer.zero_grad(set_to_none=True)
        learned.losses.append(loss)
        for name, norm in norms.items():
            learned.grad_norms.setdefault(name, []).append(norm)


def loss_of(
    objective: Objective, scores: Scores, answers: Answers, total: Tensor | float
) -> tuple[Tensor, dict[str, Tensor]]:
    """What the objective says of a micro-batch; UserError where it is no loss and metrics."""
    said = named(ALGORITHM, objective, "loss")
    found = ask(ALGORITHM, objective, "loss", scores, answers, total, gives=tuple)
    if len(found) != 2 or not isinstance(found[1], dict):
        raise UserError(f"{said} gave something else than a loss and a dictionary of metrics")
    loss, metrics = found
    if not isinstance(loss, Tensor):
        raise UserError(f"{said} gave a loss that is {type(loss).__name__}, not a tensor")
    if loss.shape or not loss.requires_grad:
        lacks = f"one of shape {tuple(loss.shape)}" if loss.shape else "one without gradient"
        raise UserError(f"{said} gave, for a loss, {lacks}; it is one number with a gradient")
    for name, values in metrics.items():
        fits = isinstance(values, Tensor) and tuple(values.shape) == (len(answers),)
        if not fits or values.requires_grad:
            raise UserError(
                f"{said} gave a metric {name!r} that is not a detached tensor with one number for "
                f"each of the {len(answers)} answers"
            )
    return loss, metrics


def build_learner(policy: Policy, objective: Objective, config: TrainConfig) -> Learner:
    """A learner whose model, head and critic have the recipe's learning rates; its optimiser moves
    the masters of weights that have one."""
    train = config.train
    parts = [
        (policy.model, train.learning_rate),
        (policy.head, config.head.learning_rate or train.learning_rate),
        (policy.critic, config.critic.learning_rate),
    ]
    groups = [
        group
        for part, rate in parts
        if part is not None
        for group in parameter_groups(
            policy.masters.of(part.parameters()), rate, train.weight_decay
        )
    ]
    return Learner(
        policy,
        objective,
        adamw(groups, train.betas),
        train,
        correction=config.build_correction(),
        dropout=config.setting.dropout,
    )
