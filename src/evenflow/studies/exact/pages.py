"""The page of `evenflow exact`: tables between markers, figures beside it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import torch

from evenflow.installation import how_to_install
from evenflow.run.console import console
from evenflow.run.files import write_atomic, writing
from evenflow.studies.exact.experiments import ALGORITHMS, FIXED_POINTS
from evenflow.studies.exact.training import Run

Results = Sequence[tuple[Run, dict[str, Any]]]

SKELETON = """\
# Proof by enumeration

<!-- algorithms -->
<!-- end -->

![target and learned distributions](exact_distributions.png)

![KL to the target over training](exact_kl.svg)

![log Z over training](exact_log_z.svg)

<!-- fixed points -->
<!-- end -->

<!-- runs -->
<!-- end -->
"""


def write_page(page: Path, results: Results) -> None:
    """Fill the marked parts of the page, which is begun if there is none, and draw its figures."""
    with writing(page):
        page.parent.mkdir(parents=True, exist_ok=True)
    text = page.read_text(encoding="utf-8") if page.exists() else SKELETON
    parts: dict[str, Callable[[Results], str]] = {
        ALGORITHMS: algorithm_tables,
        FIXED_POINTS: fixed_point_table,
        "runs": run_facts,
    }
    draw_if_possible(page.parent, results)
    for name, part in parts.items():
        text = fill(text, name, part(results))
    write_atomic(page, text)


def fill(text: str, name: str, content: str) -> str:
    """Replace what stands between a marker and the next end."""
    head, marker, rest = text.partition(f"<!-- {name} -->\n")
    if not marker:
        return text
    _, end, tail = rest.partition("<!-- end -->\n")
    return head + marker + content + end + tail


def draw_if_possible(folder: Path, results: Results) -> None:
    """The figures, where matplotlib is there."""
    try:
        from evenflow.studies.exact.figures import draw
    except ModuleNotFoundError as error:
        console.print(
            f"no figures: {error.name} is missing; {how_to_install('plots')}", markup=False
        )
        return
    draw(folder, results)


def algorithm_tables(results: Results) -> str:
    """A table a problem: the target, the reference, then every algorithm."""
    tables = []
    for problem in dict.fromkeys(run.problem.name for run, _ in results if run.study == ALGORITHMS):
        rows = [(r, x) for r, x in results if r.study == ALGORITHMS and r.problem.name == problem]
        run, result = rows[0]
        lines = [
            f"### {title(run)}",
            "",
            "| | KL(π‖π\\*) | KL(π\\*‖π) | total variation | modes covered | entropy | reward "
            "| abs(log Z − z) | KL to own fixed point |",
            "|---|---|---|---|---|---|---|---|---|",
            algorithm_row("*target*", [result["target"]]),
            algorithm_row("*reference*", [result["history"][0]]),
        ]
        for label in dict.fromkeys(r.label for r, _ in rows):
            finals = [x["final"] for r, x in rows if r.label == label]
            lines.append(algorithm_row(f"`{label}`", finals))
        tables.append("\n".join(lines) + "\n")
    return "\n".join(tables)


def title(run: Run) -> str:
    """What the problem is, in a line."""
    problem = run.problem
    belief = "the reference as a prior" if problem.prior else "no prior"
    return (
        f"{'Mixed' if problem.mixed else 'Single'} length, {problem.shape}, {belief}: "
        f"{len(problem.answers):,} answers, n = {problem.inverse_temperature:g}"
    )


def algorithm_row(name: str, finals: Sequence[dict[str, Any]]) -> str:
    cells = [
        spread(finals, "kl"),
        spread(finals, "forward_kl", digits=3),
        spread(finals, "total_variation", digits=3),
        f"{fmean(row['modes_covered'] for row in finals):.0%}",
        spread(finals, "entropy", digits=2),
        spread(finals, "reward", digits=3),
        spread(finals, "log_z_error", digits=3),
        spread(finals, "kl_to_predicted", digits=4),
    ]
    return f"| {name} | " + " | ".join(cells) + " |"


def spread(rows: Sequence[dict[str, Any]], key: str, digits: int = 4) -> str:
    """The mean over the seeds, with their standard deviation; nothing where a run has no value."""
    values = [abs(row[key]) if "kl" in key else row[key] for row in rows if key in row]
    if not values:
        return ""
    mean = f"{fmean(values):.{digits}f}"
    return f"{mean} ± {pstdev(values):.{digits}f}" if len(values) > 1 else mean


def fixed_point_table(results: Results) -> str:
    """Predicted and measured, a line a choice."""
    rows = [(run, result) for run, result in results if run.study == FIXED_POINTS]
    if not rows:
        return ""
    lines = [
        "| choice | KL to π\\*, predicted | KL to π\\*, measured | KL(π‖predicted) | reward "
        "| abs(log Z − z) |",
        "|---|---|---|---|---|---|",
    ]
    for label in dict.fromkeys(run.label for run, _ in rows):
        finals = [result["final"] for run, result in rows if run.label == label]
        keys = {"predicted_kl": 4, "kl": 4, "kl_to_predicted": 4, "reward": 3, "log_z_error": 3}
        cells = [spread(finals, key, digits) for key, digits in keys.items()]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def run_facts(results: Results) -> str:
    """Seeds, steps, time and machine."""
    if not results:
        return ""
    seeds = sorted({run.seed for run, _ in results})
    steps = sorted({run.rollouts * run.settings.mini_batches for run, _ in results})
    wall = fmean(result["seconds"] for _, result in results)
    cpu = sum(result["cpu_seconds"] for _, result in results)
    means = "values are means over them ± their standard deviation, which is no interval; "
    return (
        f"{len(results)} runs, seeds {', '.join(map(str, seeds))}; {means * (len(seeds) > 1)}"
        f"{' or '.join(f'{count:,}' for count in steps)} optimiser steps each. "
        f"{cpu / 60:.0f} minutes of processor time in all ({cpu / len(results):.0f} s a run; "
        f"{wall:.0f} s by the clock), on {processor()}, PyTorch {torch.__version__}.\n"
    )


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
