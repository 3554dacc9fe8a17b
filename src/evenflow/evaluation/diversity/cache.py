"""Judgements that were paid for once, kept in a file of JSON lines."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from evenflow.errors import UserError
from evenflow.inputs import json_rows
from evenflow.run.files import writable, writing

KEPT = {"key": str, "score": int, "reason": str, "prompt_tokens": int, "completion_tokens": int}
"""What a line must have to count."""


class Cache:
    """Key → what was kept. Every entry is on the disk when `put` returns, so nothing is lost when
    the command is interrupted; a line that was cut short or is not one of ours is passed over.

    The file can be read as a log of the judge's reasons. It holds no address and no key.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, dict[str, Any]] = {}
        passed_over: list[UserError] = []
        for _, row in json_rows(path, damaged=passed_over) if path.exists() else ():
            if all(type(row.get(name)) is kind for name, kind in KEPT.items()):
                self.entries[row["key"]] = row

    def put(self, key: str, values: dict[str, Any]) -> None:
        self.entries[key] = row = {"key": key, **values}
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                if file.tell():  # a line that was cut short gets its end
                    file.seek(-1, 2)
                    file.write(b"" if file.read(1) == b"\n" else b"\n")
                file.write(writable(json.dumps(row, ensure_ascii=False)).encode() + b"\n")


def key_of(**request: Any) -> str:
    """What makes two requests the same, wherever the server stands."""
    text = json.dumps(request, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
