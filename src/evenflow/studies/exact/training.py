"""One run: one objective on one listed problem, with the library's own policy, sampler and learner.

Answers are sampled token by token from the policy by the embedded engine, and a rollout batch is
learned from in several mini-batches, so that importance weights and clips have something to act on.
Only the measures use the listing, and the reference's log-probs, which are looked up in it.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from evenflow.config import CriticConfig, HeadConfig, OptimizerConfig
from evenflow.data import Prompt
from evenflow.objectives import Choices, Memory
from evenflow.objectives.partition import PartitionHead
from evenflow.policy.critic import Critic
from evenflow.policy.policy import Policy
from evenflow.policy.tokens import collate
from evenflow.rollout import Sampling, build_engine, sample
from evenflow.studies.exact.listing import Listing
from evenflow.studies.exact.measures import kl, measures
from evenflow.studies.exact.problems import Problem
from evenflow.training.learning import Learner
from evenflow.training.optim import adamw, parameter_groups, rate_factor, set_rate
from evenflow.training.scoring import Rows, to_rows

MAX_BATCH = 512  # answers sampled at once
REFERENCE_SEED = 0  # all runs of a problem share their reference
KEPT = 5000  # answers up to which a result holds the whole distribution of question 0


@dataclass(frozen=True)
class Settings:
    """What all runs of a study share."""

    rollouts: int | None = None
    """Rollout batches a run; None: the problem's own number."""
    groups: int = 4
    """Groups a question in a rollout batch."""
    group_size: int = 16
    """G."""
    mini_batches: int = 4
    """Optimiser steps a rollout batch; each sees every question once on average."""
    learning_rate: float = 3e-3
    """Peak; falls linearly to zero, so that the end is on-policy."""
    head_learning_rate: float = 5e-3
    """Of the head and the critic."""
    measurements: int = 12
    """How often the distribution is listed on the way."""


@dataclass(frozen=True)
class Run:
    """An objective, a problem and a seed."""

    study: str
    problem: Problem
    label: str
    objective: Choices
    seed: int
    head: HeadConfig = field(default_factory=HeadConfig)
    settings: Settings = field(default_factory=Settings)
    prediction: Choices | None = None
    """Whose fixed point is expected, where it is not the objective's own formula."""

    @property
    def rollouts(self) -> int:
        return self.settings.rollouts or self.problem.rollouts


def build_policy(run: Run) -> Policy:
    """A small GPT-2 with random weights and a copy of it as the reference.

    The weights are larger than usual, so that the reference prefers some answers to others by
    several nats.
    """
    problem = run.problem
    torch.manual_seed(REFERENCE_SEED)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=problem.vocabulary,
            n_positions=2 + problem.limit,
            n_embd=problem.hidden_size,
            n_layer=problem.layers,
            n_head=4,
            activation_function="gelu",
            initializer_range=problem.spread,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    reference = copy.deepcopy(model)
    torch.manual_seed(run.seed)
    needs, width = run.objective.needs, problem.hidden_size
    head = PartitionHead(width, run.head) if needs.head else None
    critic = Critic(width, CriticConfig()) if needs.critic else None
    return Policy(model, head=head, critic=critic, reference=reference)


def build_learner(run: Run, policy: Policy) -> Learner:
    """AdamW on model, head and critic; gradients are practically never scaled down."""
    settings = run.settings
    head_rate = run.head.learning_rate and settings.head_learning_rate
    parts = [
        (policy.model, settings.learning_rate),
        (policy.head, head_rate or settings.learning_rate),
        (policy.critic, settings.head_learning_rate),
    ]
    groups = [
        group
        for part, rate in parts
        if part is not None
        for group in parameter_groups(part.parameters(), rate, weight_decay=0.0)
    ]
    count = settings.groups * run.problem.questions // settings.mini_batches
    config = OptimizerConfig(mini_batch_questions=count, max_grad_norm=100.0)
    return Learner(policy, run.objective, adamw(groups, (0.9, 0.99)), config)


