"""What a problem's tests are, read from a data column."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import partial
from typing import Any

from evenflow.errors import UserError
from evenflow.rewards.code.cases import as_fields
from evenflow.rewards.code.compare import OF_TEXT, OF_VALUES, Checker, numbers
from evenflow.sandbox import plain

FIELDS = {
    *("entry_point", "inputs", "outputs", "setup", "solution", "check"),
    *("checker", "atol", "rtol", "relations", "time_limit"),
}
ENTRY_POINT = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
TIME_LIMIT = 4.0
RELATIONS = ("==", "is", "bool")
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
    atol: float | tuple[float, ...]
    """One for all tests, or one for each."""
    time_limit: float | None
    """Seconds of processor time for all calls, or for each run; None: by the solution's time."""
    rtol: float | None = None
    """None: EvalPlus's rule (compare.py)."""
    relations: tuple[str, ...] | None = None
    """How the value of each test is compared, if not all by ``==``: ``is``, or ``bool``, by
    truth."""
    loose: bool = False
    """Whether tuples are lists, and keys texts."""


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
    atols = tests.get("atol", 0.0)
    atols = atols if isinstance(atols, list) else [atols]
    for atol in atols:
        check_number("atol", atol, 0.0)
    check_number("rtol", tests.get("rtol", 0.0), 0.0)
    check_number("time_limit", tests.get("time_limit", TIME_LIMIT), 0.1, LONGEST_TIME)
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
    relations, checker = tests.get("relations"), tests.get("checker")
    check_each(tests.get("atol"), "atol", entry_point, inputs)
    check_each(relations, "relations", entry_point, inputs)
    if relations is not None and (
        not isinstance(relations, list) or any(each not in RELATIONS for each in relations)
    ):
        raise UserError("tests: relations must be a list of '==', 'is' and 'bool'")
    read = arguments if entry_point else text
    return Problem(
        entry_point=entry_point,
        inputs=None if inputs is None else tuple(map(read, inputs)),
        outputs=outputs and tuple(map(plain.encode if entry_point else text, outputs)),
        setup=tests.get("setup", ""),
        solution=solution,
        check=check,
        checker=find_checker(checker, entry_point is None, atols[0], tests.get("rtol")),
        atol=tuple(atols) if isinstance(tests.get("atol"), list) else atols[0],
        time_limit=tests.get("time_limit", None if solution else TIME_LIMIT),
        rtol=tests.get("rtol"),
        relations=None if relations is None else tuple(relations),
        loose=outputs is not None and checker != "equal",
    )


def check_number(key: str, value: Any, least: float, most: float = math.inf) -> None:
    """UserError for what is no number within bounds."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not least <= value <= most or value == math.inf:
        up_to = f", and of at most {most} (seconds)" if most < math.inf else ""
        raise UserError(f"tests: {key} must be a number of at least {least:g}{up_to}")


def check_each(values: Any, key: str, entry_point: str | None, inputs: Any) -> None:
    """UserError for a list that does not have one entry for each call."""
    if not isinstance(values, list):
        return
    if entry_point is None or inputs is None:
        raise UserError(f"tests: {key} may be a list for the inputs of a function only")
    if len(values) != len(inputs):
        raise UserError(f"tests: {len(inputs)} inputs and {len(values)} entries of {key}")


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


def find_checker(
    name: str | None, of_text: bool, atol: float, rtol: float | None
) -> Checker | None:
    """A built-in checker, or one's own by import path; None: values are compared."""
    if of_text and (name == "numbers" or (name is None and (atol or rtol is not None))):
        return partial(numbers, atol=atol, rtol=rtol)
    if name is None or (name == "equal" and not of_text):
        return OF_TEXT["lines"] if of_text else None
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
