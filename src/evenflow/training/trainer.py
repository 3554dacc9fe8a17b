"""A run from first to last: its steps, evaluations, checkpoints, and what is said of them."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from evenflow.config import TrainConfig
from evenflow.evaluation.heldout import Evaluation
from evenflow.policy.loading import load_tokenizer
from evenflow.policy.stops import vocabulary
from evenflow.rollout.collect import Collector
from evenflow.run import checkpoints
from evenflow.run.console import Display, before_after, console, show_rows
from evenflow.run.folder import (
    begin,
    choose_device,
    end_run,
    not_ended,
    point_latest,
    restore_config,
    run_folder,
    set_threads,
)
from evenflow.run.interrupt import Interrupt
from evenflow.run.lock import alone
from evenflow.run.out_of_memory import naming_the_field
from evenflow.run.provenance import provenance
from evenflow.run.tracking import MetricsLog, read_jsonl
from evenflow.training import checkpoint
from evenflow.training.build import (
    build_held_out,
    build_rewards,
    build_sampling,
    engine_for,
    load_questions,
    policy_to_train,
    require_columns,
)
from evenflow.training.card import write_card
from evenflow.training.facts import facts, how_to_go_on, sample_text, true_log_z
from evenflow.training.forecast import resources
from evenflow.training.inputs import compared, marks_of, measure_of
from evenflow.training.metrics import shown
from evenflow.training.requirements import require_packages
from evenflow.training.settle import settle
from evenflow.training.stepper import Stepper

Callback = Callable[[int, Mapping[str, Any]], bool | None]
"""Told (steps taken, numbers by name); the run stops if it says True."""


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    folder: Path
    """The run's, with metrics.jsonl, samples.jsonl, summary.json and the checkpoints."""
    checkpoint: Path
    """The newest: a Transformers model's folder."""
    steps: int
    before: dict[str, float]
    """Held-out scores before the first step, by name."""
    after: dict[str, float]
    """And the latest."""
    stopped_by: int
    """The signal that ended the run early; 0: none."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The numbers of every step, by name (docs/diagnose.md)."""
        return read_jsonl(self.folder / "metrics.jsonl")


