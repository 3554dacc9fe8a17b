"""`evenflow train`: a new run by a recipe, or one that goes on."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING

from evenflow.commands.words import add_words, file_and_settings
from evenflow.errors import UserError
from evenflow.inputs import expanded
from evenflow.run.files import flat

if TYPE_CHECKING:
    from evenflow.config import TrainConfig
    from evenflow.training.trainer import Trainer

HELP = "post-train a model by a recipe"
EPILOG = """\
`evenflow recipes` lists the recipes that are shipped, `evenflow config` every setting.

examples:
  evenflow train countdown seed=1
  evenflow train gsm8k model.path=MODEL data.train=train.jsonl data.test=test.jsonl
  evenflow train mine.yaml train.steps=50 log.backends='[wandb]'
  evenflow train --resume runs/latest
"""

# What may change when a run goes on; all else would make it another run.
FREE = (
    "device",
    "threads",
    "log",
    "evaluation",
    "checkpoint",
    "train.steps",
    "train.answers",
    "train.micro_batch_tokens",
    "rollout.max_batch",
    "rollout.largest_gap",
    "rollout.server",
    "rollout.timeout",
    "rollout.gpu_share",
    "reward.timeout",
    "model.logprob_chunk",
)


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow train` takes."""
    parser.epilog, parser.formatter_class = EPILOG, RawDescriptionHelpFormatter
    add_words(parser, "a recipe (a YAML file, or a name that `evenflow recipes` lists)", "train")
    parser.add_argument(
        "--resume", metavar="RUN", type=expanded, help="go on with a run's newest checkpoint"
    )
    parser.add_argument(
        "--changed-inputs",
        action="store_true",
        help="with --resume: go on although the questions or the base model's files have changed",
    )


def run(options: Namespace) -> None:
    """Train by a recipe, or go on with a run."""
    if options.resume is not None:
        go_on(options)
        return
    if options.changed_inputs:
        raise UserError("--changed-inputs: goes with --resume RUN")
    recipe, settings = file_and_settings(options.words)
    if recipe is None:
        raise UserError("train needs a recipe, e.g. countdown, or --resume RUN")
    from evenflow.config import TrainConfig, load
    from evenflow.run.checkpoints import from_checkpoint, in_full
    from evenflow.run.folder import begin, own_folder, run_folder

    config = in_full(from_checkpoint(load(TrainConfig, recipe, settings)))
    from evenflow.training.trainer import Trainer  # seconds, which a wrong key is spared

    folder = run_folder(config.output, Path(recipe).stem)
    with own_folder(folder):
        begin(config, folder)
        finish(Trainer(config, folder))


def go_on(options: Namespace) -> None:
    """Go on with a run."""
    from evenflow.run.lock import only_one

    folder = run_to_resume(options.resume)
    with only_one(folder):
        finish(resumed(folder, options.words, changed_inputs=options.changed_inputs))


def finish(trainer: Trainer) -> None:
    """Run, and write the page of a run that came to its end; exit as shells expect (130, 143) if a
    signal ended it early."""
    from evenflow.report.page import page_of_run
    from evenflow.run.console import console

    result = trainer.run()
    if result.stopped_by:
        raise SystemExit(128 + result.stopped_by)
    console.print(f"report      {page_of_run(result.folder)}", markup=False)


def run_to_resume(run: Path) -> Path:
    """The folder of a run in full; UserError if it is none."""
    from evenflow.run.kinds import CONFIG, Kind, results_in, written_by

    if not run.exists():
        raise UserError(f"{run}: there is no such folder")
    above = run.resolve().parent
    kind = results_in(run) or written_by(run)
    if kind not in (None, Kind.TRAINING):
        raise UserError(f"{run}: holds {kind}, and --resume goes on with {Kind.TRAINING}")
    if (run / CONFIG).is_file():
        return run.resolve()
    if written_by(above) is Kind.TRAINING:  # a checkpoint, or another part of a run
        raise UserError(
            f"{run}: lies in a run; name its run: {above} (--resume goes on with the newest whole "
            "checkpoint there)"
        )
    raise UserError(f"{run}: not the folder of a run (it has no {CONFIG})")


def resumed(run: Path, overrides: list[str], *, changed_inputs: bool = False) -> Trainer:
    """The trainer of a run, as its newest whole checkpoint left it."""
    from evenflow.config import TrainConfig, load
    from evenflow.run import checkpoints
    from evenflow.run.folder import has_ended, save_config

    recipe = run / "config.yaml"
    config = load(TrainConfig, recipe, overrides)
    refuse_changes(load(TrainConfig, recipe, []), config)
    newest = checkpoints.latest_whole(run)
    from evenflow.training.trainer import Trainer  # seconds, which a wrong key is spared

    trainer = Trainer(config, run, resume=newest, changed_inputs=changed_inputs)
    if trainer.done and has_ended(run, trainer.step):
        raise UserError(
            f"{run}: has all of its {trainer.step} steps; to go on, raise train.steps"
            + (" and train.answers" if config.train.answers else "")
        )
    save_config(run, config)
    return trainer


def refuse_changes(old: TrainConfig, new: TrainConfig) -> None:
    """Refuse overrides that would make a resumed run another one."""
    before, after = flat(old.model_dump()), flat(new.model_dump())
    for name in sorted(before.keys() | after.keys()):
        free = any(name == field or name.startswith(field + ".") for field in FREE)
        if not free and before.get(name) != after.get(name):
            raise UserError(
                f"{name}: cannot change when a run goes on; start a new run, or change only: "
                + ", ".join(FREE)
            )
