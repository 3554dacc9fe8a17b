"""`evenflow report`: the page of runs and evaluations."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

from evenflow.errors import UserError
from evenflow.inputs import expanded
from evenflow.run.files import PAGE

HELP = "one HTML page of runs and evaluations, side by side, to open offline"


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow report` takes."""
    parser.description = (
        "Write one HTML file that opens offline and fetches nothing: scores before and after, "
        "curves of all runs, pass@k, diversity, log Z, importance weights, time, settings, and the "
        "answers of two runs side by side, grouped by solution. `evenflow train` ends with one."
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=expanded,
        metavar="RUN",
        help="folder of a training run, finished or not, of an evaluation, or of a comparison, "
        "which stands for its runs; several are shown side by side",
    )
    parser.add_argument(
        "--out",
        type=expanded,
        metavar="FILE",
        help=f"where to write; default: {PAGE} in the run's folder, of several runs in the "
        "current one",
    )
    parser.add_argument(
        "--watch",
        nargs="?",
        type=seconds,
        const=10.0,
        metavar="SECONDS",
        help="draw it anew while a run goes on, looking for news every so many seconds (10)",
    )
    parser.add_argument("--open", action="store_true", help="show it in the browser")


def run(options: Namespace) -> None:
    """Write the page and say where it is."""
    from evenflow.report.page import write_page
    from evenflow.report.watch import watch
    from evenflow.run.console import console

    single = options.runs[0] / PAGE if len(options.runs) == 1 else Path(PAGE)
    out: Path = options.out or single
    if out.is_dir():
        raise UserError(f"{out}: is a folder; name a file with --out, e.g. {out / PAGE}")
    write_page(options.runs, out, options.watch)
    console.print(f"report      {out}", markup=False)
    if options.open:
        import webbrowser

        webbrowser.open(out.resolve().as_uri())
    if options.watch:
        watch(options.runs, out, options.watch)


def seconds(text: str) -> float:
    """A time to wait, half a second at least: reading the runs takes about as long."""
    value = float(text)
    if not 0.5 <= value <= 86400:
        raise ArgumentTypeError(f"{text}: give seconds from 0.5 to 86400")
    return value
