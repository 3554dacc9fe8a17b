"""The table of where each run's numbers come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evenflow.inputs import is_number
from evenflow.report.reading import Run
from evenflow.run.console import duration

GIB = 2**30


def provenance_table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row a run that has kept it: the command, what it ran on and with, when and how long."""
    return [
        {"run": index, "cells": origin(run.starts)} for index, run in enumerate(runs) if run.starts
    ]


def origin(starts: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Column → text. What changed between the starts of one run stands there in order."""
    seconds = [s["seconds"] for s in starts if is_number(s.get("seconds"))]
    cells = {
        "command": changes(s.get("command") for s in starts),
        "commit": changes(s.get("commit") for s in starts),
        "versions": changes(versions_text(s.get("versions")) for s in starts),
        "device": changes(s.get("device") for s in starts),
        "host": changes(s.get("host") for s in starts),
        "started": date(starts[0].get("started")),
        "ended": date(starts[-1].get("ended")) or "not ended, or killed",
        "duration": duration(sum(seconds)) if seconds else "",
        "memory at most": memory_text([s.get("memory") for s in starts]),
    }
    return {name: text for name, text in cells.items() if text}


def changes(values: Any) -> str:
    """The values one after the other, those that are not known and repetitions left out."""
    return " → ".join(dict.fromkeys(str(value) for value in values if value))


def versions_text(versions: Any) -> str:
    """Packages with their versions."""
    if not isinstance(versions, dict):
        return ""
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def date(value: Any) -> str:
    """A time of ISO 8601 as people write it."""
    text = str(value or "")
    return text.replace("T", " ").replace("+00:00", " UTC")


def memory_text(found: Sequence[Any]) -> str:
    """The largest of each kind, in GiB."""
    peaks: dict[str, float] = {}
    for entry in found:
        for kind, size in entry.items() if isinstance(entry, dict) else ():
            if is_number(size):
                peaks[kind] = max(peaks.get(kind, 0.0), size)
    names = {"main": "main memory", "gpu": "GPU"}
    return ", ".join(f"{size / GIB:.2f} GiB {names.get(k, k)}" for k, size in peaks.items())