class Trainer:
    """One run: build it from a recipe (and a checkpoint to go on from), then `run`.

    In Python it takes what a recipe names by path as it is: `rewards`, functions with TRL's
    signature (or function → weight), `questions` and `held_out`, rows with a prompt and the columns
    that the rewards ask for (lists of dictionaries, or a `datasets.Dataset`), and callbacks after
    each step and each evaluation, which end the run in good order where they say True.

    Questions and weights that are read again must be as they were, unless `changed_inputs`.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path | None = None,
        resume: Path | None = None,
        *,
        changed_inputs: bool = False,
        rewards: Sequence[Callable] | Mapping[Callable, float] | None = None,
        questions: Iterable[Mapping[str, Any]] | None = None,
        held_out: Iterable[Mapping[str, Any]] | None = None,
        on_step: Callback | None = None,
        on_evaluation: Callback | None = None,
    ) -> None:
        """`folder` is the run's; without one it is that of the checkpoint, or made as the recipe
        says (output)."""
        here = Path.cwd()  # a reward may go to another directory
        set_threads(config)
        self.config = config = checkpoints.in_full(config)
        if resume is not None:
            checkpoint.require_state(resume := here / resume)
        self.device = choose_device(config.device)
        require_packages(config)
        self.objective = config.build_objective()
        self.tokenizer = load_tokenizer(str(resume or config.model.path))
        self.questions = load_questions(
            config, self.tokenizer, given=None if questions is None else (questions, held_out or ())
        )
        self.rewards = build_rewards(config, rewards)
        require_columns(self.rewards, self.questions)
        torch.manual_seed(config.seed)
        self.policy = policy_to_train(config, self.device, self.tokenizer, resume)
        self.on_step, self.on_evaluation = on_step, on_evaluation
        self.engine = engine_for(config, self.questions, self.tokenizer, self.policy)
        self.sampling = build_sampling(config, self.tokenizer, self.policy.model, self.questions)
        self.held_out = build_held_out(
            config, self.questions, self.rewards, self.tokenizer, self.policy
        )
        with naming_the_field("loading the model"):
            settle(config, self.policy, self.questions)
        if resume is None:  # nothing is left of what cannot begin
            folder = folder or run_folder(config.output, config.algorithm.replace(":", "-"), here)
            begin(config, here / folder)
        self.folder = here / (folder or cast(Path, resume).parent)
        checkpoint.try_save(self.folder, self.policy.model, self.tokenizer)
        collector = Collector(
            config,
            self.engine,
            self.questions.train,
            self.sampling,
            self.rewards,
            vocabulary(self.policy.model),
            self.tokenizer,
        )
        self.stepper = Stepper(config, self.objective, self.policy, collector, self.folder)
        self.step = 0
        self.saved: int | None = None  # the step of the newest checkpoint
        self.row: dict[str, float] = {}  # metrics of the latest step
        self.before: dict[str, float] = {}  # held-out scores before the first step
        self.after: dict[str, float] = {}  # and the latest ones
        self.seconds: dict[str, float] = {}
        self.stopping = False  # a callback has said so
        self.given = [] if rewards is None else self.rewards.functions
        self.inputs = marks_of(config, self.questions, self.given, again=resume is not None)
        if resume is not None:
            state = checkpoint.load_state(resume)
            with checkpoint.fitting(resume):
                self.inputs = compared(
                    state.get("inputs"), self.inputs, resume, allowed=changed_inputs
                )
                self._restore(state)

    @alone
    def run(self) -> Result:
        """Train to the end, or until interrupted."""
        config = self.config
        total, before = config.most_steps, self.step
        rows = [*facts(config, self.policy, self.questions, self.tokenizer)]
        rows += resources(config, self.policy, self.questions, self.folder, total - self.step)
        show_rows(f"evenflow train: {config.algorithm}", rows)
        log = MetricsLog(
            self.folder,
            config.log.backends,
            project=config.log.project,
            config=config.model_dump(mode="json"),
            start=self.step,
            due=self.due,
            measure=measure_of(config, self.questions),
        )
        with contextlib.ExitStack() as stack:
            stack.callback(log.close)
            stack.enter_context(provenance(self.folder, self.device, self.inputs, self.step > 0))
            stack.push(self.stepper.stream.leave)
            display = stack.enter_context(Display(config.algorithm, total, self.step))
            interrupt = stack.enter_context(Interrupt())
            try:
                self._begin(log, display)
                while not (self.done or self.stopping or interrupt.requested):
                    self._step(display)
                    if self.step == before + 1:  # a run that fails at once takes it from no other
                        point_latest(self.folder)
                    if self.done or interrupt.requested or self._every(config.checkpoint.every):
                        self._save()
                    self._report(log, display, evaluate=self.done or not interrupt.requested)
            except Exception:  # a callback's, the system's, a defect of ours
                if self.step and self.stepper.whole:  # what was learned so far
                    with contextlib.suppress(Exception):
                        self._save()
                raise
            self._save()  # the signal may have come after the last step's turn to save
            if self.done:
                log.end(self._summary())
        saved = self.folder / f"{checkpoints.PREFIX}{self.step:06}"
        if self.done:
            self._end(saved)
        else:
            go_on = f"go on with: {how_to_go_on(config, saved, by_name=not self.given)}"
            console.print(f"stopped after step {self.step} of {total}; {go_on}", markup=False)
        stopped_by = 0 if self.done else interrupt.number
        return Result(self.folder, saved, self.step, self.before, self.after, stopped_by)

    def _end(self, saved: Path) -> None:
        """Say what was gained and where everything lies; write the summary."""
        end_run(self.folder, self._summary())
        if self.after:
            console.print(before_after(self.before, self.after))
        if sentence := self.stepper.patience.ending(self.stepper.learner.version):
            console.print(sentence, style="yellow", markup=False)
        console.print(f"checkpoint  {saved}", markup=False)
        console.print(f"metrics     {self.folder / 'metrics.jsonl'}", markup=False)

    def _begin(self, log: MetricsLog, display: Display) -> None:
        """Evaluate before the first step; write the row, or make up the evaluation, that the run
        lacks because it was stopped or killed after it had saved."""
        self.before = self.before if log.comparable else {}
        if self.step == 0:
            if self.held_out:
                found = self._evaluate(display)
                self.before = self.after
                right = None if self.given else found.right  # of the task's own reward
                log.log(0, true_log_z(self.config, right) | self.row, found.rows, found.by_question)
        elif self.step > log.last:
            self._report(log, display)
        else:
            self.after = log.scores
        if not self.done:
            not_ended(self.folder)

    def _report(self, log: MetricsLog, display: Display, *, evaluate: bool = True) -> None:
        """Write the step's row, with held-out scores where they are due."""
        found = None
        if self.due and evaluate:
            found = self._evaluate(display)
            if self.saved == self.step:
                self._write_card()
        log.log(self.step, self.row, *((found.rows, found.by_question) if found else ([], {})))
        if self.done:  # dropped answers end a run before its last step
            display.total = self.step
        display.update(self.step, shown(self.row))
        if self.on_step is not None and self.on_step(self.step, self.row):
            self.stopping = True

    @property
    def done(self) -> bool:
        """Whether all steps are taken, or what is left of the answers is less than a batch."""
        needs, spent = self.stepper.needs, self.stepper.spent
        exhausted = spent.exhausted(self.config, with_reference=needs.reference_samples)
        return exhausted or self.step >= self.config.train.steps

    @property
    def due(self) -> bool:
        """Whether an evaluation is to follow on the latest step."""
        asked = self.done or self._every(self.config.evaluation.every)
        return self.held_out is not None and asked

    def _every(self, steps: int) -> bool:
        return steps > 0 and self.step % steps == 0

    def _step(self, display: Display) -> None:
        began, tokens = time.process_time(), self.stepper.spent.tokens
        self.seconds = {}
        self.row = self.stepper.take(self.step, functools.partial(self._phase, display=display))
        self.row |= {f"seconds/{phase}": s for phase, s in self.seconds.items()}
        if sampling := self.row.get("seconds/rollout"):
            sampled = self.stepper.spent.tokens - tokens
            self.row["tokens_per_second/sampling"] = sampled / sampling
        self.stepper.spent.cpu_seconds += time.process_time() - began
        self.step += 1

    def _evaluate(self, display: Display) -> Evaluation:
        """Put held-out scores into the row; what they are made of."""
        assert self.held_out is not None
        with self.stepper.stream.paused(), self._phase("evaluation", display):
            self.engine.update(self.policy, self.stepper.learner.version)
            found = self.held_out.evaluate(self.policy, self.engine)
        self.after = found.scores
        if self.on_evaluation is not None and self.on_evaluation(self.step, self.after):
            self.stopping = True
        if found.rows:
            console.print(f"step {self.step}  {sample_text(found.rows[0])}", markup=False)
        self.row |= {f"test/{name}": score for name, score in self.after.items()}
        self.row["seconds/evaluation"] = self.seconds["evaluation"]
        return found

    def _save(self) -> None:
        """Save, unless that is done: a moment without the step's checkpoint would risk it."""
        if self.saved == self.step:
            return
        restore_config(self.folder, self.config)
        state = {
            "step": self.step,
            "row": self.row,
            "before": self.before,
            "inputs": self.inputs,
            **self.stepper.state_dict(self.step),
            **checkpoint.random_state(self.device),
        }
        checkpoint.save(
            self.folder,
            self.step,
            self.policy,
            self.tokenizer,
            None if self.config.checkpoint.weights_only else state,
            keep=self.config.checkpoint.keep,
            reference=self.stepper.reset.resets > 0,
        )
        self.saved = self.step
        self._write_card()

    def _write_card(self) -> None:
        folder = self.folder / f"{checkpoints.PREFIX}{self.saved:06}"
        write_card(folder, self.config, self.step, self.before, self.after)

    def _restore(self, state: dict[str, Any]) -> None:
        self.step = self.saved = state["step"]
        self.row, self.before = state["row"], state["before"]
        self.stepper.load_state_dict(state)
        checkpoint.set_random_state(state, self.device)

    def _summary(self) -> dict[str, Any]:
        return {
            "algorithm": self.config.algorithm,
            "seed": self.config.seed,
            "steps": self.step,
            **self.stepper.summary(self.step),
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
