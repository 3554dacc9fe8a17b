"""Python values as lines of JSON that keep their types, for the way between two processes.

None, bool, int, float, str and list are JSON's own (a float always shows as one); the rest are
objects with one key: tuple, dict (a list of pairs, any key), set, frozenset, bytes, complex, big
(an int in hexadecimal), other (the name of a type that is no plain data). A subclass counts as the
plain type below it, read with that type's own methods.

Runs on both sides of the sandbox: the standard library only. What comes out of the sandbox is
decoded as data and never as code.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

SIMPLE = {type(None), bool, int, float, str}
NUMBERS = {bool, int, float}
BIG = 10**300  # below Python's limit of digits in text


OTHER = b'{"other":'
"""What a line has where a value of it is no plain data; in a string its quotes are escaped."""


class Other:
    """A value that is no plain data; equal to nothing, not even to itself."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return False

    def __repr__(self) -> str:
        return f"<{self.name}>"


def simple(values: list) -> bool:
    """Whether a list is JSON as it is: long lists then go through C."""
    kinds = set(map(type, values))
    if kinds <= NUMBERS:
        return not values or (min(values) > -BIG and max(values) < BIG)
    return kinds <= SIMPLE - {int}


def tagged(value: Any) -> Any:
    """The value as JSON data; RecursionError if it is nested too deeply, or holds itself."""
    kind = type(value)
    if kind is list and simple(value):
        return value
    if kind is int or (kind is not bool and isinstance(value, int)):
        number = int.__index__(value)
        return number if -BIG < number < BIG else {"big": hex(number)}
    if kind in SIMPLE:
        return value
    if isinstance(value, list):
        return [tagged(item) for item in list.__iter__(value)]
    if isinstance(value, tuple):
        return {"tuple": [tagged(item) for item in tuple.__iter__(value)]}
    if isinstance(value, dict):
        return {"dict": [[tagged(key), tagged(item)] for key, item in dict.items(value)]}
    if isinstance(value, set):
        return {"set": [tagged(item) for item in set.__iter__(value)]}
    if isinstance(value, frozenset):
        return {"frozenset": [tagged(item) for item in frozenset.__iter__(value)]}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, bytes):
        return {"bytes": bytes.hex(value)}
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    return {"other": kind.__name__}


READERS: dict[str, Callable[[Any], Any]] = {
    "tuple": lambda content: tuple(map(untagged, content)),
    "dict": lambda content: {untagged(key): untagged(item) for key, item in content},
    "set": lambda content: set(map(untagged, content)),
    "frozenset": lambda content: frozenset(map(untagged, content)),
    "bytes": bytes.fromhex,
    "complex": lambda content: complex(*content),
    "big": lambda content: int(content, 16),
    "other": lambda content: Other(str(content)),
}


def untagged(data: Any) -> Any:
    """The value of JSON data."""
    if isinstance(data, list):
        return [untagged(item) for item in data]
    if isinstance(data, dict):
        ((name, content),) = data.items()
        return READERS[name](content)
    return data


def encode(value: Any) -> bytes:
    """One line, without its end."""
    return json.dumps(tagged(value), separators=(",", ":")).encode()


def decode(line: bytes) -> Any:
    """The value of a line; ValueError for anything that `encode` does not write."""
    try:
        return untagged(json.loads(line))
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise ValueError(f"not plain data: {type(error).__name__}") from None
