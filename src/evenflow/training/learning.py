"""Learning from a rollout batch: mini-batches of whole groups, micro-batches by token budget."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW

from evenflow.config import OptimizerConfig, TrainConfig
from evenflow.objectives import Answers, Balance, Surrogate
from evenflow.policy.policy import Policy
from evenflow.policy.tokens import collate, micro_batches
from evenflow.training.optim import adamw, parameter_groups, rate_factor, set_rate

Objective = Balance | Surrogate


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

    def set_rate(self, step: int, progress: float) -> float:
        """The learning rates of rollout step `step` (from 0), which all its mini-batches share; the
        first of them. `progress`: the steps done, as the budget of answers counts them."""
        train = self.config
        factor = rate_factor(
            step, train.schedule, train.warmup_steps, train.steps, progress=progress
        )
        set_rate(self.optimizer, factor)
        return self.optimizer.param_groups[0]["lr"]

    def learn(
        self,
        answers: Answers,
        prompt_ids: Sequence[Sequence[int]],
        answer_ids: Sequence[Sequence[int]],
        *,
        seed: str,
    ) -> Learned:
        """All epochs and mini-batches over `answers`, as `objective.prepare` left them."""
        # Dropout's, whatever a reward has drawn from the same generator, or set it to.
        torch.manual_seed(random.Random(seed).getrandbits(63))
        learned = Learned()
        questions = int(answers.groups.max()) + 1
        # Questions without a known reward are gone: as many mini-batches of equal size as fit.
        count = max(1, round(questions / (self.config.mini_batch_questions or questions)))
        size = math.ceil(questions / count)
        single = self.config.epochs == 1 and count == 1
        for epoch in range(self.config.epochs):
            order = list(range(questions))
            random.Random(f"{seed}/{epoch}").shuffle(order)
            for start in range(0, questions, size):
                chosen = torch.tensor(order[start : start + size], device=answers.groups.device)
                rows = torch.isin(answers.groups, chosen).nonzero()[:, 0]
                first = epoch == 0 and start == 0
                self._mini_batch(
                    answers[rows],
                    [prompt_ids[i] for i in rows.tolist()],
                    [answer_ids[i] for i in rows.tolist()],
                    learned,
                    unmoved=first,
                    on_policy=single,
                )
        return learned

    def _mini_batch(
        self,
        answers: Answers,
        prompt_ids: Sequence[Sequence[int]],
        answer_ids: Sequence[Sequence[int]],
        learned: Learned,
        *,
        unmoved: bool,
        on_policy: bool,
    ) -> None:
        """One optimiser step. `unmoved`: π is π_old still; `on_policy`: and only this step."""
        policy, width = self.policy, answers.mask.shape[1]
        lengths = [len(p) + len(a) for p, a in zip(prompt_ids, answer_ids, strict=True)]
        micros = micro_batches(lengths, self.config.micro_batch_tokens)
        whole = len(micros) == 1
        if not whole and self.objective.needs.log_z == "group":
            # The estimate needs every answer of the group before the first gradient.
            current = answers.old_logprobs
            if not unmoved:
                current = policy.score(
                    prompt_ids, answer_ids, budget=self.config.micro_batch_tokens
                )
                current = nn.functional.pad(current, (0, width - current.shape[1]))
            answers = self.objective.estimate(current, answers)
        total = self.objective.total(answers)
        policy.train()
        loss_sum = 0.0
        for rows in micros:
            tokens = collate(
                [prompt_ids[i] for i in rows],
                [answer_ids[i] for i in rows],
                width=width,
                device=policy.device,
            )
            logprobs, log_z, values, entropy = policy(tokens, entropy=self.objective.needs.entropy)
            micro = answers[torch.tensor(rows, device=policy.device)]
            if unmoved and micro.sampled_logprobs is not None:
                # Before the first step the two are one policy: what differs is arithmetic.
                gap = (logprobs.detach() - micro.sampled_logprobs).abs()
                learned.add({"sampler_gap": gap.masked_fill(~micro.mask.bool(), 0.0).amax(1)})
            if on_policy:
                # The ratio is exactly 1, whatever the sampler's arithmetic.
                micro = micro.replace(old_logprobs=logprobs.detach())
            if whole:
                micro = self.objective.estimate(logprobs.detach(), micro)
            loss, metrics = self.objective.loss(logprobs, micro, total, log_z, values, entropy)
            loss.backward()
            loss_sum += loss.item()
            # Each optimiser step has its own groups: log Z moves between them.
            learned.add(metrics | {"group": micro.groups + (len(learned.losses) << 32)})
        self._step(loss_sum, learned)

    def _step(self, loss: float, learned: Learned) -> None:
        parts: list[tuple[str, nn.Module]] = [("policy", self.policy.model)]
        for name, part in (("head", self.policy.head), ("critic", self.policy.critic)):
            if part is not None:
                parts.append((name, part))
        norms = {
            name: float(clip_grad_norm_(part.parameters(), self.config.max_grad_norm))
            for name, part in parts
        }
        if all(map(torch.isfinite, map(torch.tensor, [loss, *norms.values()]))):
            self.optimizer.step()
        else:
            learned.skipped += 1
        self.optimizer.zero_grad(set_to_none=True)
        learned.losses.append(loss)
        for name, norm in norms.items():
            learned.grad_norms.setdefault(name, []).append(norm)


def build_learner(policy: Policy, objective: Objective, config: TrainConfig) -> Learner:
    """A learner whose model, head and critic have the recipe's learning rates."""
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
        for group in parameter_groups(part.parameters(), rate, train.weight_decay)
    ]
    return Learner(policy, objective, adamw(groups, train.betas), train)
