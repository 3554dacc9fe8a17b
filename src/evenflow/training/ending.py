"""What a finished run leaves: its summary, a table, a page, and where everything lies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evenflow.report.page import page_of_run
from evenflow.run.console import before_after, console
from evenflow.run.files import PAGE, finite, write_atomic, writing

SUMMARY = "summary.json"


def end_run(folder: Path, checkpoint: Path, summary: Mapping[str, Any]) -> None:
    """Write summary.json and report.html, and say what was gained; `summary` has the held-out
    scores `before` and `after`."""
    text = json.dumps(finite(dict(summary)), indent=1) + "\n"
    write_atomic(folder / SUMMARY, text)
    if summary["after"]:
        console.print(before_after(summary["before"], summary["after"]))
    for name, place in (
        ("checkpoint", checkpoint),
        ("metrics", folder / "metrics.jsonl"),
        ("report", page_of_run(folder)),
    ):
        console.print(f"{name:<10}  {place}", markup=False)


def has_ended(folder: Path, step: int) -> bool:
    """Whether the run in `folder` was ended at this step: its summary says so, and its page is
    there. A summary of fewer steps is of an earlier end."""
    try:
        ended = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["steps"]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return ended == step and (folder / PAGE).is_file()


def not_ended(folder: Path) -> None:
    """Take away the summary of an earlier end: the run goes on."""
    with writing(folder / SUMMARY):
        (folder / SUMMARY).unlink(missing_ok=True)