class Listed:
    """A run's problem as its trainer asks for it: rewards and reference log-probs by look-up."""

    def __init__(self, run: Run, policy: Policy) -> None:
        self.run, self.problem, self.policy = run, run.problem, policy
        self.listing = Listing.of(run.problem)
        with policy.as_reference() as model:
            self.ref_tokens = self.listing.token_logprobs(model)  # (Q, N, L)
        self.log_ref = self.ref_tokens.sum(-1)  # (Q, N)
        self.prompts = [Prompt(str(q), "", ids, {}) for q, ids in enumerate(self.problem.prompts)]
        self.engine = build_engine("embedded", None, MAX_BATCH)
        self.sampling = Sampling(
            max_tokens=self.problem.limit, stop_ids=(0,) if self.problem.mixed else ()
        )

    def sample(self, seed: int, version: int) -> Rows:
        """A rollout batch: `groups` groups of each question."""
        settings, policy = self.run.settings, self.policy
        asked = [prompt for prompt in self.prompts for _ in range(settings.groups)]
        self.engine.update(policy, version)
        groups = sorted(
            sample(self.engine, asked, settings.group_size, self.sampling, seed=seed),
            key=lambda group: group.place,
        )
        place = [self.problem.index[tuple(ids)] for group in groups for ids in group.answers]
        question = [int(group.prompt.key) for group in groups for _ in group.answers]
        rows = to_rows(groups, self.problem.rewards[question, place].float(), policy.device)
        width = rows.answers.mask.shape[1]
        found = {"ref_logprobs": self.ref_tokens[question, place, :width].float()}
        if self.run.objective.needs.values:
            found["values"] = policy.score_values(rows.prompt_ids, rows.answer_ids)
        return rows.with_answers(rows.answers.replace(**found))

    def sample_reference(self, keys: list[str]) -> tuple[Tensor, Tensor]:
        """Rewards and summed log-probs (questions, answers) of as many reference answers as a
        question gets in a rollout batch, for an offline log Z."""
        settings = self.run.settings
        count = settings.groups * settings.group_size
        generator = torch.Generator().manual_seed(self.run.seed)
        questions = torch.tensor([int(key) for key in keys])[:, None]
        log_ref = self.log_ref[questions[:, 0]]
        places = log_ref.exp().multinomial(count, replacement=True, generator=generator)
        return self.problem.rewards[questions, places].float(), log_ref.gather(1, places).float()


def used_log_z(listed: Listed, memory: Memory | None) -> Tensor | None:
    """(Q,) the log Z that the objective uses for each question, where it holds one."""
    policy, problem = listed.policy, listed.problem
    if memory is not None:
        known = memory.log_z
        return torch.tensor([known[p.key] for p in listed.prompts]) if known else None
    if policy.head is None:
        return None
    policy.eval()
    tokens = collate(problem.prompts, [problem.answers[0]] * problem.questions)
    with torch.no_grad():
        return policy(tokens).log_z


def train(run: Run) -> dict[str, Any]:
    """The run's measures over training and at the end, as JSON can hold them."""
    began, cpu = time.monotonic(), time.process_time()
    problem, objective, settings = run.problem, run.objective, run.settings
    policy = build_policy(run)
    learner, listed = build_learner(run, policy), Listed(run, policy)
    memory = objective.memory(listed.sample_reference)
    log_target, log_z_true = problem.target(listed.log_ref)
    history = []
    due = {
        round(k * run.rollouts / settings.measurements) for k in range(settings.measurements + 1)
    }
    for step in range(run.rollouts + 1):
        if step in due:
            log_pi = listed.listing.logprobs(policy.model)
            row = measures(log_pi, log_target, problem.rewards, problem.modes)
            log_z = used_log_z(listed, memory)
            if log_z is not None:
                row["log_z"] = log_z.mean().item()
            row["log_z_own"] = (log_z_true - kl(log_pi, log_target)).mean().item()
            history.append({"step": step * settings.mini_batches} | row)
        if step == run.rollouts:
            break
        rows = listed.sample(run.seed * 1_000_003 + step, learner.version)
        answers = objective.prepare(rows.answers)
        if memory is not None:
            answers, _ = memory.fill(answers, rows.keys)
        set_rate(learner.optimizer, rate_factor(step, "linear", 10, run.rollouts))
        learner.learn(rows.with_answers(answers), seed=f"{run.seed}/{step}")
    log_pi = listed.listing.logprobs(policy.model)
    result: dict[str, Any] = {
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - cpu,
        "target": measures(log_target, log_target, problem.rewards, problem.modes),
        "log_z_true": log_z_true.mean().item(),
        "history": history,
        "final": history[-1] | predicted(run, listed, log_pi, used_log_z(listed, memory)),
    }
    if len(problem.answers) <= KEPT:
        result["distribution"] = {
            "target": [round(p, 7) for p in log_target[0].exp().tolist()],
            "policy": [round(p, 7) for p in log_pi[0].exp().tolist()],
        }
    return result


def predicted(run: Run, listed: Listed, log_pi: Tensor, log_z: Tensor | None) -> dict[str, float]:
    """The fixed point that the formula gives, and how far the policy is from it.

    ``predicted_kl`` KL(predicted‖π*), ``kl_to_predicted`` KL(π‖predicted), ``log_z_error`` mean
    |log Zφ − z|; nothing where no formula is known.
    """
    choices, problem = run.prediction or run.objective, listed.problem
    found = [
        choices.fixed_point(log_ref, rewards, problem.lengths, run.settings.group_size)
        for log_ref, rewards in zip(listed.log_ref, problem.rewards, strict=True)
    ]
    points = [point for point in found if point is not None]
    if not points:
        return {}
    log_fixed = torch.stack([point.log_pi for point in points])
    values = {
        "predicted_kl": kl(log_fixed, problem.target(listed.log_ref)[0]).mean().item(),
        "kl_to_predicted": kl(log_pi, log_fixed).mean().item(),
        "prediction_change": max(point.change for point in points),
    }
    if log_z is not None:
        z = torch.tensor([point.log_z for point in points], dtype=torch.float64)
        values["log_z_error"] = (log_z.double() - z).abs().mean().item()
    return values
