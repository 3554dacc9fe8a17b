"""`evenflow eval`: a model on a benchmark, or on a recipe's held-out questions."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING

from evenflow.commands.words import add_words, file_and_settings
from evenflow.errors import UserError
from evenflow.inputs import expanded

if TYPE_CHECKING:
    from evenflow.config import TrainConfig

HELP = "measure a model: on a benchmark, or on a recipe's held-out questions"
EPILOG = """\
benchmarks: aime24, aime25, amc23, math500, minerva, olympiad, gsm8k, humaneval+, livecodebench,
codeforces; the tasks countdown, programs, stories; a file of questions (.jsonl, .json, .parquet)

examples:
  evenflow eval model.path=runs/latest benchmark=aime24
  evenflow eval model.path=MODEL benchmark=math500 data=math500.jsonl num_generations=4
  evenflow eval model.path=MODEL benchmark=questions.jsonl grader=my_rewards:right
  evenflow eval model.path=MODEL benchmark=aime24 output=runs/aime    # again: goes on
  evenflow eval aime.yaml model.path=runs/latest                      # a file of such settings
  evenflow eval --regrade runs/aime grader=dapo                       # needs no model
  evenflow eval countdown model.path=runs/latest
"""


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow eval` takes."""
    parser.description = (
        "With a benchmark, in the file or as benchmark=…: on that one. Without, the file is a "
        "training\nrecipe: on its held-out questions (fields: `evenflow config train`)."
    )
    parser.epilog, parser.formatter_class = EPILOG, RawDescriptionHelpFormatter
    add_words(parser, "if any, a recipe or settings of a benchmark (YAML file)", "eval")
    parser.add_argument(
        "--regrade", metavar="FOLDER", type=expanded, help="grade the answers saved there again"
    )


def run(options: Namespace) -> None:
    """Measure a model on a benchmark, or on the held-out questions of a recipe."""
    file, settings = file_and_settings(options.words)
    import json

    from evenflow.config import BenchmarkConfig, TrainConfig, parse_setting, read_yaml, resolve
    from evenflow.evaluation.benchmarks import evaluate as benchmarks
    from evenflow.run.checkpoints import from_checkpoint
    from evenflow.run.files import finite

    if options.regrade is not None:
        benchmarks.regrade(options.regrade, options.words)
        return
    values = {} if file is None else read_yaml(Path(file))
    changes = [parse_setting(setting, BenchmarkConfig, TrainConfig) for setting in settings]
    if "benchmark" in values.keys() | dict(changes).keys():
        if alien := values.keys() & TrainConfig.model_fields.keys() - BenchmarkConfig.model_fields:
            raise UserError(
                f"{file}: is a training recipe ({min(alien)}), which a benchmark has no use for; "
                "leave it out, or benchmark=…"
            )
        benchmarks.evaluate(resolve(BenchmarkConfig, values, changes))
    elif file is None:
        raise UserError("eval needs a recipe, or model.path=… benchmark=…; benchmark=… is missing")
    else:
        config = from_checkpoint(resolve(TrainConfig, values, changes))
        print(json.dumps(finite(evaluate(config)), indent=1))


def evaluate(config: TrainConfig) -> dict[str, float]:
    """Scores of `config.model.path` on the recipe's held-out questions, by name; exact ones where
    right answers are listed."""
    import torch

    from evenflow.policy.loading import (
        compute_dtype,
        load_model,
        load_tokenizer,
        make_room,
        separator_id,
    )
    from evenflow.policy.policy import Policy
    from evenflow.run.folder import choose_device, set_threads
    from evenflow.training.build import (
        build_held_out,
        build_rewards,
        engine_for,
        load_questions,
        require_columns,
    )
    from evenflow.training.requirements import require_packages

    require_packages(config)
    set_threads(config)
    device = choose_device(config.device)
    tokenizer = load_tokenizer(config.model.path)
    questions = load_questions(config, tokenizer, training=False)
    if not questions.test:
        raise UserError("data.test: eval needs held-out questions; name a file or dataset")
    rewards = build_rewards(config)
    require_columns(rewards, questions)
    policy = Policy(  # weights in float32, as in training, so that the numbers are the same
        load_model(config.model.path, torch.float32, config.model.attention),
        chunk=config.model.logprob_chunk,
        compute_dtype=compute_dtype(config.model, device),
    ).to(device)
    separator = separator_id(config.head, tokenizer)
    if separator is not None and config.build_objective().needs.head:
        make_room(policy.model, separator)
    engine = engine_for(config, questions, tokenizer, policy)
    held_out = build_held_out(config, questions, rewards, tokenizer, policy)
    assert held_out is not None
    return held_out.evaluate(policy, engine).scores
