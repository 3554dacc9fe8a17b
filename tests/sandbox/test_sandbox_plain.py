"""Values on their way between two processes."""

from __future__ import annotations

import collections
import enum
import json
import math
from typing import Any

import pytest

from evenflow.sandbox.plain import Other, decode, encode


class Level(enum.IntEnum):
    HIGH = 3


VALUES: list[Any] = [
    None,
    True,
    0,
    -(10**299),
    10**400,
    1.0,
    0.1 + 0.2,
    -0.0,
    math.inf,
    "",
    "Zürich\n\ud800",
    b"\x00\xff",
    1 + 2j,
    [],
    [1, True, 1.0, None, "x", [2]],
    [10**400, 1],
    (1,),
    ((), [(2, 3)]),
    {1: "a", "1": "b", (1, 2): None, None: {2.0: []}},
    {1, 2},
    frozenset({("a", 1)}),
]


def test_there_and_back() -> None:
    for value in VALUES:
        line = encode(value)
        assert b"\n" not in line
        assert repr(decode(line)) == repr(value)  # 1, 1.0 and True are equal, and not the same
    assert decode(encode(10**5000)) == 10**5000  # more digits than Python shows


def test_subclasses_are_the_plain_type_below_them() -> None:
    class Liar(int):
        def __eq__(self, other: object) -> bool:
            return True

        def __index__(self) -> int:
            return 7

        __int__ = __index__
        __hash__ = int.__hash__

    point = collections.namedtuple("point", "x y")
    assert decode(encode(Liar(5))) == 5
    assert decode(encode(Level.HIGH)) == 3
    assert decode(encode(point(1, 2))) == (1, 2)
    assert decode(encode(collections.Counter("aab"))) == {"a": 2, "b": 1}


def test_what_is_no_plain_data_equals_nothing() -> None:
    value = decode(encode(object()))
    assert isinstance(value, Other)
    assert value != value
    assert decode(encode([print]))[0] != Other("builtin_function_or_method")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"{}",
        b'{"a":1,"b":2}',
        b'{"exec":"1"}',
        b'{"set":[[1]]}',
        b'{"big":1}',
        b'{"dict":[1]}',
        b'{"complex":[1,2,3]}',
        b"[" * 100_000,
        b"1" * 5000,
        b"\xff",
    ],
)
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="not plain data"):
        decode(line)


def test_a_list_that_holds_itself() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(RecursionError):
        encode(value)
    assert json.loads(encode([1.0])) == [1.0]
