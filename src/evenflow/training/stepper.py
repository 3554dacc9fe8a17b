"""One step: questions → answers → rewards → old and reference log-probs → objective → AdamW.

It knows no algorithm and no engine by name. The objective says what it needs (`Needs`): the
reference, a head for log Z, answers of the reference, how often an answer occurs, a critic. All
randomness of step k is derived from (seed, k), so that on a CPU a resumed run repeats an
uninterrupted one bit for bit.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evenflow.config import TrainConfig
from evenflow.data import Prompt
from evenflow.imports import ask, calling
from evenflow.objectives import Answers, Objective
from evenflow.policy.policy import Policy
from evenflow.rollout.collect import Batch, Collector, Phase
from evenflow.rollout.engine import limits_of
from evenflow.rollout.group import Group, count_answers, count_tokens
from evenflow.rollout.packing import Gone
from evenflow.rollout.replay import Replay
from evenflow.rollout.stream import Stream
from evenflow.run.console import console
from evenflow.training.budget import Spent
from evenflow.training.gap import require_small_gap
from evenflow.training.learning import ALGORITHM, build_learner
from evenflow.training.metrics import learning_metrics
from evenflow.training.optim import load_moments
from evenflow.training.reset import ResetRule
from evenflow.training.scoring import Rows, padded, rewards_of, score, to_rows
from evenflow.training.stall import NONE_KNOWN, NOT_FINITE, NOTHING_KEPT, Patience

OF_REFERENCE = -1
"""Version of the reference, which is no version of the policy."""
REFERENCE_SEEDS = 500_000
"""Apart from the seeds of the policy's own answers."""


