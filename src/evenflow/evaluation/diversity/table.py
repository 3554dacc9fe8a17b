"""The results of one or more files on the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from evenflow.evaluation.diversity.measure import MEASURES
from evenflow.run.console import console
from evenflow.run.files import writable

MEANING = {
    "bigram": "1 − shared word pairs, mean over pairs of answers",
    "vendi": "effective number of different answers",
    "distinct-right": "different right solutions a question",
    "for-diversity": "different right answers, of questions with one",
    "judge": "variety of approaches, 1 to 5",
}
WIDE = 72
"""Columns of a terminal from which there is room for it."""


def show(results: Sequence[dict[str, Any]]) -> None:
    """A row a measure, a column a file; then what a reader should not overlook.

    The meaning of the measures stands beside a single file: several, and a narrow terminal, leave
    no room for it.
    """
    alone = len(results) == 1 and console.width >= WIDE
    table = Table(title="diversity", title_justify="left")
    table.add_column("", min_width=14)
    for name in names([Path(result["answers"]) for result in results]):
        table.add_column(escape(writable(name)), justify="right", no_wrap=True)
    if alone:
        table.add_column("what", style="dim")
    table.add_row("questions", *(str(result["questions"]) for result in results))
    table.add_row("answers a question", *(answers(result) for result in results))
    for name, meaning in MEANING.items():
        if any(name in result["scores"] for result in results):
            cells = [cell(result["scores"].get(name)) for result in results]
            table.add_row(name, *cells, *([meaning] if alone else []))
    console.print(table)
    for line in notes(results):
        console.print(writable(line), markup=False)


def names(files: Sequence[Path]) -> list[str]:
    """The shortest names that tell files apart: their last parts."""
    for parts in range(1, max(len(path.parts) for path in files) + 1):
        short = ["/".join(path.parts[-parts:]) for path in files]
        if len(set(short)) == len(files):
            return short
    return [str(path) for path in files]


def answers(result: dict[str, Any]) -> str:
    """How many answers the questions have: one number, or the range."""
    counts = {row["answers"] for row in result["per_question"]}
    return str(min(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"


def cell(score: dict[str, Any] | None) -> str:
    """``0.512 [0.480, 0.541]``; a dash where there is none."""
    if score is None or math.isnan(score["value"]):
        return "–"
    if math.isnan(score["low"]):
        return f"{score['value']:.3f}"
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def notes(results: Sequence[dict[str, Any]]) -> list[str]:
    """Conditions of the numbers, failures first."""
    lines = []
    for result in results:
        judge = result["scores"].get("judge")
        if judge is None:
            continue
        failures, tokens = judge["failures"], judge["tokens"]["this run"]
        lines.append(
            f"{result['answers']}: {judge['judgements']} judgements ({judge['cached']} kept from "
            f"before), {failures['count']} failed, {judge['not_judged']} questions not judged; "
            f"{tokens['prompt']:,} + {tokens['completion']:,} tokens in this run"
        )
        lines += [f"  failed {count}×: {why}" for why, count in failures["reasons"].items()]
        agreed = judge["agreement"]
        if not math.isnan(agreed["identical"]):
            alpha = agreed["alpha"]
            lines.append(
                f"  repeats agree: {agreed['identical']:.0%} the same, mean difference "
                f"{agreed['mean_difference']:.2f}"
                + ("" if math.isnan(alpha) else f", Krippendorff's α {alpha:.2f}")
            )
    for result in results:
        lines += [
            f"{result['answers']}: {name} says nothing of {left} of {result['questions']} questions"
            for name in MEASURES
            if (score := result["scores"].get(name))
            and (left := result["questions"] - score["questions"])
        ]
        how, unknown = result["how"], result["unknown_left_out"]
        if unknown:
            lines.append(f"{result['answers']}: answers of unknown verdict, left out: {unknown}")
        if how.get("answers_cut"):
            lines.append(
                f"{result['answers']}: {how['vectors']} reads {how['reads_tokens']} tokens: it saw "
                f"only the beginning of {how['answers_cut']} of {how['answers_read']} answers"
            )
    if len({answers(result) for result in results}) > 1:
        lines.append("the files have different numbers of answers a question: most measures here "
                     "change with it")  # fmt: skip
    if len({frozenset(row["id"] for row in result["per_question"]) for result in results}) > 1:
        lines.append("the files have different questions: their means cannot be compared")
    return lines
