"""`evenflow report`: the page of runs and evaluations."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from evenflow.errors import UserError
from evenflow.run.files import PAGE

HELP = "one HTML page of runs and evaluations, side by side, to open offline"


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow report` takes."""
    parser.description = (
        "Write one HTML file that opens offline and fetches nothing: scores before and after, "
        "curves of all runs, pass@k, diversity, log Z, importance weights, time, settings, and the "
        "answers of two runs side by side, grouped by solution. Every training run ends with one."
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folder of a training run, finished or not (of a comparison: those in its runs/), or "
        "of an evaluation; several are shown side by side",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=f"where to write; default: {PAGE} in the run's folder, of several runs in the "
        "current one",
    )
    parser.add_argument("--open", action="store_true", help="show it in the browser")


def run(options: Namespace) -> None:
    """Write the page and say where it is."""
    from evenflow.report.page import write_page
    from evenflow.run.console import console

    single = options.runs[0] / PAGE if len(options.runs) == 1 else Path(PAGE)
    out: Path = options.out or single
    if out.is_dir():
        raise UserError(f"{out}: is a folder; name a file with --out, e.g. {out / PAGE}")
    if options.out and not out.parent.is_dir():
        raise UserError(f"{out.parent}: there is no such folder; make it, or choose another --out")
    write_page(options.runs, out)
    console.print(f"report      {out}", markup=False)
    if options.open:
        import webbrowser

        webbrowser.open(out.resolve().as_uri())
