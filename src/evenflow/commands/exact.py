"""`evenflow exact`: from the words on the command line to the page."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from evenflow.errors import UserError
from evenflow.machine import cores

HELP = "proof by enumeration: every algorithm where all answers can be listed"


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow exact` takes."""
    parser.add_argument(
        "--full",
        action="store_true",
        help="all lengths × rewards × priors and up to 105,000 answers: at most an hour on two "
        "cores instead of eleven minutes",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="default 0")
    parser.add_argument(
        "--jobs", type=int, help="processes at a time, one thread each (default: all cores)"
    )
    parser.add_argument(
        "--only",
        metavar="TEXT",
        default="",
        help="only runs with this in 'study, problem, algorithm', e.g. --only tba",
    )
    parser.add_argument(
        "--rollouts", type=int, metavar="N", help="rollout batches a run (default: 200 or 450)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/exact"),
        help="results, one file a run; the same command goes on there (default runs/exact)",
    )
    parser.add_argument(
        "--page",
        type=Path,
        help="the page whose tables and figures are written (default: exact.md in --out)",
    )


def run(options: Namespace) -> None:
    """Run what is left, then write the page with all that was asked for and is there."""
    from evenflow.run.console import console
    from evenflow.run.files import file_at
    from evenflow.studies.exact.experiments import all_runs
    from evenflow.studies.exact.pages import write_page
    from evenflow.studies.exact.runner import result_of, run_all
    from evenflow.studies.exact.training import Settings

    for name in ("jobs", "rollouts"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name}: must be at least 1, not {value}")
    from evenflow.bounds import LONG

    if min(options.seeds) < 0 or max(options.seeds) > LONG:
        raise UserError("--seeds: must be from 0 to 2^63 - 1")
    settings = Settings() if options.rollouts is None else Settings(rollouts=options.rollouts)
    runs = [
        run
        for run in all_runs(
            list(dict.fromkeys(options.seeds)), full=options.full, settings=settings
        )
        if options.only in f"{run.study}, {run.problem.name}, {run.label}"
    ]
    if not runs:
        raise UserError(f"--only: no run has {options.only!r} in its study, problem or algorithm")
    folder: Path = options.out / "results"
    page: Path = options.page or options.out / "exact.md"
    file_at(page)
    run_all(runs, folder, options.jobs or cores())
    write_page(page, [(run, result) for run in runs if (result := result_of(run, folder))])
    console.print(f"page  {page}", markup=False)
