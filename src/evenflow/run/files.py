"""Files that are whole or not there, and what to say when the system refuses one."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from evenflow.errors import UserError
from evenflow.inputs import is_text, json_rows

LOG = logging.getLogger(__name__)
PAGE = "report.html"
"""A run's page, in its folder."""
CURVES = "frontier.csv"
"""Every policy that a comparison of curves has measured, in its folder."""
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
        reason = error.strerror or error
        if isinstance(error, FileExistsError):
            reason = f"{error.filename or what} is a file, not a folder"
        raise UserError(
            f"{what}: cannot write there ({reason}); choose another place (output=… or --out); "
            "what is finished is untouched"
        ) from error


@contextmanager
def system_errors() -> Iterator[None]:
    """safetensors and PyTorch wrap what the system says of a full disk; unwrap it."""
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        full = "unexpected pos" in reason  # how PyTorch says that a file could not be written on
        raise OSError(*([errno.ENOSPC, os.strerror(errno.ENOSPC)] if full else [reason])) from error


def file_at(path: Path) -> Path:
    """The file that takes what is written to `path`: that itself, or where its links lead.

    UserError where something is in the way that is no regular file (a folder, a pipe, a terminal or
    another device), or `-`: files are replaced in one step, and this would take its place.
    """
    with writing(path):
        target = Path(os.path.realpath(path))  # of links in a circle one of them
        other = target.is_symlink() or (path.exists() and not path.is_file())
        if target.is_dir():
            raise UserError(f"{path}: is a folder; name a file in it (output=… or --out)")
    if other or str(path) == "-" or _names_a_descriptor(path):
        raise UserError(f"{path}: is not a regular file; name another (output=… or --out)")
    return target


def _names_a_descriptor(path: Path) -> bool:
    """Whether it is /dev/stdout or its like, or leads there: even where that is a file by now,
    others are writing into it."""
    while path.is_symlink():
        parent = Path(os.path.realpath(path.parent))
        if parent == Path("/dev") or parent.is_relative_to("/proc"):
            return True
        path = parent / path.readlink()
    return False


@contextmanager
def appearing(path: Path) -> Iterator[TextIO]:
    """A text file to write that appears under its name when all of it is written: a reader sees the
    old text or the new, never a part. A link stays one (`file_at`)."""
    target = file_at(path)
    scratch = target.with_name(f".{target.name}.tmp")
    with writing(path):
        file = scratch.open("w", encoding="utf-8")
    try:
        yield file
        with writing(path):
            file.flush()
            os.fsync(file.fileno())
            file.close()
            scratch.replace(target)
    except BaseException:
        with suppress(OSError):
            file.close()
        scratch.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, text: str) -> None:
    """Replace a file by this text in one step."""
    with appearing(path) as file, writing(path):
        file.write(text)


def read_jsonl(
    path: Path, *, strict: bool = False, needs: str | None = None
) -> list[dict[str, Any]]:
    """The rows of a file of ours, none where there is no file; a last line that was cut short is
    left out.

    So is every other line that is no JSON object, or has no whole number `needs`, and a warning
    says how many; where that would lose what no other run brings back, `strict` raises a UserError
    with its number.
    """
    rows: list[dict[str, Any]] = []
    if not path.exists():
        return rows
    damaged: list[UserError] = []
    for place, row in json_rows(path, cut=True, damaged=None if strict else damaged):
        if needs is None or type(row.get(needs)) is int:
            rows.append(row)
        else:
            damaged.append(UserError(f"{place}: has no whole number {needs!r}"))
    if damaged:
        count = "1 damaged line is" if len(damaged) == 1 else f"{len(damaged)} damaged lines are"
        LOG.warning("%s: %s left out, the first: %s", path, count, damaged[0])
    return rows


def keep_rows(path: Path, keep: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The rows of a file with one or more a step that are to be kept; all others are dropped from
    it, because a run that goes on writes them again."""
    rows = [row for row in read_jsonl(path, needs="step") if keep(row)]
    if path.exists():
        write_atomic(path, "".join(map(json_line, rows)))
    return rows


def share_weights(folder: Path) -> None:
    """Let those read a folder's weights who read the folder: safetensors writes them for their
    owner alone, and a server of another user could not load them."""
    for path in folder.rglob("*.safetensors"):
        path.chmod(folder.stat().st_mode & 0o666)


def write_json(path: Path, value: Any) -> None:
    """Replace a file by this value as JSON; NaN becomes null, half a character a question mark."""
    text = json.dumps(finite(value), indent=1, ensure_ascii=False)
    write_atomic(path, writable(text) + "\n")


def json_line(row: Any) -> str:
    """A line of JSON; NaN becomes null. Half a character (a lone surrogate) comes back as it came,
    spelled out."""
    row = finite(row)
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
