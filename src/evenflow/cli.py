"""`evenflow`: train, pretrain, eval, sample, export, compare, exact, grade, diversity, report,
sandbox, config."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TextIO

from evenflow.comparison import command as comparison
from evenflow.enumeration import command as enumeration
from evenflow.errors import CannotLoad, UserError
from evenflow.evaluation.diversity import arguments as diversity_arguments
from evenflow.grading import command as grading
from evenflow.releases import newer_than_tested
from evenflow.report.page import command as reporting
from evenflow.sandbox import command as sandboxing
from evenflow.terminal import (
    complain,
    drop_output,
    prepare_streams,
    printable,
    system_error,
)

EPILOG = """\
examples:
  evenflow train recipes/countdown.yaml seed=1
  evenflow train recipes/gsm8k.yaml model.path=MODEL data.train=gsm8k_train.jsonl
  evenflow train --resume runs/latest
  evenflow eval recipes/countdown.yaml model.path=runs/latest
  evenflow eval model.path=runs/latest benchmark=aime24
  evenflow sample runs/latest --prompt '3,7,8,2>31:'
  evenflow compare recipes/countdown.yaml algorithms=tba,flowrl,grpo seeds=0,1,2
  evenflow grade responses.jsonl --kind math --out graded.jsonl
  evenflow report runs/latest --open
  evenflow diversity answers.jsonl --judge MODEL --base-url http://127.0.0.1:8000/v1
  evenflow config train rollout
"""

EVAL_EPILOG = """\
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


class Parser(argparse.ArgumentParser):
    """Quotes what was typed without commanding the terminal by it."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


class Lines(logging.Formatter):
    """Log lines that do not command the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = Parser(
        prog="evenflow",
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
    train.add_argument(
        "--changed-inputs",
        action="store_true",
        help="with --resume: go on although the questions or the base model's files have changed",
    )

    pretrain = commands.add_parser("pretrain", help="train a small base model on demonstrations")
    pretrain.add_argument("recipe", help="YAML file, e.g. recipes/countdown_base.yaml")
    pretrain.add_argument("overrides", nargs="*", metavar="key=value")

    evaluate = commands.add_parser(
        "eval",
        help="measure a model: on a benchmark, or on a recipe's held-out questions",
        description="On a benchmark: model.path=… benchmark=… and no recipe; fields: `evenflow "
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


class StandardError(logging.StreamHandler):
    """Writes to what is sys.stderr at the time: a reward may close the one there was at first."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # pyright: ignore[reportIncompatibleVariableOverride]
        return sys.stderr


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 if it went well, 2 with a sentence on what the user can mend, and as shells
    expect 128 + the number of the signal that ended it (a reader like `| head` that has seen enough
    is SIGPIPE). What else goes wrong is a defect of ours and raises."""
    prepare_streams()
    try:
        with flushed():
            options = parser().parse_args(arguments)
            handler = StandardError()
            handler.setFormatter(Lines("%(name)s: %(message)s"))
            logging.getLogger("evenflow").handlers = [handler]
            from evenflow import commands

            getattr(commands, options.command)(options)
    except UserError as error:
        complain(f"error: {error}")
        if isinstance(error, CannotLoad):
            for note in newer_than_tested():
                complain(note)
        return 2
    except KeyboardInterrupt:
        complain("interrupted")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        drop_output()
        return 128 + signal.SIGPIPE
    except OSError as error:  # a name too long, a folder that may not be read, a full disk
        complain(f"error: {system_error(error)}")
        return 2
    except MemoryError:
        complain("error: out of memory; ask for less at once, or take a larger machine")
        return 2
    except Exception as error:
        for note in newer_than_tested():
            error.add_note(note)
        raise
    return 0


@contextmanager
def flushed() -> Iterator[None]:
    """See that all output was written, also where the command leaves by SystemExit: what cannot be
    would else be found at exit, where Python can only complain. Output that cannot be is dropped.
    """
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            drop_output()
            raise
        except OSError as error:
            drop_output()
            raise OSError(error.errno, error.strerror, "standard output") from None


if __name__ == "__main__":
    sys.exit(main())
