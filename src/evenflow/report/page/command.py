"""`evenflow report`: the page of runs and evaluations."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from evenflow.errors import UserError

PAGE = "report.html"


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


def report(options: Namespace) -> None:
    """Write the page and say where it is."""
    from evenflow.report.display import console
    from evenflow.report.page.page import write_page

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


def page_of_run(folder: Path) -> str:
    """Write the page at the end of a run; where it is, or why there is none.

    Whatever goes wrong here, the run has ended well and its numbers are on disk.
    """
    from evenflow.report.page.page import write_page

    try:
        write_page([folder], folder / PAGE)
    except Exception as error:
        return f"none: {error or type(error).__name__}; evenflow report {folder} tries again"
    return str(folder / PAGE)
