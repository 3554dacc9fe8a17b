"""The tables of the page, as text: final scores, benchmarks, diversity, time, settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from evenflow.inputs import is_number
from evenflow.report.reading import Run
from evenflow.report.rows import power
from evenflow.report.scored import interval_of, of_answers
from evenflow.report.series import phases
from evenflow.report.sets import question_sets, scored, set_title
from evenflow.run.console import duration
from evenflow.terminal import counted

SCORES = {
    # score: heading, whether it is a share
    "accuracy": ("accuracy", True),
    "pass@16": ("pass@16", True),
    "reward": ("reward", False),
    "distinct@16": ("distinct right among 16", False),
    "effective_solutions": ("effective solutions", False),
    "diversity": ("word-pair diversity", False),
    "length": ("tokens", False),
    "finished": ("finished", True),
    "unknown": ("unknown", True),
}
"""The held-out scores that have a column where a run has them."""
COLOURS = 8
"""Colours of the page; a ninth run begins anew with a broken line."""
IDLE = ("output", "device", "threads")
"""Settings that differ without making a difference."""


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.1f} %"


def number(value: float) -> str:
    """Four digits; whole numbers as such."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace("-", "−")


def final_table(runs: list[Run]) -> dict[str, Any]:
    """Held-out scores of training runs: each after training (or the latest), and before it.

    `sets`: runs that were scored on the same questions, for only those compare.
    """
    rows = [(index, run) for index, run in enumerate(runs) if run.kind == "training"]
    rows.sort(key=lambda row: not scored(row[1]))
    names = [n for n in SCORES if any(n in run.after or n in run.before for _, run in rows)]
    sets: dict[int, dict[str, Any]] = {}
    numbers = question_sets(runs)
    for index, run in rows:
        part = sets.setdefault(numbers[index], {"title": set_title(run), "rows": []})
        cells = [score_cell(run, name) for name in names]
        part["rows"].append({"run": index, "facts": run_facts(run), "cells": cells})
    return {"columns": [SCORES[name][0] for name in names], "sets": [*sets.values()]}


def run_facts(run: Run) -> list[str]:
    """Algorithm, seed, steps, answers and time of a training run."""
    seed = run.summary.get("seed", run.config.get("seed"))
    answers: Any = run.rows[-1].get("answers") if run.rows else run.summary.get("answers")
    steps = run.rows[-1]["step"] if run.rows else None
    facts = [
        run.algorithm,
        f"seed {seed}" if seed is not None else "",
        "" if steps is None else counted(steps, "step"),
        counted(int(answers), "answer") if is_number(answers) else "",
        duration(sum(phases(run).values())) if phases(run) else "",
        "" if run.ended else "not ended",
        f"scores of step {run.evaluated}" if run.evaluated is not None else "",
        questions_text(run),
    ]
    return [fact for fact in facts if fact]


def questions_text(run: Run) -> str:
    """How many held-out questions the scores are means over; "" where nobody knows."""
    if run.questions:
        return counted(run.questions, "question")
    some = run.config.get("evaluation.questions", run.config.get("evaluation_questions"))
    return f"at most {counted(int(some), 'question')}" if is_number(some) else ""


def score_cell(run: Run, name: str) -> dict[str, str]:
    """After training with its interval, before it, and the change: in points of a share, else in
    percent. Diversity says what share of the answers came to an end: cut off, all differ."""
    share = SCORES[name][1]
    show = percent if share else number
    old, new = run.before.get(name), run.after.get(name)
    cell = {"after": "–" if new is None else show(new), "before": "", "change": ""}
    cell |= {"interval": "", "note": ""}
    if new is not None and (bounds := interval_of(name, run.after_of.get(name, []))):
        cell["interval"] = f"[{show(bounds[0])}, {show(bounds[1])}]"
    if new is not None and name == "diversity" and run.after.get("finished", 1.0) < 1:
        cell["note"] = f"of answers of which {percent(run.after['finished'])} are finished"
    if old is not None:
        cell["before"] = show(old)
    if old is not None and new is not None and share:
        cell["change"] = f"{100 * (new - old):+.1f}".replace("-", "−")
    elif old and new is not None:
        cell["change"] = f"{100 * (new - old) / abs(old):+.1f} %".replace("-", "−")
    return cell


def benchmark_table(runs: list[Run]) -> list[dict[str, Any]]:
    """A row an evaluation: what was asked, and its scores with their intervals."""
    return [
        {"run": index, "cells": benchmark_cells(run.result, of_answers(run.answers))}
        for index, run in enumerate(runs)
        if run.kind == "evaluation" and run.result
    ]


