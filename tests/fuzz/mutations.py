"""Damaged input by structure-aware mutation of what is valid; a seed gives the same case always."""

from __future__ import annotations

import gzip
import json
import random
from typing import Any

SCALARS: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, -(10**18), 10**400),
    *(0.0, -0.0, 1e308, -1e308, 1e-320, float("inf"), float("-inf"), float("nan"), 0.5, 1e-300),
    *("", " ", "\0", "\n", "???", "auto", "null", "\ud800", "\x1b[31m", "β", "a" * 5000, "{}", "["),
    *("{prompt}", "{", "{0}", "{prompt.x}", "{prompt:>9}", "/", "..", "~", "org/name", "=", "<<"),
)
NASTY: tuple[Any, ...] = (*SCALARS, [], {}, [[]], [None], {"": ""}, {"a": {"b": []}}, ["a", 1])
YAML_TEXTS = (
    *("2001-99-99", "0x_", "!!timestamp x", "!!int x", "!!binary x", "0b_", "1__0", "190:20:30"),
    *(
        ".inf",
        "-.inf",
        ".nan",
        "=",
        "<<",
        "9" * 5000,
        "[" * 2000,
        "{" * 2000,
        "&a [*a]",
        "*a",
        "&a",
    ),
    *("{<<: *a}", "!!set {a}", "!x y", "'", '"', "|", ">", "- -", "? ?", "%", "@", "`", "a: b: c"),
    *("1e999", "-0.0", "1e-320", "~", "???", "\t", "\x00", "\ud800", '"\\ud800"', '"\\0"', "{a: a"),
    *("!!bool x", "!!float x", "!!null x", "!!map x", "!!str [a]", "2001-01-01 99:99:99", "yes: 1"),
)


def mutated(value: Any, draw: random.Random) -> Any:
    """The value with one place in it changed, left out, doubled or wrapped."""
    if isinstance(value, dict) and value and draw.random() < 0.8:
        key = draw.choice(list(value))
        found = dict(value)
        what = draw.random()
        if what < 0.1:
            del found[key]
        elif what < 0.2:
            found[draw.choice(("", "x", "\0", "\ud800", "a" * 300, f"{key}s"))] = found.pop(key)
        else:
            found[key] = mutated(value[key], draw)
        return found
    if isinstance(value, list) and value and draw.random() < 0.8:
        at, found = draw.randrange(len(value)), list(value)
        what = draw.random()
        if what < 0.15:
            del found[at]
        elif what < 0.3:
            found.insert(at, found[at])
        else:
            found[at] = mutated(value[at], draw)
        return found
    if draw.random() < 0.1:
        return [value] if draw.random() < 0.5 else {"x": value}
    if draw.random() < 0.05:
        deep: Any = value
        for _ in range(draw.choice((30, 150))):
            deep = [deep]
        return deep
    if isinstance(value, str) and draw.random() < 0.3:
        at = draw.randrange(len(value) + 1)
        return (
            value[:at] + draw.choice(("\0", "\ud800", "{", "\x1b[2J", "\u202e", "é")) + value[at:]
        )
    return draw.choice(NASTY)


def damaged(data: bytes, draw: random.Random) -> bytes:
    """The bytes with some cut off, flipped, doubled or put in."""
    what, at = draw.random(), draw.randrange(len(data) + 1)
    if what < 0.25:
        return data[:at]
    if what < 0.5 and data:
        found = bytearray(data)
        for _ in range(draw.choice((1, 3, 20))):
            found[draw.randrange(len(found))] = draw.randrange(256)
        return bytes(found)
    if what < 0.6:
        return data + data
    if what < 0.7:
        return data[at:] + data[:at]
    junk = (
        b"\xff\xfe",
        b"\0",
        b"[" * 3000,
        b"9" * 5000,
        b"\n",
        b'"',
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
    )
    return data[:at] + draw.choice(junk) + data[at:]


def json_lines(rows: list[dict[str, Any]], draw: random.Random) -> bytes:
    """Rows as JSONL in which one row, and at times the bytes, are wrong."""
    at = draw.randrange(len(rows))
    rows = [mutated(row, draw) if i == at else row for i, row in enumerate(rows)]
    text = "\n".join(json.dumps(row, ensure_ascii=draw.random() < 0.8) for row in rows) + "\n"
    data = text.encode("utf-8", "surrogatepass")
    return damaged(data, draw) if draw.random() < 0.3 else data


def packed(data: bytes, draw: random.Random) -> bytes:
    """Bytes as gzip, whole or damaged."""
    whole = gzip.compress(data, mtime=0)
    return whole if draw.random() < 0.2 else damaged(whole, draw)
