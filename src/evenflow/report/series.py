"""From metrics rows to what the charts draw: thinned curves, sums of phases, histograms."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, pairwise
from statistics import fmean
from typing import Any

from evenflow.inputs import is_number
from evenflow.report.reading import Run
from evenflow.report.rows import numbers, power
from evenflow.report.sections import (
    AXES,
    DRAWN,
    ELSEWHERE,
    REWARDS,
    SECTIONS,
    SPEED,
    Chart,
    Section,
)
from evenflow.report.sections import chart as single

POINTS = 2000
"""Points of a curve beyond which it is thinned; of more than four runs each has its part of four
times as many, but at least a quarter."""
BESIDE = ("seconds/rollout", "seconds/reward")
"""Of a run that samples ahead of learning, in a thread of its own (docs/ahead.md)."""
BINS = 129
"""Of a histogram of weights, around 2^(k/16), k = −64 … 64."""


def drawn_sections(runs: list[Run]) -> list[dict[str, Any]]:
    """The sections that have something to show."""
    metrics = sorted({name for run in runs for row in run.rows for name in row})
    functions = tuple(
        single(name, name.removeprefix("reward/"), "Mean of this reward function.")
        for name in metrics
        if name.startswith("reward/") and name not in DRAWN
    )
    further = tuple(
        single(name, name, "")
        for name in metrics
        if name not in DRAWN and name not in AXES and not name.startswith(ELSEWHERE)
    )
    more = (
        Section("speed", "Time", "Where the time went.", (SPEED,)),
        Section("further", "Further metrics", "By the names they have in metrics.jsonl.", further),
    )
    sections = [
        replace(section, charts=section.charts + functions) if section.key == REWARDS else section
        for section in (*SECTIONS, *more)
    ]
    found = [drawn_section(section, runs) for section in sections]
    return [section for section in found if section["charts"] or section["constant"]]


def drawn_section(section: Section, runs: list[Run]) -> dict[str, Any]:
    """A section with its curves. What stays at one value in all runs is told in words."""
    charts, constant = [], []
    limit = min(POINTS, max(4 * POINTS // len(runs), POINTS // 4))
    for chart in section.charts:
        curves = [
            {"run": index, "line": place, **curve}
            for index, run in enumerate(runs)
            for place, line in enumerate(chart.lines)
            if (curve := curve_of(run, line.metric, limit))
        ]
        values = {value for curve in curves for value in curve["v"]}
        if len(values) == 1 and not chart.lines[0].metric.startswith("test/"):
            constant.append(f"{chart.title} {value_text(values.pop(), chart)}")
        elif values:
            charts.append(drawn_chart(chart, curves))
    return {
        "key": section.key,
        "title": section.title,
        "text": section.text,
        "charts": charts,
        "constant": constant,
    }


def drawn_chart(chart: Chart, curves: list[dict[str, Any]]) -> dict[str, Any]:
    """A chart as the page's script takes it."""
    used = {curve["line"] for curve in curves}
    return {
        "title": chart.title,
        "meaning": chart.meaning,
        "percent": chart.percent,
        "noisy": chart.noisy,
        "lines": [
            {"label": line.label, "dash": line.dash, "level": line.level, "used": place in used}
            for place, line in enumerate(chart.lines)
        ],
        "curves": curves,
    }


def value_text(value: float, chart: Chart) -> str:
    """A value in the chart's unit."""
    return f"{value:.4g}".replace("-", "−") if not chart.percent else f"{100 * value:.3g} %"


