"""`evenflow verl`: a recipe on a cluster, by verl."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING

from evenflow.commands.words import add_words, file_and_settings
from evenflow.errors import UserError

if TYPE_CHECKING:
    from evenflow.config import TrainConfig
    from evenflow.launch.job import Job

HELP = "run a recipe on one node of GPUs or many, by verl"
EPILOG = """\
Writes the recipe and its questions into the folder of the run, and starts verl's trainer there.
What stands behind -- goes to verl as it is and takes the place of what the recipe says. On several
nodes Ray must run, and the folder, the model and the environment be the same (docs/scaling.md). The
same command with the same output=… goes on with a run.

examples:
  evenflow verl verl_math_small model.path=MODEL data.train=train.jsonl --print
  evenflow verl verl_math_7b model.path=Qwen/Qwen2.5-7B data.train=dapo.parquet output=runs/seven
  evenflow verl verl_math_32b model.path=MODEL data.train=dapo.parquet --nodes 4 \\
      -- actor_rollout_ref.rollout.tensor_model_parallel_size=4
"""


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow verl` takes."""
    parser.epilog, parser.formatter_class = EPILOG, RawDescriptionHelpFormatter
    parser.usage = f"{parser.prog} RECIPE [key=value …] [options] [-- verl's key=value …]"
    add_words(parser, "a recipe (a YAML file, or a name that `evenflow recipes` lists)", "train")
    add = parser.add_argument
    add("--print", action="store_true", help="show verl's command for a shell, and start nothing")
    add("--nodes", metavar="N", type=int, default=1, help="machines (default 1)")
    add("--gpus-per-node", metavar="N", type=int, default=8, help="of each machine (default 8)")


def run(options: Namespace) -> None:
    """Start verl, or print how."""
    recipe, settings = file_and_settings(options.words)
    if recipe is None:
        raise UserError("verl needs a recipe, e.g. verl_math_7b")
    for name in ("nodes", "gpus_per_node"):
        if not 1 <= getattr(options, name) <= 100_000:
            raise UserError(f"--{name.replace('_', '-')}: must be at least 1")
    import os
    import sys

    from evenflow.installation import is_installed
    from evenflow.run.console import console

    if not options.print and not is_installed("verl"):
        raise UserError(
            "verl is not installed here; it wants an environment of its own: pip install "
            "'verl[verl-core]==0.9.1' and this package into that (docs/scaling.md), or see the "
            "command with --print"
        )
    prepared = prepare(recipe, settings, options)
    for sentence in prepared.remarks:
        print(sentence, file=sys.stderr)  # beside the command of --print
    if options.print:
        print(prepared.shell)
        return
    console.print(f"verl        {len(prepared.arguments)} settings; --print shows them")
    command = [sys.executable, "-m", "verl.trainer.main_ppo", *prepared.arguments]
    os.execve(sys.executable, command, {**os.environ, **prepared.environment})


def prepare(recipe: str, settings: list[str], options: Namespace) -> Job:
    """The files of the run, and what verl is told."""
    from evenflow.config import TrainConfig, load
    from evenflow.launch.job import Cluster
    from evenflow.launch.questions import write_files
    from evenflow.launch.refused import refuse
    from evenflow.launch.verl import job
    from evenflow.policy.loading import resolve
    from evenflow.run.checkpoints import from_checkpoint
    from evenflow.run.folder import own_folder, run_folder
    from evenflow.run.kinds import Kind, refuse_other_kinds

    config = from_checkpoint(load(TrainConfig, recipe, settings))
    model = config.model.model_copy(update={"path": resolve(config.model.path)})
    config = config.model_copy(update={"model": model})
    refuse(config)  # before anything is written
    folder = run_folder(config.output, Path(recipe).stem).resolve()
    with own_folder(folder):
        refuse_other_kinds(folder, Kind.VERL)
        refuse_another(config, folder)
        cluster = Cluster(options.nodes, options.gpus_per_node)
        return job(config, write_files(config, folder), cluster, options.passed_on)


def refuse_another(config: TrainConfig, folder: Path) -> None:
    """UserError where the folder holds checkpoints of another recipe: verl would go on there."""
    from evenflow.commands.train import refuse_changes
    from evenflow.config import TrainConfig, load

    recipe = folder / "config.yaml"
    if recipe.is_file() and any(folder.glob("global_step_*")):
        refuse_changes(load(TrainConfig, recipe, []), config)
        if config.checkpoint.weights_only:
            raise UserError(
                f"{folder}: its checkpoints were saved with checkpoint.weights_only: verl would go "
                "on with an optimiser and a schedule that begin anew; start a new run with output=…"
            )
