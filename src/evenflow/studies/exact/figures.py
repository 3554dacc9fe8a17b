"""The figures of `evenflow exact`, from finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

from evenflow.objectives import Balance
from evenflow.studies.exact.experiments import ALGORITHMS
from evenflow.studies.exact.training import Run

matplotlib.use("Agg")
Results = Sequence[tuple[Run, dict[str, Any]]]
TARGET, LEARNED = "#444444", {True: "#1f77b4", False: "#d6702b"}  # the balance family, the others
COLUMNS = 6


def draw(folder: Path, results: Results) -> None:
    """Write exact_distributions.png, exact_kl.svg and exact_log_z.svg, one seed a run."""
    first = min((run.seed for run, _ in results), default=0)
    rows = [(r, x) for r, x in results if r.study == ALGORITHMS and r.seed == first]
    names = list(dict.fromkeys(run.problem.name for run, _ in rows))
    by_problem = {name: [(r, x) for r, x in rows if r.problem.name == name] for name in names}
    listed = [part for part in by_problem.values() if "distribution" in part[0][1]]
    if listed:
        distributions(folder / "exact_distributions.png", listed[0])
    if by_problem:
        kl_over_steps(folder / "exact_kl.svg", by_problem)
    if any(has_log_z(run) for run, _ in rows):
        log_z_over_steps(folder / "exact_log_z.svg", rows)


def distributions(path: Path, rows: Results) -> None:
    """π* and π of one question, answers in the order of π*: a panel an algorithm."""
    lines = -(-len(rows) // COLUMNS)
    figure, panels = plt.subplots(
        lines, COLUMNS, figsize=(12, 1.75 * lines), sharex=True, sharey=True, layout="constrained"
    )
    for panel in panels.flat[len(rows) :]:
        panel.axis("off")
    for panel, (run, result) in zip(panels.flat, rows, strict=False):
        target, policy = (result["distribution"][name] for name in ("target", "policy"))
        order = sorted(range(len(target)), key=lambda i: -target[i])
        rank = range(1, len(order) + 1)
        colour = LEARNED[isinstance(run.objective, Balance)]
        panel.plot(rank, [policy[i] for i in order], ".", color=colour, markersize=2)
        panel.plot(rank, [target[i] for i in order], color=TARGET, linewidth=1)
        panel.set(xscale="log", yscale="log", ylim=(1e-7, 2))
        panel.set_title(f"{run.label}: KL {result['final']['kl']:.3f}", fontsize=8)
        panel.tick_params(labelsize=7)
    figure.supxlabel("answers, the likeliest under π* first", fontsize=9)
    figure.supylabel("probability", fontsize=9)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def kl_over_steps(path: Path, by_problem: dict[str, list[tuple[Run, dict[str, Any]]]]) -> None:
    """KL(π‖π*) over training: a panel a problem, a line an algorithm."""
    count = len(by_problem)
    columns = min(3, count)
    lines = -(-count // columns)
    figure, panels = plt.subplots(
        lines,
        columns,
        figsize=(3.7 * columns + 1.6, 3.2 * lines),
        squeeze=False,
        layout="constrained",
    )
    for panel in panels.flat[count:]:
        panel.axis("off")
    styles: dict[str, Any] = {}
    for panel, (name, rows) in zip(panels.flat, by_problem.items(), strict=False):
        for run, result in rows:
            style = styles.setdefault(run.label, style_of(run, len(styles)))
            steps = [row["step"] for row in result["history"]]
            panel.plot(steps, [row["kl"] for row in result["history"]], label=run.label, **style)
        panel.axhline(0.01, color="grey", linewidth=0.8, linestyle=":")
        panel.set(yscale="log", xlabel="optimiser steps", ylim=(1e-4, None))
        panel.set_title(name, fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("KL(π‖π*), nats")
    handles = {}
    for panel in panels.flat:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        handles.values(), handles.keys(), loc="outside right upper", fontsize=7, frameon=False
    )
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def style_of(run: Run, number: int) -> dict[str, Any]:
    """Full lines for the balance family, dashed ones for the others; a colour each."""
    balance = isinstance(run.objective, Balance)
    colours = matplotlib.colormaps["tab20"].colors  # pyright: ignore[reportAttributeAccessIssue]
    return {
        "color": colours[number % len(colours)],
        "linestyle": "-" if balance else (0, (3, 1.5)),
        "linewidth": 1.8 if balance else 1.0,
    }


def has_log_z(run: Run) -> bool:
    """Whether the run's log Zφ should end at the true log Z: learned, s = 1, raw rewards."""
    objective = run.objective
    return isinstance(objective, Balance) and (
        (objective.log_z, objective.scale, objective.reward) == ("head", "sum", "raw")
    )


def log_z_over_steps(path: Path, rows: Results) -> None:
    """log Zφ between log Z − KL, which it is regressed onto, and log Z."""
    shown = [(run, result) for run, result in rows if has_log_z(run)]
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    figure, panels = plt.subplots(
        lines, columns, figsize=(3.6 * columns, 2.8 * lines), squeeze=False, layout="constrained"
    )
    for panel in panels.flat[len(shown) :]:
        panel.axis("off")
    for panel, (run, result) in zip(panels.flat, shown, strict=False):
        history = result["history"]
        steps = [row["step"] for row in history]
        panel.axhline(result["log_z_true"], color=TARGET, linewidth=1, label="log Z")
        own = [row["log_z_own"] for row in history]
        panel.plot(steps, own, color="#2a9d5c", linewidth=1.5, label="log Z − KL(π‖π*)")
        learned = [row["log_z"] for row in history]
        panel.plot(steps, learned, ".--", color=LEARNED[True], linewidth=1, label="log Zφ")
        panel.set_title(f"{run.label}: {run.problem.name}", fontsize=9)
        panel.set_xlabel("optimiser steps")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].legend(fontsize=8, frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
