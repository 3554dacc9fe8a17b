"""`evenflow eval`: a model on a benchmark, or on a recipe's held-out questions."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from evenflow.errors import UserError

HELP = "measure a model: on a benchmark, or on a recipe's held-out questions"
EPILOG = """\
benchmarks: aime24, aime25, amc23, math500, minerva, olympiad, gsm8k, humaneval+, livecodebench,
codeforces; the tasks countdown, programs, stories; a file of questions (.jsonl, .json, .parquet)

examples:
  evenflow eval model.path=runs/latest benchmark=aime24
  evenflow eval model.path=MODEL benchmark=math500 data=math500.jsonl num_generations=4
  evenflow eval model.path=MODEL benchmark=questions.jsonl grader=my_rewards:brief
  evenflow eval model.path=MODEL benchmark=aime24 output=runs/aime    # again: goes on
  evenflow eval --regrade runs/aime grader=dapo                       # needs no model
  evenflow eval recipes/countdown.yaml model.path=runs/latest
"""


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow eval` takes."""
    parser.description = (
        "On a benchmark: model.path=… benchmark=… and no recipe; fields: `evenflow "
        "config eval`.\nOn a recipe's held-out questions: the recipe and model.path=…."
    )
    parser.epilog, parser.formatter_class = EPILOG, RawDescriptionHelpFormatter
    parser.add_argument("recipe", nargs="?", help="YAML file; none for a benchmark")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument(
        "--regrade", metavar="FOLDER", type=Path, help="grade the answers saved there again"
    )


def run(options: Namespace) -> None:
    """Measure a model on a benchmark, or on the held-out questions of a recipe."""
    import json

    if options.regrade is not None or options.recipe is None or "=" in options.recipe:
        benchmark(options)
        return

    from evenflow.config import TrainConfig, load
    from evenflow.run.checkpoints import from_checkpoint
    from evenflow.run.files import finite
    from evenflow.training.evaluate import evaluate

    config = from_checkpoint(load(TrainConfig, options.recipe, options.overrides))
    print(json.dumps(finite(evaluate(config)), indent=1))


def benchmark(options: Namespace) -> None:
    """Sample, grade and count on a benchmark, or grade saved answers again."""
    from evenflow.evaluation.benchmarks import evaluate as command

    overrides = [text for text in (options.recipe, *options.overrides) if text]
    if options.regrade is not None:
        command.regrade(options.regrade, overrides)
        return
    for key in ("model.path", "benchmark"):
        if not any(text.startswith(f"{key}=") for text in overrides):
            raise UserError(f"eval needs a recipe, or model.path=… benchmark=…; {key}=… is missing")
    command.evaluate(overrides)
