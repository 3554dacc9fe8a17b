"""What a finished run leaves: its summary, a table, a page, and where everything lies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowbalance.report.display import before_after, console
from flowbalance.report.files import finite, write_atomic
from flowbalance.report.page.command import page_of_run


def end_run(folder: Path, checkpoint: Path, summary: Mapping[str, Any]) -> None:
    """Write summary.json and report.html, and say what was gained; `summary` has the held-out
    scores `before` and `after`."""
    text = json.dumps(finite(dict(summary)), indent=1) + "\n"
    write_atomic(folder / "summary.json", text)
    if summary["after"]:
        console.print(before_after(summary["before"], summary["after"]))
    for name, place in (
        ("checkpoint", checkpoint),
        ("metrics", folder / "metrics.jsonl"),
        ("report", page_of_run(folder)),
    ):
        console.print(f"{name:<10}  {place}", markup=False)
