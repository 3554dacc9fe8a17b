"""`evenflow COMMAND`: reads the command line, and turns errors into sentences and exit codes."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn, TextIO

from evenflow import commands
from evenflow.errors import CannotLoad, UserError
from evenflow.releases import newer_than_tested
from evenflow.terminal import (
    complain,
    drop_output,
    ended_by_signals,
    prepare_streams,
    printable,
    system_error,
)

EPILOG = """\
examples:
  evenflow train countdown seed=1
  evenflow train gsm8k model.path=MODEL data.train=gsm8k_train.jsonl
  evenflow plan gsm8k model.path=MODEL --device h100
  evenflow train --resume runs/latest
  evenflow eval countdown model.path=runs/latest
  evenflow eval model.path=runs/latest benchmark=aime24
  evenflow sample runs/latest --prompt '3,7,8,2>31:'
  evenflow compare countdown algorithms=tba,flowrl,grpo seeds=0,1,2
  evenflow exact only=tba
  evenflow grade responses.jsonl --kind math --out graded.jsonl
  evenflow report runs/latest --open
  evenflow verl verl_math_7b model.path=MODEL data.train=dapo.parquet --print
  evenflow diversity answers.jsonl judge.model=MODEL judge.base_url=http://127.0.0.1:8000/v1
  evenflow config train rollout
"""


class Parser(argparse.ArgumentParser):
    """Quotes what was typed without commanding the terminal by it."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


class Version(argparse.Action):
    """Prints what a report of a defect should say."""

    def __call__(self, *_: object) -> NoReturn:
        from importlib.metadata import version

        beside = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
        print(f"evenflow {version('evenflow')} (Python {sys.version.split()[0]}, {beside})")
        raise SystemExit(0)


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
    top.add_argument("--version", action=Version, nargs=0, help="print the versions and exit")
    added = top.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in commands.ALL.items():
        command.add_arguments(added.add_parser(name, help=command.HELP))
    return top


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; a setting that was written as an option is answered with its form. Without a
    command: the help."""
    top = parser()
    words = list(sys.argv[1:] if arguments is None else arguments)
    passed_on = []
    if words[:1] == ["verl"] and "--" in words:  # what is behind it is another program's
        words, passed_on = words[: words.index("--")], words[words.index("--") + 1 :]
    options, unknown = top.parse_known_args(words)
    options.passed_on = passed_on
    if options.command is None and not unknown:
        top.print_help()
        raise SystemExit(0)
    if unknown and unknown[0].startswith("--") and hasattr(options, "words"):
        name, _, value = unknown[0][2:].partition("=")
        value = value or next(iter([*unknown[1:], *options.words[-1:]]), "…")
        raise UserError(
            f"{unknown[0]}: there is no such option; a setting is written key=value: {name}={value}"
        )
    if unknown and (not hasattr(options, "words") or any(word[:1] == "-" for word in unknown)):
        top.error(f"unrecognized arguments: {' '.join(unknown)}")
    if unknown:  # argparse takes words before the first option alone
        options.words = [*options.words, *unknown]
    return options


class StandardError(logging.StreamHandler):
    """Writes to what is sys.stderr at the time: a reward may close the one there was at first."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # pyright: ignore[reportIncompatibleVariableOverride]
        return sys.stderr


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 if it went well, 2 with a sentence on what the user can mend, and as shells
    expect 128 + the number of the signal that ended it, with its temporary files removed (a reader
    like `| head` that has seen enough is SIGPIPE). What else goes wrong is a defect of ours and
    raises."""
    prepare_streams()
    options = None
    try:
        with flushed():
            options = parse(arguments)
            handler = StandardError()
            handler.setFormatter(Lines("%(name)s: %(message)s"))
            logging.getLogger("evenflow").handlers = [handler]
            with ended_by_signals():
                commands.ALL[options.command].run(options)
    except UserError as error:
        said = str(error)
        if hasattr(options, "model"):  # what is a setting elsewhere is an argument here
            said = said.removeprefix("model.path: ")
        complain(f"error: {said}")
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