def benchmark_cells(
    result: dict[str, Any], of_each: Mapping[str, list[float]] | None = None
) -> dict[str, str]:
    """Column → text; what an evaluation does not have is left out. `of_each`: a mean's values,
    question by question, from which its interval follows."""

    def sure(name: str) -> Any:
        bounds = interval_of(name, (of_each or {}).get(name, []))
        value = result.get(name)
        if isinstance(value, dict) or not bounds:
            return value
        return {"value": value, "low": bounds[0], "high": bounds[1]}

    rating = result.get("rating")
    if isinstance(rating, dict) and "rating" in rating:  # as `eval` writes it
        rating = rating["rating"]
    there, asked = result.get("questions"), result.get("questions_asked")
    questions = f"{there}" if asked in (None, there) else f"{there} of {asked}"
    cells = {
        "benchmark": str(result.get("benchmark", "")),
        "questions × answers": f"{questions} × {result.get('num_generations')}",
        "avg@k": with_interval(result.get("avg@k")),
        **{f"pass@{k}": text for k, text in largest_k(result.get("pass@k"))},
        **{f"maj@{k}": text for k, text in largest_k(result.get("maj@k"))},
        "rating": with_interval(rating, number),
        "tokens": with_interval(sure("length"), number),
        "cut off": with_interval(sure("cut_off")),
        "unknown": with_interval(sure("unknown")),
        "time": duration(result["seconds"]) if is_number(result.get("seconds")) else "",
    }
    return {name: text for name, text in cells.items() if text}


def largest_k(scores: Any) -> list[tuple[str, str]]:
    """The score of the most answers, from {k: {value, low, high}} or {value, low, high} alone."""
    if not isinstance(scores, dict):
        return []
    if "value" in scores:
        return [("k", with_interval(scores))]
    ks = {k: name for name in scores if (k := power(name)) is not None}
    return [(str(k), with_interval(scores[ks[k]])) for k in sorted(ks)[-1:]]


def with_interval(score: Any, show: Callable[[float], str] = percent) -> str:
    """``35.6 % [33.0 %, 38.1 %]`` of {value, low, high}, or of a number alone; "" of neither."""
    parts = score if isinstance(score, dict) else {"value": score}
    value, low, high = (parts.get(part) for part in ("value", "low", "high"))
    if not is_number(value):
        return ""
    interval = f" [{show(low)}, {show(high)}]" if is_number(low) and is_number(high) else ""
    return f"{show(value)}{interval}"


def columns_of(rows: list[dict[str, Any]]) -> list[str]:
    """All columns that some row has, as they first appear, but pass@4 beside pass@16."""
    names = list(dict.fromkeys(name for row in rows for name in row["cells"]))
    kinds = list(dict.fromkeys(name.partition("@")[0] for name in names))
    return sorted(names, key=lambda name: (kinds.index(name.partition("@")[0]), len(name), name))


def diversity_table(runs: list[Run]) -> list[dict[str, Any]]:
    """A row a run whose answers `evenflow diversity` has measured."""
    return [
        {
            "run": index,
            "cells": finished_cell(run)
            | {
                name.replace("_", " "): text
                for name, score in run.diversity.items()
                if (text := with_interval(score, number))
            },
        }
        for index, run in enumerate(runs)
        if run.diversity
    ]


def finished_cell(run: Run) -> dict[str, str]:
    """The share of answers that came to an end, which belongs beside how different they are."""
    cut = run.result.get("cut_off")
    cut = cut.get("value") if isinstance(cut, dict) else cut
    share = run.after.get("finished", 1 - cut if is_number(cut) else None)
    return {} if share is None else {"finished": percent(share)}


def time_table(runs: list[Run]) -> dict[str, Any]:
    """Stacked bars: each phase's share of its run's time, and of the longest run's."""
    spent = {index: found for index, run in enumerate(runs) if (found := phases(run))}
    order: dict[str, float] = {}
    for found in spent.values():
        for name, seconds in found.items():
            order[name] = order.get(name, 0.0) + seconds
    names = sorted(order, key=lambda name: -order[name])
    longest = max((sum(found.values()) for found in spent.values()), default=1.0) or 1.0
    return {
        "names": names,
        "rows": [
            {
                "run": index,
                "total": duration(sum(found.values())),
                "parts": [
                    {
                        "phase": names.index(name),
                        "name": name,
                        "width": round(100 * seconds / longest, 3),
                        "text": f"{duration(seconds)}, {seconds / sum(found.values()):.0%}",
                    }
                    for name, seconds in sorted(found.items(), key=lambda i: names.index(i[0]))
                    if seconds > 0
                ],
            }
            for index, found in spent.items()
        ],
    }


def settings(runs: list[Run]) -> list[dict[str, Any]]:
    """Every setting of every run, those in which the runs differ first."""
    names = list(dict.fromkeys(name for run in runs for name in run.config))
    rows = []
    for name in names:
        values = [setting_text(run.config[name]) if name in run.config else "" for run in runs]
        known = {value for run, value in zip(runs, values, strict=True) if run.config}
        rows.append(
            {"name": name, "values": values, "differs": len(known) > 1 and name not in IDLE}
        )
    return sorted(rows, key=lambda row: not row["differs"])


def setting_text(value: Any) -> str:
    """A setting as one writes it; the only mapping among them is an empty one."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(setting_text(item) for item in value) + "]"
    return str(value)