class Stepper:
    """Takes the steps of a run, and knows what of it lies between two steps."""

    def __init__(
        self,
        config: TrainConfig,
        objective: Objective,
        policy: Policy,
        collector: Collector,
        folder: Path,
    ) -> None:
        """`folder` is the run's, as it is named in sentences."""
        self.config, self.objective, self.needs = config, objective, objective.needs
        self.policy, self.collector, self.engine = policy, collector, collector.engine
        limits = limits_of(self.engine, collector.questions)
        self.exact = limits.exact
        self.stream = Stream(
            collector,
            policy,
            lag=config.rollout.lag,
            steps=config.train.steps,
            beside=limits.beside,
            check=None if self.exact else self._check_ahead,
        )
        self.replay = Replay(config.rollout.replay)
        self.learner = build_learner(policy, objective, config)
        with calling(ALGORITHM, objective, "memory"):
            self.memory = objective.memory(self._judge_reference)
        self.reset = ResetRule(config.reset)
        if config.reset.active:
            policy.require_like_reference()
        self.patience, self.spent = Patience(folder), Spent()
        self.step = 0
        self.asked: dict[str, Prompt] = {}  # of the step at hand, by key

    @property
    def whole(self) -> bool:
        """Whether no weight has moved since the last step that came to its end, and was counted."""
        return self.learner.version == self.spent.optimizer_steps

    def take(self, step: int, phase: Phase) -> dict[str, float]:
        """Take `step` (from 0), with `phase(name)` around each part; its numbers by name."""
        config, began = self.config, time.monotonic()
        self.step = step
        progress = self.spent.progress(config, step)
        self.stream.publish(step, self.learner.version, self.spent.answers)
        batch, seconds = self.stream.take(phase)
        metrics = batch.metrics | {f"seconds/{name}": spent for name, spent in seconds.items()}
        groups = batch.groups + self.replay.draw(f"{config.seed}/{step}/replay")
        self.asked = {group.prompt.key: group.prompt for group in groups}
        if self.memory is not None and groups:
            with phase("log Z"):
                unknown = self.memory.unknown(list(self.asked))
            if unknown:
                all_answers = count_answers(groups)
                groups = [group for group in groups if group.prompt.key not in unknown]
                metrics["log_z/unknown"] = 1 - count_answers(groups) / all_answers
        if not groups:
            known = max(metrics["reward/unknown"], metrics.get("log_z/unknown", 0)) < 1
            self.patience.note(step + 1, NOTHING_KEPT if known else NONE_KNOWN)
            self._count(batch, metrics)
            self._reset_if_due(metrics)
            return metrics
        rewards, penalty = rewards_of(groups, config)
        if penalty is not None:
            metrics["reward/overlong"] = -penalty.mean().item()
        rows = to_rows(groups, rewards, self.policy.device)
        rows = self._scored(rows, phase)
        answers = ask(ALGORITHM, self.objective, "prepare", rows.answers, gives=Answers)
        before: dict[str, Any] = {}
        if self.memory is not None:
            before = copy.deepcopy(self.memory.state_dict())
            with phase("log Z"):
                answers, report = self.memory.fill(answers, rows.keys)
            metrics |= report
        rate = self.learner.set_rate(step, progress)
        try:
            with phase("learning"):
                seed = f"{config.seed}/{step}"
                learned = self.learner.learn(rows.with_answers(answers), seed=seed)
            useless = learned.skipped == len(learned.losses)
            self.patience.note(step + 1, NOT_FINITE if useless else None)
        except Exception:  # the step is taken again
            if self.memory is not None:
                self.memory.load_state_dict(before)
            raise
        metrics |= learning_metrics(learned, self.objective)
        metrics["learning_rate"] = rate
        self._count(batch, metrics)
        self._reset_if_due(metrics)
        metrics["tokens_per_second"] = batch.tokens / (time.monotonic() - began)
        self.spent.optimizer_steps = self.learner.version  # last: see `whole`
        return metrics

    def _scored(self, rows: Rows, phase: Phase) -> Rows:
        """With all that is asked of them before anything is learned. UserError where the engine's
        log-probs are not those of the policy."""
        config, learner = self.config, self.learner
        rescore = learner.needs_old_logprobs(rows, exact=self.exact)
        rows = score(rows, self.policy, self.needs, config, phase, rescore=rescore)
        if config.rollout.largest_gap is not None and not self.exact:
            with phase("sampler gap"):
                self._check_gap(rows, self.policy, learner.version, self.step)
        if learner.corrects(rows, exact=self.exact):
            rows = replace(rows, before=learner.version)
        return rows

    def _check_gap(
        self, rows: Rows, policy: Policy, version: int, step: int
    ) -> tuple[float, float] | None:
        rollout = self.config.rollout
        return require_small_gap(
            rows,
            policy,
            version,
            math.inf if rollout.largest_gap is None else rollout.largest_gap,
            self.config.train.micro_batch_tokens,
            f"rollout.engine: {rollout.engine}, step {step + 1}",
        )

    def _check_ahead(
        self, groups: list[Group], policy: Policy, version: int, step: int
    ) -> dict[str, float]:
        """The gap of groups that the learner meets when its policy is another one."""
        rows = to_rows(groups, torch.zeros(count_answers(groups)), policy.device)
        gap = self._check_gap(rows, policy, version, step)
        return {"sampler/gap_mean": gap[0], "sampler/gap": gap[1]} if gap else {}

    def _count(self, batch: Batch, metrics: dict[str, float]) -> None:
        """Only of steps that came to their end: one that fails is taken again after a resume."""
        self.replay.add(batch.groups)
        self.spent.questions += batch.questions
        self.spent.answers += batch.answers
        self.spent.tokens += batch.tokens
        metrics["answers"] = float(self.spent.answers)

    def _judge_reference(self, keys: list[str]) -> tuple[Tensor, Tensor]:
        """Rewards and summed log-probs (questions, answers) of the reference's own answers."""
        with self.stream.paused(), self.policy.as_reference() as model:
            reference = Policy(model, compute_dtype=self.policy.compute_dtype)
            self.engine.update(reference, OF_REFERENCE)
            groups, _ = self.collector.judge(
                [self.asked[key] for key in keys],
                self.step + REFERENCE_SEEDS,
                lambda _: contextlib.nullcontext(),
            )
        # Remembered with the log Z that comes of them, even if the step fails.
        self.spent.answers += count_answers(groups)
        self.spent.tokens += count_tokens(groups)
        logprobs = padded(
            [row for group in groups for row in group.logprobs], self.policy.device
        ).sum(1)
        rewards = torch.tensor([group.total for group in groups], device=self.policy.device)
        return rewards, logprobs.view(rewards.shape)

    def _reset_if_due(self, metrics: dict[str, float]) -> None:
        """The policy becomes the reference; AdamW's moments and a running log Z are forgotten."""
        if not self.config.reset.active:
            return
        kl = metrics.get("kl/reference", 0.0)  # nothing kept, nothing moved
        reason = self.reset.due(self.step + 1, metrics["accuracy"], kl)
        metrics["resets"] = float(self.reset.resets)
        if reason is None:
            return
        console.print(f"step {self.step + 1}: reference reset ({reason})")
        self.policy.reset_reference()
        if self.config.reset.optimizer:
            self.learner.optimizer.state.clear()
        if self.memory is not None:
            self.memory.forget()

    def summary(self, step: int) -> dict[str, float]:
        """What the run has spent, under the names of summary.json; with a budget of answers that
        the reference's share, too, batches that were sampled ahead may be left at its end."""
        waiting = [each.batch for each in self.stream.waiting(step)]
        spent = replace(
            self.spent,
            answers=self.spent.answers + sum(batch.answers for batch in waiting),
            tokens=self.spent.tokens + sum(batch.tokens for batch in waiting),
        )
        return spent.summary()

    def state_dict(self, step: int) -> dict[str, Any]:
        """What a checkpoint of `step` keeps."""
        return {
            "stream": self.stream.state_dict(step),
            "replay": self.stream.packing.pack(self.replay.groups),
            "spent": self.spent.state_dict(),
            "reset": self.reset.state_dict(),
            "patience": self.patience.state_dict(),
            "optimizer": self.learner.optimizer.state_dict(),
            "log_z": self.memory.state_dict() if self.memory is not None else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._load_samples(state)
        self.spent = Spent(**state["spent"])
        self.reset.load_state_dict(state["reset"])
        self.patience.load_state_dict(state.get("patience", {}))  # earlier versions: none
        if self.patience.ended:  # who goes on has mended something, perhaps the reward
            self.stream.forget(state["step"])
        self.learner.version = self.spent.optimizer_steps
        load_moments(self.learner.optimizer, state["optimizer"])
        if self.memory is not None:
            self.memory.load_state_dict(state["log_z"])

    def _load_samples(self, state: dict[str, Any]) -> None:
        """What was sampled and not learned from yet, or is to be learned from once more."""
        spent = state["spent"]
        self.stream.begin(state["step"], spent["questions"], spent["answers"])
        if "stream" not in state:  # of earlier versions, which sampled in turns
            return
        try:
            groups = self.stream.packing.unpack(state["replay"])
            self.stream.load_state_dict(state["stream"])
        except Gone as gone:
            console.print(f"{gone}: what was sampled ahead, or kept to be replayed, is left out")
        else:
            self.replay.groups = groups
