"""Marks of what a run is made from, kept in its checkpoints: with other questions or another base
model it would go on as another run, and nothing else would tell."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evenflow.config import GIVEN, TrainConfig
from evenflow.config.effect import needs_reference
from evenflow.data import Prompt
from evenflow.errors import UserError
from evenflow.policy.fingerprint import mark_of
from evenflow.run.console import console
from evenflow.training.build import Questions


def marks_of(
    config: TrainConfig,
    questions: Questions,
    rewards: Sequence[tuple[str, Any, float]] = (),
    *,
    again: bool,
) -> dict[str, str]:
    """What a run reads, in words → a mark that differs where the contents do. `rewards` are those
    that Python hands over, (name, function, weight); the recipe tells of others.

    `again`: the run goes on; of the weights only those count that its checkpoint does not hold.
    """
    reads_reference = needs_reference(config, config.build_objective())
    data, model, first = config.data, config.model, config.evaluation.skip
    train, test = ("data.task",) * 2 if data.task else ("data.train", "data.test")
    if data.train == GIVEN:
        train, test = "questions", "held_out"
    found = {f"training questions ({train})": mark_of_questions(questions.train)}
    if questions.test:
        some = f"held-out questions {first + 1} to {first + config.evaluation.questions}"
        found[f"{some} ({test})"] = mark_of_questions(questions.test)
    found["rewards from Python (rewards)"] = ", ".join(
        f"{n}: {weight:g}" for n, _, weight in rewards
    )
    read: dict[str, str] = {}
    if not again or model.lora is not None or (reads_reference and not model.reference):
        read["model.path"] = model.path
    if model.reference and reads_reference:
        read["model.reference"] = model.reference
    for field, path in read.items():
        if mark := mark_of(path):  # None: a name whose commit is not known
            found[f"weights or tokenizer ({field})"] = mark
    return found


def measure_of(config: TrainConfig, questions: Questions) -> str | None:
    """A mark of what held-out scores are scores of: the questions, and the distribution of which
    the answers are; None where nothing is held out. How many answers are sampled is no part of it:
    the scores estimate the same."""
    if not questions.test:
        return None
    temperature, top_p = config.evaluation.temperature, config.evaluation.top_p
    if hasattr(questions.task, "row_solutions"):  # exact: of the whole distribution
        temperature, top_p = temperature or 1.0, 1.0
    return f"{mark_of_questions(questions.test)}, temperature {temperature:g}, top_p {top_p:g}"


def mark_of_questions(prompts: Sequence[Prompt]) -> str:
    """A hash over the questions in order, with the columns that rewards see."""
    return "sha256 " + hashlib.sha256("".join(p.key for p in prompts).encode()).hexdigest()


def compared(
    before: Mapping[str, str] | None, now: Mapping[str, str], checkpoint: Path, *, allowed: bool
) -> dict[str, str]:
    """All marks that are known, those of `now` where both have one.

    UserError where the two differ, unless that is `allowed`. `before` is None in checkpoints of
    versions that kept no marks.
    """
    if before is None:
        console.print(
            f"{checkpoint}: does not say by which questions and weights it came about; those that "
            "are there now are taken to be the same",
            markup=False,
        )
        return dict(now)
    changed = [name for name, mark in now.items() if before.get(name, mark) != mark]
    names = ", ".join(changed)
    if changed and not allowed:
        raise UserError(
            f"{names}: not the same as when {checkpoint} was saved; put back what was there, or go "
            "on with what is there now by --changed-inputs"
        )
    if changed:
        console.print(f"going on with other {names}", markup=False)
    return {**before, **now}
