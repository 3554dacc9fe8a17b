"""Values that are written out in Python, by a literal or a small expression: read, never run."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

LARGEST = 1_000_000
"""Items, characters and words of an integer in a value."""
BITS = 64 * 1024
CONSTANTS = {
    **{f"math.{name}": getattr(math, name) for name in ("inf", "nan", "pi", "e", "tau")},
    "sys.maxsize": 2**63 - 1,
}
CALLS: dict[str, Callable[..., Any]] = {
    **{kind.__name__: kind for kind in (bool, int, float, complex, str, bytes)},
    **{kind.__name__: kind for kind in (list, tuple, set, frozenset, dict, range)},
    **{call.__name__: call for call in (sorted, sum, min, max, abs, len, round, ord, chr)},
}
"""What may be called, with values alone: no keywords, no functions."""
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
}
SIGNS: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
}


def value_of(node: ast.expr) -> Any:
    """A value that is written out; ValueError and its like for what is not, or is too large."""
    try:
        value = _value(node)
    except (ArithmeticError, MemoryError) as error:
        raise ValueError(f"no value: {error}") from None
    _sized(value)
    return value


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant():
            if node.value is ...:
                raise ValueError("nothing")
            return node.value
        case ast.Tuple():
            return tuple(map(_value, node.elts))
        case ast.List():
            return list(map(_value, node.elts))
        case ast.Set():
            return set(map(_value, node.elts))
        case ast.Dict():
            keys = [key for key in node.keys if key is not None]
            if len(keys) < len(node.keys):
                raise ValueError("another dictionary's items")
            return dict(zip(map(_value, keys), map(_value, node.values), strict=True))
        case ast.UnaryOp() if type(node.op) in SIGNS:
            return SIGNS[type(node.op)](_value(node.operand))
        case ast.BinOp() if type(node.op) in OPERATORS:
            return _operation(node.op, _value(node.left), _value(node.right))
        case ast.Attribute() if (name := ast.unparse(node)) in CONSTANTS:
            return CONSTANTS[name]
        case ast.Call(func=ast.Name(id=name)) if name in CALLS and not node.keywords:
            return _called(name, list(map(_value, node.args)))
    raise ValueError("not written out")


def _operation(operation: ast.operator, left: Any, right: Any) -> Any:
    """What an operator makes of two values, where that is not too large."""
    integers = isinstance(left, int) and isinstance(right, int)
    if isinstance(operation, ast.Pow) and integers:
        if left.bit_length() * max(right, 0) > BITS:
            raise ValueError("too large")
    elif isinstance(operation, ast.LShift) and integers:
        if right > BITS:
            raise ValueError("too large")
    elif isinstance(operation, ast.Mult) and not integers:
        for times, repeated in ((left, right), (right, left)):
            if isinstance(times, int) and not isinstance(repeated, int | float | complex):
                _sized(repeated, max(times, 0))
    elif isinstance(operation, ast.Mod) and not isinstance(left, int | float):
        raise ValueError("a text to be filled in")
    return OPERATORS[type(operation)](left, right)


def _called(name: str, given: list[Any]) -> Any:
    """What a function makes of values, where that is not too large."""
    if name == "range":
        made = range(*given)
        if len(made) > LARGEST:
            raise ValueError("too large")
        return made
    if name == "sum" and len(given) != 1:
        raise ValueError("not written out")
    if name == "bytes" and not all(isinstance(each, list) for each in given):
        raise ValueError("not written out")
    return CALLS[name](*given)


def _sized(value: Any, times: int = 1) -> None:
    """ValueError for a value that has too many parts, so many times."""
    left = LARGEST // max(times, 1)
    pending: list[Any] = [value]
    while pending:
        each = pending.pop()
        left -= 1
        if isinstance(each, str | bytes):
            left -= len(each)
        elif isinstance(each, int):
            left -= each.bit_length() // 64
        elif isinstance(each, dict):
            _extend(pending, each.keys(), left)
            _extend(pending, each.values(), left)
        elif isinstance(each, range):
            raise ValueError("no plain data")
        elif isinstance(each, list | tuple | set | frozenset):
            _extend(pending, each, left)
        if left < 0:
            raise ValueError("too large")


def _extend(pending: list[Any], items: Iterable[Any], left: int) -> None:
    pending.extend(items)
    if len(pending) > left + 1:
        raise ValueError("too large")
