"""The loop: questions → answers → rewards → old and reference log-probs → objective → AdamW.

It knows no algorithm by name. The objective says what it needs (`Needs`): the reference, a head
for log Z, a running or offline log Z, how often an answer occurs, a critic. All randomness of step
k is derived from (seed, k), so that on a CPU a resumed run repeats an uninterrupted one bit for
bit.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evenflow.config import TrainConfig
from evenflow.data import Prompt
from evenflow.errors import UserError
from evenflow.objectives import Balance
from evenflow.policy.loading import load_tokenizer
from evenflow.rollout.collect import Batch, Collector
from evenflow.run import checkpoints
from evenflow.run.console import Display, console, show_rows
from evenflow.run.folder import choose_device, point_latest, set_threads
from evenflow.run.interrupt import Interrupt
from evenflow.run.out_of_memory import naming_the_field
from evenflow.run.tracking import MetricsLog
from evenflow.training import checkpoint
from evenflow.training.budget import Spent
from evenflow.training.build import (
    build_held_out,
    build_rewards,
    build_sampling,
    facts,
    load_questions,
    policy_to_train,
)
from evenflow.training.ending import end_run, not_ended
from evenflow.training.inputs import compared, marks_of
from evenflow.training.learning import build_learner
from evenflow.training.log_z import LogZMemory, true_log_z
from evenflow.training.metrics import learning_metrics, shown
from evenflow.training.reset import ResetRule
from evenflow.training.scoring import score
from evenflow.training.stall import NONE_KNOWN, NOT_FINITE, NOTHING_KEPT, Patience


class Trainer:
    """One run: build it from a recipe (and a checkpoint to go on from), then `run`.

    Questions and weights that are read again must be as they were, unless `changed_inputs`.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        resume: Path | None = None,
        *,
        changed_inputs: bool = False,
    ) -> None:
        set_threads(config)
        # In full: a reward may go to another directory.
        self.config, self.folder = config, folder.absolute()
        resume = resume and resume.absolute()
        self.device = choose_device(config.device)
        torch.manual_seed(config.seed)
        self.objective = config.build_objective()
        self.needs = self.objective.needs
        self.tokenizer = load_tokenizer(str(resume or config.model.path))
        self.policy = policy_to_train(config, self.device, self.tokenizer, resume)
        checkpoint.try_save(folder, self.policy.model, self.tokenizer)
        self.questions = load_questions(config, self.tokenizer)
        self.rewards = build_rewards(config)
        self.sampling = build_sampling(config, self.tokenizer, self.policy.model, self.questions)
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
        self.patience = Patience(self.folder)
        self.step, self.spent = 0, Spent()
        self.saved: int | None = None  # the step of the newest checkpoint
        self.row: dict[str, float] = {}  # metrics of the latest step
        self.before: dict[str, float] = {}  # held-out scores before the first step
        self.after: dict[str, float] = {}  # and the latest ones
        self.right: list[float] | None = None  # each held-out question's, where it is exact
        self.seconds: dict[str, float] = {}
        self.learning = False  # whether the step at hand has begun to change weights
        self.stopped_by = 0  # number of the signal that ended the run early
        self.inputs = marks_of(config, self.questions, again=resume is not None)
        if resume is not None:
            state = checkpoint.load_state(resume)
            with checkpoint.fitting(resume):
                self.inputs = compared(
                    state.get("inputs"), self.inputs, resume, allowed=changed_inputs
                )
                self._restore(state)

    # --- the loop ------------------------------------------------------------------------------

    def run(self) -> Path:
        """Train to the end, or until interrupted; the last checkpoint's folder."""
        config = self.config
        batch = config.rollout.questions * config.rollout.num_generations
        total = min(config.train.steps, (config.train.answers or sys.maxsize) // batch)
        point_latest(self.folder)
        show_rows(
            f"evenflow train: {config.algorithm}",
            facts(config, self.policy, self.questions, self.tokenizer),
        )
        log = MetricsLog(
            self.folder,
            config.log.backends,
            project=config.log.project,
            config=config.model_dump(mode="json"),
            start=self.step,
            due=self.due,
        )
        with contextlib.ExitStack() as stack:
            stack.callback(log.close)
            display = stack.enter_context(Display(config.algorithm, total, self.step))
            interrupt = stack.enter_context(Interrupt())
            try:
                self._begin(log, display)
                while not self.done and not interrupt.requested:
                    self._step(display)
                    if self.done or interrupt.requested or self._every(config.checkpoint.every):
                        self._save()
                    self._report(log, display, evaluate=self.done or not interrupt.requested)
            except UserError:
                if self.step and not self.learning:  # what was learned so far is whole
                    with contextlib.suppress(UserError):
                        self._save()
                raise
            self._save()  # the signal may have come after the last step's turn to save
        self.stopped_by = 0 if self.done else interrupt.number
        saved = self.folder / f"{checkpoints.PREFIX}{self.step:06}"
        if not self.done:
            console.print(
                f"stopped after step {self.step} of {total}; go on with: "
                f"evenflow train --resume {self.folder}",
                markup=False,
            )
        else:
            end_run(self.folder, saved, self._summary())
        return saved

    def _begin(self, log: MetricsLog, display: Display) -> None:
        """Evaluate before the first step; write the row, or make up the evaluation, that the run
        lacks because it was stopped or killed after it had saved."""
        if self.step == 0:
            if self.held_out:
                columns, samples = self._evaluate(display)
                self.before = self.after
                log.log(0, true_log_z(self.config, self.right) | columns, samples)
        elif self.step > log.last:
            self._report(log, display)
        else:
            self.after = log.scores
        if not self.done:
            not_ended(self.folder)

    def _report(self, log: MetricsLog, display: Display, *, evaluate: bool = True) -> None:
        """Write the step's row, with held-out scores where they are due."""
        samples: list[dict[str, Any]] = []
        if self.due and evaluate:
            columns, samples = self._evaluate(display)
            self.row |= columns
        log.log(self.step, self.row, samples)
        if self.done:  # dropped answers end a run before its last step
            display.total = self.step
        display.update(self.step, shown(self.row))

    @property
    def done(self) -> bool:
        """Whether all steps are taken, or what is left of the answers is less than a batch."""
        offline = self.needs.log_z == "offline"
        exhausted = self.spent.exhausted(self.config, with_reference=offline)
        return exhausted or self.step >= self.config.train.steps

    @property
    def due(self) -> bool:
        """Whether an evaluation is to follow on the latest step."""
        asked = self.done or self._every(self.config.evaluation.every)
        return self.held_out is not None and asked

    def _every(self, steps: int) -> bool:
        return steps > 0 and self.step % steps == 0

    def _step(self, display: Display) -> None:
        began = time.process_time()
        self.row = self._one_step(display)
        self.row |= {f"seconds/{phase}": s for phase, s in self.seconds.items()}
        self.spent.cpu_seconds += time.process_time() - began
        self.step, self.learning = self.step + 1, False

    def _one_step(self, display: Display) -> dict[str, float]:
        config, began = self.config, time.monotonic()
        progress = self.spent.progress(config, self.step)
        self.seconds = {}
        phase = functools.partial(self._phase, display=display)
        asked, left = self.spent.questions, self.spent.left(config)
        batch = self.collector.collect(self.step, asked, left, phase)
        if self.memory is not None and batch.experience is not None:
            with phase("log Z"):
                batch = batch.without(self.memory.unknown(batch.experience.prompts))
        metrics = batch.metrics
        experience = batch.experience
        if experience is None:
            known = max(metrics["reward/unknown"], metrics.get("log_z/unknown", 0)) < 1
            self.patience.note(self.step + 1, NOTHING_KEPT if known else NONE_KNOWN)
            self._count(batch, metrics)
            self._reset_if_due(metrics)
            return metrics
        answers = score(experience, batch.rewards, self.policy, self.needs, config, phase)
        answers = self.objective.prepare(answers)
        if self.memory is not None:
            with phase("log Z"):
                answers, report = self.memory.fill(answers, experience.prompts)
            metrics |= report
        rate = self.learner.set_rate(self.step, progress)
        self.learning = True
        with phase("learning"):
            ids, seed = experience.prompt_ids, f"{config.seed}/{self.step}"
            learned = self.learner.learn(answers, ids, experience.answers, seed=seed)
        useless = learned.skipped == len(learned.losses)
        self.patience.note(self.step + 1, NOT_FINITE if useless else None)
        self.spent.optimizer_steps += len(learned.losses) - learned.skipped
        metrics |= learning_metrics(learned, self.objective)
        metrics["learning_rate"] = rate
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

    def _evaluate(self, display: Display) -> tuple[dict[str, float], list[dict[str, Any]]]:
        """The row's columns with held-out scores, and some of the answers."""
        assert self.held_out is not None
        with self._phase("evaluation", display):
            self.after, samples, self.right = self.held_out.evaluate(self.policy, self.tokenizer)
        columns = {f"test/{name}": score for name, score in self.after.items()}
        return columns | {"seconds/evaluation": self.seconds["evaluation"]}, samples

    def _save(self) -> None:
        """Save, unless that is done: a moment without the step's checkpoint would risk it."""
        if self.saved == self.step:
            return
        state = {
            "step": self.step,
            "spent": self.spent.state_dict(),
            "reset": self.reset.state_dict(),
            "patience": self.patience.state_dict(),
            "row": self.row,
            "before": self.before,
            "optimizer": self.learner.optimizer.state_dict(),
            "log_z": self.memory.state_dict() if self.memory is not None else None,
            "inputs": self.inputs,
        } | checkpoint.random_state(self.device)
        checkpoint.save(
            self.folder,
            self.step,
            self.policy,
            self.tokenizer,
            state,
            keep=self.config.checkpoint.keep,
            reference=self.reset.resets > 0,
        )
        self.saved = self.step

    def _restore(self, state: dict[str, Any]) -> None:
        self.step = self.saved = state["step"]
        self.spent = Spent(**state["spent"])
        self.reset.load_state_dict(state["reset"])
        self.patience.load_state_dict(state.get("patience", {}))  # earlier versions: none
        self.row, self.before = state["row"], state["before"]
        self.learner.optimizer.load_state_dict(state["optimizer"])
        if self.memory is not None:
            self.memory.load_state_dict(state["log_z"])
        checkpoint.set_random_state(state, self.device)

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
