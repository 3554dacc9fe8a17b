"""The loop: questions → answers → rewards → old and reference log-probs → objective → AdamW.

It knows no algorithm by name. The objective says what it needs (`Needs`): the reference, a head
for log Z, a running or offline log Z, how often an answer occurs, a critic. All randomness of step
k is derived from (seed, k), so that on a CPU a resumed run repeats an uninterrupted one bit for
bit.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowbalance.config import TrainConfig
from flowbalance.data import Prompt
from flowbalance.errors import UserError
from flowbalance.objectives import Balance
from flowbalance.policy.loading import build_policy, load_tokenizer
from flowbalance.report.display import Display, console, show_rows
from flowbalance.report.files import writing
from flowbalance.report.metrics import MetricsLog
from flowbalance.training import checkpoint
from flowbalance.training.collect import Batch, Collector
from flowbalance.training.ending import end_run
from flowbalance.training.interrupt import Interrupt
from flowbalance.training.learning import build_learner
from flowbalance.training.log_z import LogZMemory, true_log_z
from flowbalance.training.memory import naming_the_field
from flowbalance.training.metrics import learning_metrics, shown
from flowbalance.training.optim import rate_factor, set_rate
from flowbalance.training.patience import NONE_KNOWN, NOT_FINITE, NOTHING_KEPT, Patience
from flowbalance.training.reset import ResetRule
from flowbalance.training.run import choose_device, point_latest, set_threads
from flowbalance.training.scoring import score
from flowbalance.training.setup import (
    build_held_out,
    build_rewards,
    build_sampling,
    facts,
    load_questions,
)
from flowbalance.training.spent import Spent


class Trainer:
    """One run: build it from a recipe (and a checkpoint to go on from), then `run`."""

    def __init__(self, config: TrainConfig, folder: Path, resume: Path | None = None) -> None:
        set_threads(config)
        self.config, self.folder = config, folder
        self.device = choose_device(config.device)
        torch.manual_seed(config.seed)
        self.objective = config.build_objective()
        self.needs = self.objective.needs
        self.tokenizer = load_tokenizer(str(resume or config.model.path))
        with naming_the_field("loading the model"):
            self.policy = build_policy(
                config.model,
                config.head if self.needs.log_z == "head" else None,
                critic=config.critic if self.needs.values else None,
                reference=self.needs.reference
                or config.log.reference_kl
                or self.needs.log_z == "offline",
                temperature=config.rollout.temperature,
                device=self.device,
                tokenizer=self.tokenizer,
                checkpoint=resume,
            )
        self.questions = load_questions(config, self.tokenizer)
        self.rewards = build_rewards(config)
        self.sampling = build_sampling(config, self.tokenizer, self.policy.model)
        self.held_out = build_held_out(
            config, self.questions, self.rewards, self.tokenizer, self.policy
        )
        self.learner = build_learner(self.policy, self.objective, config)
        self.memory: LogZMemory | None = None
        if isinstance(self.objective, Balance) and self.needs.log_z in ("running", "offline"):
            self.memory = LogZMemory(self.objective, self._judge_reference)
        self.collector = Collector(
            config, self.policy, self.tokenizer, self.questions.train, self.sampling, self.rewards
        )
        self.reset = ResetRule(config.reset)
        if config.reset.active:
            self.policy.require_like_reference()
        self.patience = Patience(folder)
        self.step, self.spent = 0, Spent()
        self.row: dict[str, float] = {}  # metrics of the latest step
        self.before: dict[str, float] = {}  # held-out scores before the first step
        self.after: dict[str, float] = {}  # and the latest ones
        self.right: list[float] | None = None  # each held-out question's, where it is exact
        self.seconds: dict[str, float] = {}
        self.learning = False  # whether the step at hand has begun to change weights
        self.stopped_by = 0  # number of the signal that ended the run early
        if resume is not None:
            self._restore(checkpoint.load_state(resume))

    # --- the loop ------------------------------------------------------------------------------

    def run(self) -> Path:
        """Train to the end, or until interrupted; the last checkpoint's folder."""
        config = self.config
        batch = config.rollout.questions * config.rollout.num_generations
        total = min(config.train.steps, (config.train.answers or sys.maxsize) // batch)
        point_latest(self.folder)
        show_rows(
            f"flowbalance train: {config.algorithm}", facts(config, self.policy, self.questions)
        )
        log = MetricsLog(
            self.folder,
            config.log.backends,
            project=config.log.project,
            config=config.model_dump(mode="json"),
            start=self.step,
        )
        with contextlib.ExitStack() as stack:
            stack.callback(log.close)
            display = stack.enter_context(Display(config.algorithm, total, self.step))
            interrupt = stack.enter_context(Interrupt())
            if self.step == 0 and self.held_out:
                self.before = self._evaluate(display)
                first = {f"test/{name}": score for name, score in self.before.items()}
                seconds = {"seconds/evaluation": self.seconds["evaluation"]}
                log.log(0, true_log_z(config, self.right) | first | seconds)
            if self.step > log.last:  # killed after saving, before its last row was written
                self._report(log, display, evaluate=True)
            while not self.done and not interrupt.requested:
                self.row = self._step_or_save(display)
                self.step += 1
                self.row |= {f"seconds/{phase}": s for phase, s in self.seconds.items()}
                if self.done or interrupt.requested or self._every(config.checkpoint.every):
                    self._save()
                self._report(log, display, evaluate=not interrupt.requested)
            if self.step == 0:
                self._save()
            if self.done and self.held_out and not self.after:
                self.after = self._evaluate(display)
        self.stopped_by = 0 if self.done else interrupt.number
        saved = self.folder / f"{checkpoint.PREFIX}{self.step:06}"
        if not self.done:
            console.print(
                f"stopped after step {self.step} of {total}; go on with: "
                f"flowbalance train --resume {self.folder}"
            )
        else:
            end_run(self.folder, saved, self._summary())
        return saved

    def _report(self, log: MetricsLog, display: Display, *, evaluate: bool) -> None:
        """Write the step's row, with held-out scores where they are due."""
        due = self.done or (evaluate and self._every(self.config.evaluation.every))
        if self.held_out and due:
            self.after = self._evaluate(display)
            self.row |= {f"test/{name}": score for name, score in self.after.items()}
            self.row["seconds/evaluation"] = self.seconds["evaluation"]
        log.log(self.step, self.row)
        if self.done:  # dropped answers end a run before its last step
            display.total = self.step
        display.update(self.step, shown(self.row))

    @property
    def done(self) -> bool:
        """Whether all steps are taken, or what is left of the answers is less than a batch."""
        offline = self.needs.log_z == "offline"
        exhausted = self.spent.exhausted(self.config, with_reference=offline)
        return exhausted or self.step >= self.config.train.steps

    def _every(self, steps: int) -> bool:
        return steps > 0 and self.step % steps == 0

    def _step_or_save(self, display: Display) -> dict[str, float]:
        """One step; one that fails before it has changed weights saves what was learned so far."""
        self.learning = False
        began = time.process_time()
        try:
            metrics = self._one_step(display)
            self.spent.cpu_seconds += time.process_time() - began
            return metrics
        except UserError:
            if self.step and not self.learning:
                with contextlib.suppress(UserError):
                    self._save()
            raise

    def _one_step(self, display: Display) -> dict[str, float]:
        config, began = self.config, time.monotonic()
        progress = self.spent.progress(config, self.step)
        self.seconds = {}
        batch = self.collector.collect(
            self.step,
            self.spent.questions,
            self.spent.left(config),
            lambda name: self._phase(name, display),
        )
        if self.memory is not None and batch.experience is not None:
            with self._phase("log Z", display):
                batch = batch.without(self.memory.unknown(batch.experience.prompts))
        metrics = batch.metrics
        experience = batch.experience
        if experience is None:
            known = max(metrics["reward/unknown"], metrics.get("log_z/unknown", 0)) < 1
            self.patience.note(self.step + 1, NOTHING_KEPT if known else NONE_KNOWN)
            self._count(batch, metrics)
            self._reset_if_due(metrics)
            return metrics
        answers = score(
            experience,
            batch.rewards,
            self.policy,
            self.needs,
            config,
            lambda name: self._phase(name, display),
        )
        answers = self.objective.prepare(answers)
        if self.memory is not None:
            with self._phase("log Z", display):
                answers, report = self.memory.fill(answers, experience.prompts)
            metrics |= report
        # The schedule counts rollout steps: all mini-batches of a step share a rate.
        train = config.train
        set_rate(
            self.learner.optimizer,
            rate_factor(
                self.step,
                train.schedule,
                train.warmup_steps,
                train.steps,
                progress=progress,
            ),
        )
        self.learning = True
        with self._phase("learning", display):
            learned = self.learner.learn(
                answers,
                experience.prompt_ids,
                experience.answers,
                seed=f"{config.seed}/{self.step}",
            )
        useless = learned.skipped == len(learned.losses)
        self.patience.note(self.step + 1, NOT_FINITE if useless else None)
        self.spent.optimizer_steps += len(learned.losses) - learned.skipped
        metrics |= learning_metrics(learned, self.objective)
        metrics["learning_rate"] = self.learner.optimizer.param_groups[0]["lr"]
        self._count(batch, metrics)
        self._reset_if_due(metrics)
        metrics["tokens_per_second"] = batch.tokens / (time.monotonic() - began)
        return metrics

    def _count(self, batch: Batch, metrics: dict[str, float]) -> None:
        """Only of steps that came to their end: one that fails is taken again after a resume."""
        self.spent.questions += batch.questions
        self.spent.answers += batch.answers
        self.spent.tokens += batch.tokens
        metrics["answers"] = float(self.spent.answers)

    def _judge_reference(self, prompts: list[Prompt]) -> tuple[Tensor, Tensor]:
        # Remembered with the log Z that comes of them, even if the step fails.
        rewards, logprobs, tokens = self.collector.judge_reference(prompts, self.step)
        self.spent.answers += rewards.numel()
        self.spent.tokens += tokens
        return rewards, logprobs

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

    # --- evaluation, saving ----------------------------------------------------------------------

    def _evaluate(self, display: Display) -> dict[str, float]:
        assert self.held_out is not None
        with self._phase("evaluation", display):
            scores, rows, self.right = self.held_out.evaluate(self.policy, self.tokenizer)
        with writing(self.folder / "samples.jsonl"), (self.folder / "samples.jsonl").open("a") as f:
            for row in rows:
                f.write(json.dumps({"step": self.step} | row, ensure_ascii=False) + "\n")
        return scores

    def _save(self) -> None:
        cuda = self.device.type == "cuda"
        state = {
            "step": self.step,
            "spent": self.spent.state_dict(),
            "reset": self.reset.state_dict(),
            "row": self.row,
            "before": self.before,
            "optimizer": self.learner.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if cuda else None,
            "log_z": self.memory.state_dict() if self.memory is not None else None,
        }
        checkpoint.save(
            self.folder,
            self.step,
            self.policy,
            self.tokenizer,
            state,
            keep=self.config.checkpoint.keep,
            reference=self.reset.resets > 0,
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.spent = state["step"], Spent(**state["spent"])
        self.reset.load_state_dict(state["reset"])
        self.row, self.before = state["row"], state["before"]
        self.learner.optimizer.load_state_dict(state["optimizer"])
        if self.memory is not None:
            self.memory.load_state_dict(state["log_z"])
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda" and state["random_cuda"] is not None:
            torch.cuda.set_rng_state(state["random_cuda"], self.device)

    def _summary(self) -> dict[str, Any]:
        return {
            "algorithm": self.config.algorithm,
            "seed": self.config.seed,
            "steps": self.step,
            **self.spent.summary(),
            "before": self.before,
            "after": self.after,
        }

    @contextlib.contextmanager
    def _phase(self, name: str, display: Display) -> Iterator[None]:
        """Time a phase; a shortage of memory in it names the field to lower."""
        display.now(name)
        began = time.monotonic()
        with naming_the_field(name):
            yield
        key = name.replace(" ", "_")
        self.seconds[key] = self.seconds.get(key, 0.0) + time.monotonic() - began
