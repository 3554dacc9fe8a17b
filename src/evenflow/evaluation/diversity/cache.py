"""Judgements that were paid for once, kept in a file of JSON lines."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from evenflow.errors import UserError
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
        self._whole = True  # whether the file ends with a line's end
        try:
            text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        self._whole = not text or text.endswith("\n")
        for line in text.split("\n"):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict) and all(type(row.get(name)) is k for name, k in KEPT.items()):
                self.entries[row["key"]] = row

    def get(self, key: str) -> dict[str, Any] | None:
        return self.entries.get(key)

    def put(self, key: str, values: dict[str, Any]) -> None:
        row = {"key": key, **values}
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                line = writable(json.dumps(row, ensure_ascii=False))
                file.write(("" if self._whole else "\n") + line + "\n")
        self._whole = True
        self.entries[key] = row


def key_of(**request: Any) -> str:
    """What makes two requests the same, wherever the server stands."""
    text = json.dumps(request, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
