"""The loop: questions → answers → rewards → old and reference log-probs → objective → AdamW.

It knows no algorithm by name. The objective says what it needs (`Needs`): the reference, a head
for log Z, a running or offline log Z, how often an answer occurs. All randomness of step k is
derived from (seed, k), so that on a CPU a resumed run repeats an uninterrupted one bit for bit.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from flowbalance.config import TrainConfig
from flowbalance.data import Prompt, question_order
from flowbalance.errors import UserError
from flowbalance.objectives import Answers, Balance
from flowbalance.policy.loading import build_policy, load_tokenizer
from flowbalance.report.display import Display, before_after, console, show_rows
from flowbalance.report.files import finite, write_atomic, writing
from flowbalance.report.metrics import MetricsLog
from flowbalance.rollout.experience import Experience, reward, sample
from flowbalance.training import checkpoint
from flowbalance.training.batch import known, to_answers
from flowbalance.training.interrupt import Interrupt
from flowbalance.training.learning import Learner
from flowbalance.training.log_z import LogZMemory
from flowbalance.training.memory import naming_the_field
from flowbalance.training.metrics import learning_metrics, rollout_metrics, shown
from flowbalance.training.optim import adamw, parameter_groups, rate_factor, set_rate
from flowbalance.training.run import choose_device, point_latest, set_threads
from flowbalance.training.setup import (
    build_held_out,
    build_rewards,
    build_sampling,
    facts,
    load_questions,
)

PATIENCE = 3  # steps in a row without a finite gradient before the run stops


class Trainer:
    """One run: build it from a recipe (and a checkpoint to go on from), then `run`."""

    def __init__(self, config: TrainConfig, folder: Path, resume: Path | None = None) -> None:
        set_threads(config)
        self.config, self.folder = config, folder
        self.device = choose_device(config.device)
        torch.manual_seed(config.seed)
        self.objective = config.build_objective()
        self.needs = self.objective.needs
        self.use_reference = self.needs.reference or config.log.reference_kl
        self.tokenizer = load_tokenizer(str(resume or config.model.path))
        with naming_the_field("loading the model"):
            self.policy = build_policy(
                config.model,
                config.head if self.needs.log_z == "head" else None,
                reference=self.use_reference or self.needs.log_z == "offline",
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
        self.learner = self._learner()
        self.memory: LogZMemory | None = None
        if isinstance(self.objective, Balance) and self.needs.log_z in ("running", "offline"):
            self.memory = LogZMemory(self.objective, self._sample_reference)
        self.step = self.sampled_answers = self.fruitless = 0
        self.before: dict[str, float] = {}  # held-out scores before the first step
        self.after: dict[str, float] = {}  # and the latest ones
        self.seconds: dict[str, float] = {}
        self.learning = False  # whether the step at hand has begun to change weights
        self.stopped_by = 0  # number of the signal that ended the run early
        if resume is not None:
            self._restore(checkpoint.load_state(resume))

    # --- parts ---------------------------------------------------------------------------------

    def _learner(self) -> Learner:
        train = self.config.train
        groups = parameter_groups(
            self.policy.model.parameters(), train.learning_rate, train.weight_decay
        )
        if self.policy.head is not None:
            rate = self.config.head.learning_rate or train.learning_rate
            groups += parameter_groups(self.policy.head.parameters(), rate, train.weight_decay)
        optimizer = adamw(groups, train.betas)
        return Learner(self.policy, self.objective, optimizer, train)

    # --- the loop ------------------------------------------------------------------------------

    def run(self) -> Path:
        """Train to the end, or until interrupted; the last checkpoint's folder."""
        config, total = self.config, self.config.train.steps
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
                log.log(0, {f"test/{name}": score for name, score in self.before.items()})
            while self.step < total and not interrupt.requested:
                metrics = self._step_or_save(display)
                self.step += 1
                last = self.step == total
                if last or interrupt.requested or self._every(config.checkpoint.every):
                    self._save()
                due = last or (not interrupt.requested and self._every(config.evaluation.every))
                if self.held_out and due:
                    self.after = self._evaluate(display)
                    metrics |= {f"test/{name}": score for name, score in self.after.items()}
                metrics |= {f"seconds/{phase}": s for phase, s in self.seconds.items()}
                log.log(self.step, metrics)
                display.update(self.step, shown(metrics))
            if self.step == 0:
                self._save()
            if self.step == total and self.held_out and not self.after:
                self.after = self._evaluate(display)
        self.stopped_by = interrupt.number if self.step < total else 0
        saved = self.folder / f"{checkpoint.PREFIX}{self.step:06}"
        if self.step < total:
            console.print(
                f"stopped after step {self.step} of {total}; go on with: "
                f"flowbalance train --resume {self.folder}"
            )
        else:
            self._finish(saved)
        return saved

    def _every(self, steps: int) -> bool:
        return steps > 0 and self.step % steps == 0

    def _step_or_save(self, display: Display) -> dict[str, float]:
        """One step; one that fails before it has changed weights saves what was learned so far."""
        self.learning = False
        try:
            return self._one_step(display)
        except UserError:
            if self.step and not self.learning:
                with contextlib.suppress(UserError):
                    self._save()
            raise

    def _one_step(self, display: Display) -> dict[str, float]:
        config, began = self.config, time.monotonic()
        self.seconds = {}
        indices = question_order(
            len(self.questions.train), config.seed, self.step, config.rollout.questions
        )
        with self._phase("rollout", display):
            experience = sample(
                self.policy,
                self.tokenizer,
                [self.questions.train[i] for i in indices],
                config.rollout.num_generations,
                self.sampling,
                seed=config.seed * 1_000_003 + self.step,
                max_batch=config.rollout.max_batch,
            )
        with self._phase("reward", display):
            result = reward(experience, self.rewards)
        sampled = experience
        self.sampled_answers += len(experience.answers)
        tokens = int(experience.mask.sum())
        experience, totals = known(experience, result)
        if not len(totals):
            raise UserError(
                f"step {self.step + 1}: no reward function gave a number for any of "
                f"{len(result.total)} answers; check reward.functions and the data's columns"
            )
        answers = self._score(experience, totals, display)
        metrics = rollout_metrics(sampled, answers, result, config.reward.right)
        answers = self.objective.prepare(answers)
        if self.memory is not None:
            with self._phase("log Z", display):
                answers, report = self.memory.fill(answers, experience.prompts)
            metrics |= report
        # The schedule counts rollout steps: all mini-batches of a step share a rate.
        train = config.train
        set_rate(
            self.learner.optimizer,
            rate_factor(self.step, train.schedule, train.warmup_steps, train.steps),
        )
        self.learning = True
        with self._phase("learning", display):
            learned = self.learner.learn(
                answers,
                experience.prompt_ids,
                experience.answers,
                seed=f"{config.seed}/{self.step}",
            )
        self._stop_if_fruitless(learned.skipped == len(learned.losses))
        metrics |= learning_metrics(learned)
        metrics["learning_rate"] = self.learner.optimizer.param_groups[0]["lr"]
        metrics["tokens_per_second"] = tokens / (time.monotonic() - began)
        metrics["answers"] = float(self.sampled_answers)
        return metrics

    def _score(self, experience: Experience, totals: Tensor, display: Display) -> Answers:
        """Old log-probs, as sampled where that is exact, and the reference's."""
        budget, width = self.config.train.micro_batch_tokens, experience.mask.shape[1]
        old, reference = experience.logprobs, None
        ids = experience.prompt_ids, experience.answers
        # In lower precision sampler and trainer differ. With a single step a batch the training
        # forward gives the old log-probs itself, unless log Z is estimated before it.
        in_forward = self.config.on_policy and self.needs.log_z in (None, "head", "offline")
        if self.policy.compute_dtype != torch.float32 and not in_forward:
            with self._phase("old log-probs", display):
                old = _widen(self.policy.score(*ids, budget=budget), width)
        if self.use_reference:
            with self._phase("reference", display):
                reference = _widen(self.policy.score(*ids, budget=budget, reference=True), width)
        return to_answers(experience, totals, old_logprobs=old, ref_logprobs=reference)

    def _sample_reference(self, prompts: list[Prompt]) -> tuple[Tensor, Tensor]:
        """Rewards and summed log-probs (questions, answers) of the reference's own answers."""
        config = self.config
        experience = sample(
            self.policy,
            self.tokenizer,
            prompts,
            config.rollout.num_generations,
            self.sampling,
            seed=config.seed * 1_000_003 + self.step + 500_000,
            max_batch=config.rollout.max_batch,
            reference=True,
        )
        shape = len(prompts), config.rollout.num_generations
        rewards = torch.tensor(reward(experience, self.rewards).total, device=self.device)
        return rewards.view(shape), experience.logprobs.sum(1).view(shape)

    def _stop_if_fruitless(self, fruitless: bool) -> None:
        self.fruitless = self.fruitless + 1 if fruitless else 0
        if fruitless:
            console.print(
                f"[yellow]step {self.step + 1}: loss or gradient is not finite; weights left as "
                "they were[/yellow]"
            )
        if self.fruitless >= PATIENCE:
            raise UserError(
                f"the loss was not finite in {PATIENCE} steps in a row (last: step "
                f"{self.step + 1}); lower train.learning_rate or objective.inverse_temperature, "
                f"and go on from the last checkpoint with --resume {self.folder}"
            )

    # --- evaluation, saving ----------------------------------------------------------------------

    def _evaluate(self, display: Display) -> dict[str, float]:
        assert self.held_out is not None
        with self._phase("evaluation", display):
            scores, rows = self.held_out.evaluate(self.policy, self.tokenizer)
        with writing(self.folder / "samples.jsonl"), (self.folder / "samples.jsonl").open("a") as f:
            for row in rows:
                f.write(json.dumps({"step": self.step} | row, ensure_ascii=False) + "\n")
        return scores

    def _save(self) -> None:
        cuda = self.device.type == "cuda"
        state = {
            "step": self.step,
            "sampled_answers": self.sampled_answers,
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
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.sampled_answers = state["step"], state["sampled_answers"]
        self.before = state["before"]
        self.learner.optimizer.load_state_dict(state["optimizer"])
        if self.memory is not None:
            self.memory.load_state_dict(state["log_z"])
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda" and state["random_cuda"] is not None:
            torch.cuda.set_rng_state(state["random_cuda"], self.device)

    def _finish(self, saved: Path) -> None:
        summary = {
            "algorithm": self.config.algorithm,
            "seed": self.config.seed,
            "steps": self.step,
            "answers": self.sampled_answers,
            "before": self.before,
            "after": self.after,
        }
        write_atomic(self.folder / "summary.json", json.dumps(finite(summary), indent=1) + "\n")
        if self.after:
            console.print(before_after(self.before, self.after))
        console.print(f"checkpoint  {saved}\nmetrics     {self.folder / 'metrics.jsonl'}")

    @contextlib.contextmanager
    def _phase(self, name: str, display: Display) -> Iterator[None]:
        """Time a phase; a shortage of memory in it names the field to lower."""
        display.now(name)
        began = time.monotonic()
        with naming_the_field(name):
            yield
        self.seconds[name.replace(" ", "_")] = time.monotonic() - began


def _widen(logprobs: Tensor, width: int) -> Tensor:
    return pad(logprobs, (0, width - logprobs.shape[1]))