def curve_of(run: Run, metric: str, limit: int = POINTS) -> dict[str, Any] | None:
    """{at: places of rows, v: values}, and of a thinned curve its `stretches`, to smooth over.

    A true log Z holds from its row to the first reset.
    """
    points = [(i, row[metric]) for i, row in enumerate(run.rows) if is_number(row.get(metric))]
    if not points:
        return None
    if metric == "log_z/true" and len(points) == 1:
        last = max(i for i, row in enumerate(run.rows) if not row.get("resets"))
        points += [(last, points[0][1])] if last > points[0][0] else []
    kept = thinned(points, limit)
    curve: dict[str, Any] = {"at": [i for i, _ in kept], "v": [rounded(value) for _, value in kept]}
    if len(kept) < len(points):
        curve["stretches"] = stretch_means(points, limit // 4)
    return curve


def thinned(points: list[tuple[int, float]], limit: int) -> list[tuple[int, float]]:
    """At most `limit` of the points, in order: of each stretch its lowest and its highest."""
    if len(points) <= limit:
        return points
    kept = [points[0]]
    for part in stretches(points[1:-1], (limit - 2) // 2):
        ends = {min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}
        kept += sorted(ends)
    return [*kept, points[-1]]


def stretch_means(points: list[tuple[int, float]], count: int) -> dict[str, list[float]]:
    """{at: the last place, mean, count: how many values} of each of `count` stretches.

    An average over the points of a thinned curve would be one of extremes; this is of all values.
    """
    parts = stretches(points, count)
    return {
        "at": [part[-1][0] for part in parts],
        "mean": [rounded(fmean(value for _, value in part)) for part in parts],
        "count": [len(part) for part in parts],
    }


def stretches(points: list[tuple[int, float]], count: int) -> list[list[tuple[int, float]]]:
    """The points in order, in `count` parts as equal as can be."""
    bounds = [i * len(points) // count for i in range(count + 1)]
    return [points[start:end] for start, end in pairwise(bounds)]


def rounded(value: float) -> float:
    """Five digits: more cannot be seen."""
    return float(f"{value:.5g}")


def axes(run: Run) -> dict[str, list[float]]:
    """What can stand on the x axis, at each row: steps, answers sampled, minutes spent.

    What the run has not counted is left out.
    """
    spent = [seconds(row) for row in run.rows]
    answers = [row.get("answers") for row in run.rows]
    found: dict[str, list[float]] = {}
    if run.rows:
        found["step"] = [float(row["step"]) for row in run.rows]
    if any(map(is_number, answers)):
        found["answers"] = list(accumulate((n if is_number(n) else 0.0 for n in answers), max))
    if any(spent):
        total = accumulate(sum(phases.values()) for phases in spent)
        found["minutes"] = [rounded(value / 60) for value in total]
    return found


def seconds(row: dict[str, Any]) -> dict[str, float]:
    """The seconds of a step by phase. Where it waits for what is sampled ahead, the sampler's own
    passed beside the others."""
    beside = BESIDE if "seconds/waiting" in row else ()
    return {
        name.removeprefix("seconds/").replace("_", " "): value
        for name, value in row.items()
        if name.startswith("seconds/") and name not in beside and is_number(value) and value >= 0
    }


def phases(run: Run) -> dict[str, float]:
    """Seconds by phase, over all steps."""
    total: dict[str, float] = {}
    for row in run.rows:
        for phase, value in seconds(row).items():
            total[phase] = total.get(phase, 0.0) + value
    return total


def pass_curves(run: Run, index: int) -> list[dict[str, Any]]:
    """pass@k by k: before and after training, or of a benchmark with its interval."""
    if run.kind == "evaluation":
        parts = [("", _with_intervals(run.result.get("pass@k")))]
    else:
        after = "after" if run.evaluated is None else f"step {run.evaluated}"
        parts = [("before", _by_k(run.before)), (after, _by_k(run.after))]
    return [
        {
            "run": index,
            "part": part,
            **{name: [row[i] for row in rows] for i, name in enumerate(("k", "v", "low", "high"))},
        }
        for part, rows in parts
        if len(rows) > 1
    ]


Score = tuple[int, float, float | None, float | None]
"""k, pass@k and the bounds of its interval."""


def _with_intervals(scores: Any) -> list[Score]:
    """pass@k of a benchmark, {k: {value, low, high}}."""
    found: dict[int, Score] = {}
    for name, entry in scores.items() if isinstance(scores, dict) else ():
        k, parts = power(name), numbers(entry)
        if k is not None and "value" in parts:
            found[k] = (k, parts["value"], parts.get("low"), parts.get("high"))
    return [found[k] for k in sorted(found)]


def _by_k(scores: dict[str, float]) -> list[Score]:
    """pass@k of held-out scores; pass@1 is the accuracy."""
    found = {
        k: value
        for name, value in scores.items()
        if name.startswith("pass@") and (k := power(name)) is not None
    }
    if found and "accuracy" in scores:
        found.setdefault(1, scores["accuracy"])
    return [(k, value, None, None) for k, value in sorted(found.items())]


def histogram(run: Run) -> dict[str, list[float]] | None:
    """Shares of the importance weights by bin: over all steps, the first and the last quarter."""
    rows = [
        counts
        for row in run.rows
        if isinstance(counts := row.get("weight/histogram"), list)
        and len(counts) == BINS
        and all(map(is_number, counts))
    ]
    if not rows:
        return None
    quarter = max(1, len(rows) // 4)
    parts = {"all": rows, "first": rows[:quarter], "last": rows[-quarter:]}
    return {name: shares(part) for name, part in parts.items()}


def shares(rows: list[list[int]]) -> list[float]:
    """The bins' parts of all counts."""
    sums = [sum(column) for column in zip(*rows, strict=True)]
    total = sum(sums) or 1
    return [rounded(value / total) for value in sums]


def on_policy(run: Run) -> bool:
    """Whether its metrics say that every weight was 1."""
    found = [(row["weight/p01"], row.get("weight/p99")) for row in run.rows if "weight/p01" in row]
    return bool(found) and all(low == high == 1.0 for low, high in found)
