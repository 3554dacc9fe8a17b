"""Curves of a comparison (`evenflow compare … frontier=…`): what is kept at equal accuracy."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evenflow.evaluation.columns import COLUMNS, Column, written
from evenflow.evaluation.frontier import Frontiers, heads, read_csv
from evenflow.evaluation.statistics import Estimate
from evenflow.report.series import rounded
from evenflow.run.files import CURVES


def comparisons(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """A block for each of the folders that holds a comparison of curves: {title, baseline,
    measures}, or {title, note} where its file is none."""
    found = []
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        if not (folder / CURVES).is_file():
            continue
        block: dict[str, Any] = {"title": folder.name}
        try:
            curves = read_csv(folder / CURVES)
            measures = [measure for key in curves.measures() if (measure := at_equal(curves, key))]
            found.append(block | {"baseline": curves.baseline, "measures": measures})
        except (OSError, ValueError, LookupError, TypeError, csv.Error) as error:
            found.append(block | {"note": f"{CURVES} cannot be read ({error or 'it is empty'})"})
    return found


def at_equal(every: Frontiers, key: str) -> dict[str, Any] | None:
    """The curves that rise, for a chart, and their values at equal accuracy, for a table."""
    column, curves = COLUMNS[key], every.risen(key)
    shared = curves.shared(key)
    if shared is None:
        return None
    own, more = curves.rows(key, shared), curves.differences(key, shared)
    return {
        "key": key,
        "name": column.heading.removesuffix(" (%)"),
        "heading": column.heading,
        "percent": column.percent,
        "heads": heads(shared),
        "left": [label for label in every.points if label not in curves.points],
        "rows": [
            {
                "label": label,
                "seeds": len(curves.seeds(label)),
                "cells": cells(values, more.get(label), column),
            }
            for label, values in own.items()
        ],
        "curves": [
            {"label": label} | dict(zip(("x", "y", "low", "high"), columns, strict=True))
            for label in own
            if (band := curves.band(label, key))
            for columns in [[[rounded(v) for v in part] for part in zip(*band, strict=True)]]
        ],
    }


def cells(
    values: Sequence[Estimate | None], more: Sequence[Estimate | None] | None, column: Column
) -> list[dict[str, str]]:
    """A row's values, each with its paired difference to the baseline."""
    return [
        {
            "value": written(value, column.write, column) or "–",
            "more": written(more[i], column.difference, column).replace("-", "−") if more else "",
        }
        for i, value in enumerate(values)
    ]
