"""Runs → one HTML file that fetches nothing.

Everything is inline: style, scripts, the chart library and the data. A content security policy
forbids the page to load anything else. Text of answers reaches the document as text only: the data
lie in a JSON element whose `<`, `>` and `&` are escaped, and the template escapes the rest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from evenflow.report import maths, tables
from evenflow.report.cases import case_study
from evenflow.report.equal import comparisons
from evenflow.report.frontier import frontiers
from evenflow.report.origins import provenance_table
from evenflow.report.reading import Run, read_runs
from evenflow.report.series import axes, drawn_sections, histogram, on_policy, pass_curves
from evenflow.report.variants import variants
from evenflow.run.files import PAGE, file_at, finite, writable, write_atomic

STYLES = ("uplot/uPlot.min.css", "page.css")
LIBRARY = "uplot/uPlot.iife.min.js"
SCRIPTS = (
    *("state.js", "plot.js", "save.js", "charts.js", "means.js", "curves.js", "frontier.js"),
    *("equal.js", "cases.js", "page.js"),
)
"""They share one scope, in this order."""
AXES = {"step": "steps", "answers": "answers", "minutes": "time"}
"""What curves can stand across, and its name on the switch."""
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def make_page(folders: Sequence[Path], watched: float | None = None) -> str:
    """The page of these folders, as text of HTML; it opens itself again every `watched` seconds."""
    runs = read_runs(folders)
    sections = drawn_sections(runs)
    curves = [curve for index, run in enumerate(runs) for curve in pass_curves(run, index)]
    histograms = [
        {"run": index, **found} for index, run in enumerate(runs) if (found := histogram(run))
    ]
    cases = case_study(runs)
    formulas = maths.holds_formulas(cases)
    every = variants(runs)
    colour = {run: place for place, variant in enumerate(every) for run in variant.runs}
    charts, compared = frontiers(runs, every), comparisons(folders)
    data: dict[str, Any] = {
        "runs": [
            {"name": run.name, "axes": axes(run), "colour": colour[index]}
            for index, run in enumerate(runs)
        ],
        "variants": [{"label": v.label, "runs": v.runs} for v in every],
        "frontiers": charts,
        "comparisons": compared,
        "sections": sections,
        "passCurves": curves,
        "histograms": histograms,
        "cases": cases,
    }
    origins = provenance_table(runs)
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    benchmarks, diversity = tables.benchmark_table(runs), tables.diversity_table(runs)
    return template().render(
        title=title,
        runs=[{"name": run.name, "colour": colour[index]} for index, run in enumerate(runs)],
        seeds=[variant for variant in every if len(variant.runs) > 1],
        has_frontiers=bool(charts),
        comparisons=compared,
        origins=origins,
        origin_columns=tables.columns_of(origins),
        watched=watched,
        notes=notes_of(runs),
        colours=tables.COLOURS,
        axes={k: v for k, v in AXES.items() if any(k in run["axes"] for run in data["runs"])},
        sections={section["key"]: section for section in sections},
        final=tables.final_table(runs),
        benchmarks=benchmarks,
        benchmark_columns=tables.columns_of(benchmarks),
        diversity=diversity,
        diversity_columns=tables.columns_of(diversity),
        has_pass_curves=bool(curves),
        has_histograms=bool(histograms),
        on_policy=[run.name for run in runs if on_policy(run)],
        time=tables.time_table(runs),
        settings=tables.settings(runs),
        cases=cases,
        data=inline_json(data),
        style=Markup("\n".join([*map(asset, STYLES), *([maths.style()] if formulas else [])])),
        formulas=formulas,
        library=Markup("\n".join([asset(LIBRARY), *([maths.script()] if formulas else [])])),
        script=Markup("\n".join(map(asset, SCRIPTS))),
    )


def notes_of(runs: Sequence[Run]) -> dict[str, list[str]]:
    """What is missing or damaged, each once with the names of the runs that lack it."""
    found: dict[str, list[str]] = {}
    for run in runs:
        for note in run.notes:
            found.setdefault(note, []).append(run.name)
    return found


def inline_json(data: Any) -> Markup:
    """JSON for a <script> element: nothing in it can end the element or begin a comment."""
    text = json.dumps(finite(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, escape in ESCAPES.items():
        text = text.replace(character, escape)
    return Markup(text)


def asset(name: str) -> str:
    """The text of a file that comes with the package."""
    return (files("evenflow.report") / "assets" / name).read_text(encoding="utf-8")


@cache
def template() -> Any:
    """The page's template; what it does not know is an error."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(asset("template.html.jinja"))


def write_page(folders: Sequence[Path], out: Path, watched: float | None = None) -> None:
    """Write the page, in folders made for it; it is whole or not there, and a link to a file stays
    one."""
    file_at(out)  # before the runs are read
    page = make_page(folders, watched)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, writable(page))


def page_of_run(folder: Path) -> str:
    """Write the page at the end of a run; where it is, or why there is none.

    Whatever goes wrong here, the run has ended well and its numbers are on disk.
    """
    try:
        write_page([folder], folder / PAGE)
    except Exception as error:
        return f"none: {error or type(error).__name__}; evenflow report {folder} tries again"
    return str(folder / PAGE)
