"""`flowbalance`: train, pretrain, eval, sample, export, compare, exact, grade, diversity, report,
sandbox, config."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from flowbalance.comparison import command as comparison
from flowbalance.enumeration import command as enumeration
from flowbalance.errors import UserError
from flowbalance.evaluation.diversity import arguments as diversity_arguments
from flowbalance.grading import command as grading
from flowbalance.report.page import command as reporting
from flowbalance.sandbox import command as sandboxing

EPILOG = """\
examples:
  flowbalance train recipes/countdown.yaml seed=1
  flowbalance train recipes/gsm8k.yaml model.path=MODEL data.train=gsm8k_train.jsonl
  flowbalance train --resume runs/latest
  flowbalance eval recipes/countdown.yaml model.path=runs/latest
  flowbalance eval model.path=runs/latest benchmark=aime24
  flowbalance sample runs/latest --prompt '3,7,8,2>31:'
  flowbalance compare recipes/countdown.yaml algorithms=tba,flowrl,grpo seeds=0,1,2
  flowbalance grade responses.jsonl --kind math --out graded.jsonl
  flowbalance report runs/latest --open
  flowbalance diversity answers.jsonl --judge MODEL --base-url http://127.0.0.1:8000/v1
  flowbalance config train rollout
"""

EVAL_EPILOG = """\
benchmarks: aime24, aime25, amc23, math500, minerva, olympiad, gsm8k, humaneval+, livecodebench,
codeforces; the tasks countdown, programs, stories; a file of questions (.jsonl, .json, .parquet)

examples:
  flowbalance eval model.path=runs/latest benchmark=aime24
  flowbalance eval model.path=MODEL benchmark=math500 data=math500.jsonl num_generations=4
  flowbalance eval model.path=MODEL benchmark=questions.jsonl grader=my_rewards:brief
  flowbalance eval model.path=MODEL benchmark=aime24 output=runs/aime    # again: goes on
  flowbalance eval --regrade runs/aime grader=dapo                       # needs no model
  flowbalance eval recipes/countdown.yaml model.path=runs/latest
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="flowbalance",
        description="FlowRL for any causal language model: post-training that matches the reward "
        "distribution.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="post-train a model by a recipe")
    train.add_argument("recipe", nargs="?", help="YAML file; see recipes/")
    train.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. train.steps=50")
    train.add_argument(
        "--resume", metavar="RUN", type=Path, help="go on with a run's newest checkpoint"
    )

    pretrain = commands.add_parser("pretrain", help="train a small base model on demonstrations")
    pretrain.add_argument("recipe", help="YAML file, e.g. recipes/countdown_base.yaml")
    pretrain.add_argument("overrides", nargs="*", metavar="key=value")

    evaluate = commands.add_parser(
        "eval",
        help="measure a model: on a benchmark, or on a recipe's held-out questions",
        description="On a benchmark: model.path=… benchmark=… and no recipe; fields: `flowbalance "
        "config eval`.\nOn a recipe's held-out questions: the recipe and model.path=….",
        epilog=EVAL_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    evaluate.add_argument("recipe", nargs="?", help="YAML file; none for a benchmark")
    evaluate.add_argument("overrides", nargs="*", metavar="key=value")
    evaluate.add_argument(
        "--regrade", metavar="FOLDER", type=Path, help="grade the answers saved there again"
    )

    sample = commands.add_parser("sample", help="show answers of a checkpoint")
    sample.add_argument("model", help="a run, a checkpoint, a model's folder or name")
    sample.add_argument(
        "--prompt", action="append", help="a question (repeatable); default: standard input"
    )
    sample.add_argument("-n", type=int, default=4, help="answers to each question (default 4)")
    sample.add_argument("--temperature", type=float, default=1.0, help="default 1; 0 is greedy")
    sample.add_argument("--top-p", type=float, default=1.0, help="default 1")
    sample.add_argument(
        "--max-tokens", type=int, help="default 256, or what the model has room for"
    )
    sample.add_argument("--stop", action="append", default=[], help="a token that ends an answer")
    sample.add_argument("--chat", action="store_true", help="apply the chat template")
    sample.add_argument("--seed", type=int, default=0, help="default 0")
    sample.add_argument("--device", default="auto", help="auto, cpu, cuda (default auto)")

    export = commands.add_parser(
        "export", help="write a checkpoint as a plain model, a LoRA adapter merged in"
    )
    export.add_argument("model", help="a run or a checkpoint")
    export.add_argument("folder", type=Path, help="where to write; must not exist")
    export.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16", "float16"],
        default="auto",
        help="of the weights; auto (the default): as the base model's",
    )

    compare = commands.add_parser(
        "compare", help="algorithms × seeds with an equal budget of answers, as one table"
    )
    comparison.add_arguments(compare)

    exact = commands.add_parser(
        "exact", help="proof by enumeration: every algorithm where all answers can be listed"
    )
    enumeration.add_arguments(exact)

    grade = commands.add_parser("grade", help="verdicts on a file of responses: math or code")
    grading.add_arguments(grade)

    diversity = commands.add_parser(
        "diversity", help="how different the answers in a file are; a language model as judge"
    )
    diversity_arguments.add_arguments(diversity)

    report = commands.add_parser(
        "report", help="one HTML page of runs and evaluations, side by side, to open offline"
    )
    reporting.add_arguments(report)

    sandbox = commands.add_parser(
        "sandbox", help="what holds untrusted code here; run a file in it"
    )
    sandboxing.add_arguments(sandbox)

    config = commands.add_parser("config", help="every field of a recipe with its meaning")
    config.add_argument("kind", nargs="?", choices=["train", "pretrain", "eval"], default="train")
    config.add_argument("search", nargs="?", help="only fields whose name contains this")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 if it went well, 2 with a sentence on what the user can mend."""
    options = parser().parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    logging.getLogger("flowbalance").handlers = [handler]
    try:
        from flowbalance import commands

        getattr(commands, options.command)(options)
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has seen enough. Python flushes again at exit: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
