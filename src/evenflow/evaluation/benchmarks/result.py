"""From saved answers to a result: verdicts, classes, scores, rating, and the table at the end."""

from __future__ import annotations

import math
import time
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from evenflow.config import BenchmarkConfig
from evenflow.errors import UserError
from evenflow.evaluation.benchmarks.answers import (
    ANSWERS,
    RESULT,
    SAMPLING,
    Answers,
    read_facts,
    write_facts,
)
from evenflow.evaluation.benchmarks.questions import find
from evenflow.evaluation.benchmarks.rating import rate, read_contests, read_users
from evenflow.evaluation.benchmarks.scores import scores
from evenflow.evaluation.benchmarks.verdicts import classes, due, grade, has_votes
from evenflow.run.console import Display, console
from evenflow.tasks import TASKS

SAVE_EVERY = 60.0
"""Seconds of grading after which the verdicts so far are written."""
REASONS = 3
"""Why verdicts are unknown: so many of the commonest are shown."""
Rows = dict[str, dict[str, Any]]


def grade_all(
    config: BenchmarkConfig, answers: Answers, rows: Rows, *, save_every: float = SAVE_EVERY
) -> None:
    """Verdicts of the answers that have none, and classes; written now and then, where something
    ends the grading, and at the end. With an infinite `save_every` at the end only."""
    grader = grader_of(config)
    if waiting := due(answers.lines, grader):
        found = grade(waiting, grader, rows, right=config.right, timeout=config.grading_timeout)
        saved = time.monotonic()
        try:
            with Display("grading", len(waiting)) as display:
                for number, (line, graded) in enumerate(zip(waiting, found, strict=True), 1):
                    line["verdict"], line["reason"] = graded
                    if number % config.num_generations == 0:
                        display.update(number, {})
                    if time.monotonic() - saved > save_every:
                        answers.save()
                        saved = time.monotonic()
        finally:
            if math.isfinite(save_every):
                answers.save()
    options = config.task_options if grader == config.benchmark else {}
    for key, members in groupby(answers.lines, lambda line: line["id"]):
        lines = list(members)
        labels = classes(lines, grader, rows.get(key), options)
        for line, label in zip(lines, labels, strict=True):
            line["class"] = label
    answers.save()


def grader_of(config: BenchmarkConfig) -> str:
    """The grader asked for, else the benchmark's own."""
    return config.grader or find(config)[1].grader


def write_result(config: BenchmarkConfig, folder: Path, answers: Answers, rows: Rows) -> None:
    """Count, write result.json and show it; `rows`: the questions by id, for a rating."""
    name, grader = find(config)[0], grader_of(config)
    groups = [list(members) for _, members in groupby(answers.lines, lambda line: line["id"])]
    known = read_facts(folder, SAMPLING)
    result = {
        "kind": "benchmark",
        "benchmark": name,
        "model": config.model.path,
        "source": known.get("source"),
        "questions": len(groups),
        "questions_asked": max(known.get("questions") or 0, len(groups)),
        "num_generations": config.num_generations,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "max_completion_length": known.get("max_completion_length"),
        "prompt_format": known.get("prompt_format"),
        "grader": grader,
        "seed": config.seed,
        **scores(
            groups,
            config.num_generations,
            votes=has_votes(grader),
            by_text=grader in TASKS,
            seed=config.seed,
        ),
        "tokens_per_second": known["tokens"] / known["seconds"] if known.get("seconds") else None,
        "seconds": known.get("seconds"),
    }
    if known.get("left_out"):
        result["left_out"] = known["left_out"]
    if config.contest_ratings:
        result["rating"] = rated(config, answers, rows)
    write_facts(folder, RESULT, result)
    show(result)
    for sentence in notes(result):
        console.print(sentence, markup=False)
    unknown = Counter(each["reason"] for each in answers.lines if each["verdict"] == "unknown")
    for reason, count in unknown.most_common(REASONS):
        console.print(f"unknown: {count:,} × {reason}", markup=False)
    for reason, count in result.get("left_out", {}).items():
        console.print(f"left out: {count} × {reason}", markup=False)
    if config.benchmark == "codeforces" and not config.contest_ratings:
        console.print("no rating: it needs past contests' standings, contest_ratings=FILE.json")
    console.print(f"answers  {folder / ANSWERS}\nresult   {folder / RESULT}", markup=False)


def rated(config: BenchmarkConfig, answers: Answers, rows: Rows) -> dict[str, Any]:
    """The rating of the tries, each question's answers in the order of their number."""
    assert config.contest_ratings is not None
    tries: dict[tuple[str, str], list[str]] = {}
    for line in answers.lines:
        row = rows[line["id"]]
        if row.get("contest_id") is None or row.get("index") is None:
            raise UserError(f"question {line['id']}: has no contest_id and index; no rating")
        tries.setdefault((str(row["contest_id"]), str(row["index"])), []).append(line["verdict"])
    users = read_users(config.user_ratings) if config.user_ratings else None
    return rate(read_contests(config.contest_ratings), tries, users)


SHOWN = (2, 4, 8, 16, 32, 64, 128, 256)
"""The k of the table, beside n; result.json has all."""


def show(result: dict[str, Any]) -> None:
    """The table at the end."""
    there, asked = result["questions"], result["questions_asked"]
    title = f"{result['benchmark']}: {there if there == asked else f'{there} of {asked}'} questions"
    table = Table(title=escape(title), title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("95 % interval")
    for name, score in shown(result):
        interval = f"{share(score['low'])} – {share(score['high'])}"
        table.add_row(name, share(score["value"]), interval)
    for name in ("cut_off", "unknown"):
        table.add_row(name.replace("_", " "), share(result[name]), "")
    table.add_row("mean length", f"{result['length']:.0f} tokens", "")
    if rating := result.get("rating"):
        table.add_row("rating", f"{rating['rating']:.0f}", f"{rating['tries']} tries a problem")
        if "percentile" in rating:
            table.add_row("percentile", f"{rating['percentile']:.1f}", "")
    console.print(table)
    speed = result["tokens_per_second"]
    facts = [
        f"grader {result['grader']}",
        f"T {result['temperature']:g}",
        f"top-p {result['top_p']:g}",
        *([f"{speed:,.0f} tokens/s"] if speed else []),
    ]
    console.print("  ".join(facts), markup=False)


def shown(result: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The scores of the table by name."""
    n = result["num_generations"]
    rows = [(f"avg@{n}", result["avg@k"])]
    for kind in ("pass", "maj"):
        by_k = result[f"{kind}@k"]
        rows += [(f"{kind}@{k}", by_k[k]) for k in by_k if k != "1" and int(k) in (*SHOWN, n)]
    return rows


def notes(result: dict[str, Any]) -> list[str]:
    """What the table's numbers leave out."""
    there, asked = result["questions"], result["questions_asked"]
    found = []
    if there < asked:
        found.append(f"not finished: {there} of {asked} questions are answered")
    fewer = [
        f"{name} ({score['questions']})"
        for name, score in shown(result)
        if score["questions"] < there
    ]
    if fewer:
        found.append(
            f"of fewer than {there} questions, where the others have too few known answers: "
            + ", ".join(fewer)
        )
    if lost := result.get("rating", {}).get("problems_unknown"):
        found.append(f"rating: of {lost} problems no try's verdict is known; they count as failed")
    return found


def share(value: float) -> str:
    """A share in percent; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.1%}"
