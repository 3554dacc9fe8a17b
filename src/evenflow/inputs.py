"""Files from outside as text and JSON, and URLs: what cannot be read ends in a sentence that names
the place.

All that people and other programs write comes in through here, so that each kind of damage (not
there, not permitted, half of a gzip file, not UTF-8, not JSON, nested without end) is refused in
one place.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard, cast
from urllib.parse import SplitResult, urlsplit

from evenflow.errors import UserError

DEEPEST = 100
"""Levels of lists and objects within each other. What is nested deeper is an attack or a mistake,
and code that goes through it by recursion would come to Python's limit."""
LARGEST = 1e300
"""Beyond it a number is taken for none: sums and averages of such would not be finite."""


def expanded(path: str | Path) -> Path:
    """The path with a leading ``~`` or ``~name`` as that user's home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: there is no home of such a user") from None


def files_of(source: str) -> list[str]:
    """The files that a pattern stands for, in the order of their names; the source itself where it
    is none, or stands for nothing."""
    found = sorted(glob(str(expanded(source)))) if "*" in source else []
    return found or [source]


@contextmanager
def opened(path: Path, *, again: bool = False) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked if its name ends in .gz; refusals of the system on the way are
    UserErrors. `again`: it will be opened more than once, which a pipe cannot be."""
    try:
        kind = os.stat(path).st_mode
        if stat.S_ISDIR(kind):
            raise UserError(f"{path}: cannot be read: is a folder, not a file")
        if stat.S_ISCHR(kind) or stat.S_ISBLK(kind) or (again and not stat.S_ISREG(kind)):
            raise UserError(f"{path}: cannot be read: is not a regular file")
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as file:
            yield cast(BinaryIO, file)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read: {reason}") from None
    except ValueError as error:
        if "null byte" not in str(error):
            raise
        raise UserError(f"{str(path)!r}: cannot be read: no file has such a name") from None


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte-order mark."""
    with opened(path) as file:
        return decoded(file.read(), str(path))


def json_rows(
    path: Path, *, again: bool = False, cut: bool = False, damaged: list[UserError] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each line of a JSONL file stands, and its object; empty lines are left out.

    With `cut`, so is a last line without its end that is no object: its writing was interrupted.
    Any other line that is none is refused, or where `damaged` is given left out, and the refusal
    noted there.
    """
    with opened(path, again=again) as file:
        # By "\n" alone: the JSON text of an answer may hold U+2028 and its like as they are.
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            try:
                row = an_object(parse_json(decoded(line, place), place), place)
            except UserError as error:
                if cut and not line.endswith(b"\n"):
                    continue
                if damaged is None:
                    raise
                damaged.append(error)
            else:
                yield place, row


def an_object(value: Any, place: str) -> dict[str, Any]:
    """The value, if it is an object of JSON."""
    if not isinstance(value, dict):
        raise UserError(f"{place}: is {type(value).__name__}, not an object with fields")
    return value


def read_json(path: Path) -> Any:
    """The value of a file of JSON."""
    return parse_json(read_text(path), str(path))


def parse_json(text: str, place: str) -> Any:
    """The value of a text of JSON; `place` says in a refusal where it stands."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text.strip() else ""
        where = f"{line}column {error.colno}"
        raise UserError(
            f"{place}: is not JSON ({where}): {error.msg.removesuffix(' at')}"
        ) from None
    except (ValueError, RecursionError) as error:  # numbers of 5,000 digits; brackets
        raise UserError(f"{place}: is not JSON that can be read: {error}") from None
    if not is_shallow(value):
        raise UserError(f"{place}: is not JSON that can be read: nested deeper than {DEEPEST}")
    return value


def is_shallow(value: Any, levels: int = DEEPEST) -> bool:
    """Whether no more than `levels` lists and mappings lie within each other."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels >= 0 and all(
        is_shallow(each, levels - 1) for each in inner if isinstance(each, dict | list)
    )


def is_text(value: str) -> bool:
    """Whether a text can stand in a file: JSON and YAML can spell half a character (a lone
    surrogate), and the command line can bring bytes that are not UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def decoded(data: bytes, place: str) -> str:
    """The text of bytes in UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: is not UTF-8 text: {error}") from None


def server_url(url: str, field: str, example: str) -> SplitResult:
    """The parts of a server's URL, as `field` names it; UserError for one that nobody can ask."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")  # as sockets do: no part may be empty, or longer than 63 characters
    except ValueError:
        raise no_server(url, field, example) from None
    known = parts.scheme in ("http", "https") and port != 0
    if not (known and host and host.isprintable() and " " not in host):
        raise no_server(url, field, example)
    return parts


def no_server(url: str, field: str, example: str) -> UserError:
    """What is said of a URL that is none of a server, without what may be secret in it."""
    shown = re.split("[?#]", re.sub("//.*@", "//…@", url))[0]
    return UserError(
        f"{field}: {shown!r} is no URL of a server; write it as {example}: http or https, the name "
        "of the machine, and its port, if any, from 1 to 65535"
    )


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value of JSON is a finite number; true and false are none."""
    # A comparison, not math.isfinite: a whole number of JSON may be too large for a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
