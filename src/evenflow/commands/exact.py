"""`evenflow exact`: from the words on the command line to the page."""

from __future__ import annotations

from argparse import SUPPRESS, Action, ArgumentParser, Namespace
from typing import Any, NoReturn

from evenflow.commands.words import add_words, file_and_settings
from evenflow.errors import UserError
from evenflow.inputs import expanded
from evenflow.machine import cores

HELP = "proof by enumeration: every algorithm where all answers can be listed"
EPILOG = "example: evenflow exact seeds=0,1 only=tba output=runs/tba"
FLAGS = ("--full", "--seeds", "--jobs", "--only", "--rollouts", "--out", "--page")
"""Options of before, which are settings now."""


class Renamed(Action):
    """Names the setting that an option has become."""

    def __call__(self, parser: object, space: object, values: object, flag: Any = "") -> NoReturn:
        name = {"--out": "output"}.get(flag, flag[2:])
        raise UserError(f"{flag}: is written {name}=… now; `evenflow config exact` lists settings")


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow exact` takes."""
    add_words(parser, "if any, a file of settings (YAML)", "exact")
    parser.add_argument(*FLAGS, action=Renamed, nargs="*", help=SUPPRESS)
    parser.epilog = EPILOG


def run(options: Namespace) -> None:
    """Run what is left, then write the page with all that was asked for and is there."""
    file, settings = file_and_settings(options.words)
    from evenflow.config import ExactConfig, load
    from evenflow.run.console import console
    from evenflow.run.files import file_at
    from evenflow.run.kinds import Kind, refuse_other_kinds
    from evenflow.studies.exact.experiments import all_runs
    from evenflow.studies.exact.pages import write_page
    from evenflow.studies.exact.runner import result_of, run_all
    from evenflow.studies.exact.training import Settings

    config = load(ExactConfig, file, settings)
    given: dict[str, Any] = {} if config.rollouts is None else {"rollouts": config.rollouts}
    runs = [
        run
        for run in all_runs(config.seeds, full=config.full, settings=Settings(**given))
        if config.only in f"{run.study}, {run.problem.name}, {run.label}"
    ]
    if not runs:
        raise UserError(f"only: no run has {config.only!r} in its study, problem or algorithm")
    output = expanded(config.output)
    page = expanded(config.page) if config.page else output / "exact.md"
    folder = output / "results"
    file_at(page)
    refuse_other_kinds(output, Kind.EXACT)
    run_all(runs, folder, config.jobs or cores())
    write_page(page, [(run, result) for run in runs if (result := result_of(run, folder))])
    console.print(f"page  {page}", markup=False)
