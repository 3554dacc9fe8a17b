"""Files that are whole or not there, and what to say when the system refuses one."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flowbalance.errors import UserError
from flowbalance.inputs import an_object, decoded, is_text, opened, parse_json

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def writing(what: Path) -> Iterator[None]:
    """Turn a refusal to write into a sentence about `what`."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL or "no space left" in str(error).lower():
            raise UserError(
                f"{what}: the disk is full; free some space, or choose another place (output=… or "
                "--out); what is finished is untouched"
            ) from error
        raise UserError(
            f"{what}: cannot write there ({error.strerror or error}); choose another place "
            "(output=… or --out); what is finished is untouched"
        ) from error


def write_atomic(path: Path, text: str) -> None:
    """Replace a file in one step: a reader sees the old text or the new, never a part."""
    scratch = path.with_name(f".{path.name}.tmp")
    try:
        with writing(path):
            with scratch.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
    except UserError:
        scratch.unlink(missing_ok=True)
        raise


def read_jsonl(path: Path, *, strict: bool = False) -> list[dict[str, Any]]:
    """The rows of a file of ours; a last line that was cut short is left out.

    Another line that is not JSON ends the reading; where that would lose what no other run brings
    back, `strict` raises a UserError with its number.
    """
    rows = []
    if not path.exists():
        return rows
    with opened(path) as file:
        # Not splitlines(): the JSON text of an answer may hold U+2028 and its like as they are.
        lines = file.read().split(b"\n")
    for number, line in enumerate(lines, 1):
        place = f"{path}, line {number}"
        try:
            text = decoded(line, place) if strict else line.decode(errors="replace")
            rows.append(an_object(parse_json(text, place), place))
        except UserError:
            if strict and number < len(lines):
                raise
            break
    return rows


def keep_steps(path: Path, last: int) -> None:
    """Drop the rows after step `last` (all of them for 0): a resumed run writes them again."""
    rows = [row for row in read_jsonl(path) if step_of(row) <= last] if last else []
    text = "".join(map(json_line, rows))
    if rows or path.exists():
        write_atomic(path, text)


def step_of(row: dict[str, Any]) -> float:
    """The step that a row is of; of a damaged row later than any."""
    step = row.get("step")
    return step if isinstance(step, int | float) else math.inf


def json_line(row: Any) -> str:
    """A line of JSON. Half a character (a lone surrogate) comes back as it came, spelled out."""
    text = json.dumps(row, ensure_ascii=False)
    return (text if is_text(text) else json.dumps(row)) + "\n"


def finite(value: Any) -> Any:
    """NaN and infinities as null, in nested values too: JSON has neither."""
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def writable(text: str) -> str:
    """The text as UTF-8 can hold it: JSON can spell half a character (a lone surrogate)."""
    return text.encode("utf-8", "replace").decode("utf-8")


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings by dotted name; an empty one stands as it is."""
    rows: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            rows |= flat(value, f"{prefix}{name}.")
        else:
            rows[f"{prefix}{name}"] = value
    return rows
