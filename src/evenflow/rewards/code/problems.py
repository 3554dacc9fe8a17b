"""What a problem's tests are, read from a data column."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import partial
from typing import Any

from evenflow.errors import UserError
from evenflow.rewards.code.cases import as_fields
from evenflow.rewards.code.compare import OF_TEXT, OF_VALUES, Checker, equal, numbers
from evenflow.sandbox import plain

FIELDS = {
    *("entry_point", "inputs", "outputs", "setup", "solution", "check"),
    *("checker", "atol", "time_limit"),
}
ENTRY_POINT = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
TIME_LIMIT = 4.0
LONGEST_TIME = 86400
"""Seconds; what is longer is milliseconds, or no limit that a system takes."""


@dataclass(frozen=True)
class Problem:
    """The tests of one problem: calls of a function, or runs of a program."""

    entry_point: str | None
    """The function, or ``Class.method``; None: a program from standard input to standard output."""
    inputs: tuple[bytes, ...] | None
    """Lists of arguments (lines of plain.py), or texts; None: those that `check` tries."""
    outputs: tuple[bytes, ...] | None
    """Expected values (lines of plain.py), or texts; None: those of `solution`."""
    setup: str
    """Code before every answer's."""
    solution: str | None
    """A right program, whole (without the setup)."""
    check: str | None
    """Code that defines ``check(candidate)``."""
    checker: Checker | None
    """Decides instead of a comparison of values; always there for programs."""
    atol: float
    time_limit: float | None
    """Seconds of processor time for all calls, or for each run; None: by the solution's time."""


def parse(tests: Any) -> Problem:
    """A problem from its `tests`, in any of the forms of `cases`. UserError says what is wrong."""
    try:
        return read(tests)
    except RecursionError:
        raise UserError("tests: values are nested too deep") from None


def read(tests: Any) -> Problem:
    """The same; RecursionError for what is nested too deep."""
    tests = as_fields(tests)
    for key in tests.keys() - FIELDS:
        raise UserError(f"tests: there is no field {key!r}; there are {', '.join(sorted(FIELDS))}")
    if not tests.get("entry_point", True):  # columns of text have "" where there is none
        del tests["entry_point"]
    entry_point, inputs, outputs = (tests.get(k) for k in ("entry_point", "inputs", "outputs"))
    solution, check = tests.get("solution"), tests.get("check")
    for key in ("entry_point", "setup", "solution", "check", "checker"):
        if not isinstance(tests.get(key, ""), str):
            raise UserError(f"tests: {key} must be text")
    if entry_point and not ENTRY_POINT.fullmatch(entry_point):
        raise UserError(
            f"tests: entry_point must name a function, or Class.method, not {entry_point!r:.60}"
        )
    for key, least, most in (("atol", 0.0, math.inf), ("time_limit", 0.1, LONGEST_TIME)):
        value = tests.get(key, least)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not least <= value <= most or value == math.inf:
            up_to = f", and of at most {most} (seconds)" if most < math.inf else ""
            raise UserError(f"tests: {key} must be a number of at least {least:g}{up_to}")
    if entry_point is None and (inputs is None or outputs is None):
        raise UserError("tests: a program's tests need both inputs and outputs; a function's also "
                        "need entry_point")  # fmt: skip
    if inputs is None and check is None:
        raise UserError("tests: inputs are missing (or check, a benchmark's check(candidate))")
    if outputs is None and solution is None:
        raise UserError("tests: outputs are missing (or solution, from which they are computed)")
    if inputs is None and outputs is not None:
        raise UserError("tests: outputs without inputs")
    for key, values in (("inputs", inputs), ("outputs", outputs)):
        if values is not None and (not isinstance(values, list) or not values):
            raise UserError(f"tests: {key} must be a list with at least one entry")
    if inputs is not None and outputs is not None and len(inputs) != len(outputs):
        raise UserError(f"tests: {len(inputs)} inputs and {len(outputs)} outputs")
    read = arguments if entry_point else text
    return Problem(
        entry_point=entry_point,
        inputs=None if inputs is None else tuple(map(read, inputs)),
        outputs=outputs and tuple(map(plain.encode if entry_point else text, outputs)),
        setup=tests.get("setup", ""),
        solution=solution,
        check=check,
        checker=find_checker(tests.get("checker"), entry_point is None, tests.get("atol", 0.0)),
        atol=tests.get("atol", 0.0),
        time_limit=tests.get("time_limit", None if solution else TIME_LIMIT),
    )


def arguments(value: Any) -> bytes:
    """A call's arguments: a list, and with those by name a pair of it and a dict."""
    if not isinstance(value, list | tuple):
        raise UserError(f"tests: an entry of inputs must be a list of arguments, not {value!r:.60}")
    return plain.encode(value)


def text(value: Any) -> bytes:
    """A program's input or output."""
    if not isinstance(value, str):
        raise UserError(f"tests: a program's inputs and outputs must be text, not {value!r:.60}")
    return value.encode(errors="surrogatepass")


def find_checker(name: str | None, of_text: bool, atol: float) -> Checker | None:
    """A built-in checker, or one's own by import path."""
    if name is None:
        return None if not of_text else partial(numbers, atol=atol) if atol else OF_TEXT["lines"]
    if name == ("numbers" if of_text else "equal"):
        return partial(numbers if of_text else equal, atol=atol)
    built_in = OF_TEXT if of_text else OF_VALUES
    if name in built_in:
        return built_in[name]
    if ":" not in name:
        known = [*built_in.keys(), "numbers" if of_text else "equal"]
        raise UserError(
            f"tests: the checker {name!r} is neither package.module:function nor one of "
            f"{', '.join(known)}"
        )
    from evenflow.rewards.load import load_reward

    return load_reward(name)
