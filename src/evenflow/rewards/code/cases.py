"""`tests` as others write them, made into the fields of a problem: lists of cases, and columns with
the name of a function (`fn_name`)."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from evenflow.errors import UserError
from evenflow.rewards.code.assertions import from_assertions
from evenflow.rewards.code.names import MODULES

LIVECODEBENCH_TIME = 6.0
"""Seconds a test, as LiveCodeBench's own harness allows."""
APPS_TIME = 4.0
"""Seconds a test, as APPS's own harness allows."""
TESTS_PAID = 10
"""Calls of a function share one process and one limit, which grows up to so many tests."""
PRELUDE = (
    "".join(f"from {module} import *\n" for module in MODULES.split(", "))
    # datetime and copy are the modules, not what is in them
    + f"import {MODULES}\nsys.setrecursionlimit(50000)\n"
)


def as_fields(tests: Any) -> dict[str, Any]:
    """The fields of a problem (docs/rewards_code.md) for `tests` in any form that is known, an
    object as it is. UserError says what is wrong."""
    if isinstance(tests, str):
        tests = from_text(tests)
    if isinstance(tests, list):
        tests = from_list(tests)
    if not isinstance(tests, dict):
        raise UserError(f"tests: must be an object, not {type(tests).__name__}")
    # Data sets in columns give every row all fields, with None where a row has nothing.
    tests = {key: value for key, value in tests.items() if value is not None}
    if {"input", "output"} <= tests.keys() and all(isinstance(v, list) for v in tests.values()):
        lengths = {key: len(value) for key, value in tests.items()}
        if len(set(lengths.values())) > 1:
            raise UserError(f"tests: columns of different lengths ({lengths})")
        each = zip(*tests.values(), strict=True)  # `datasets` turns a list of objects so
        return from_list([dict(zip(tests, case, strict=True)) for case in each])
    tests.pop("language", None)
    name = tests.get("fn_name", tests.get("entry_point"))
    for key, read in READERS.items():
        if key in tests:
            if beside := tests.keys() & {*READERS, "inputs", "outputs"} - {key}:
                raise UserError(f"tests: {key!r} and {sorted(beside)} both; give one of them")
            return read(tests[key], name) | without(tests, key, "fn_name")
    if "fn_name" in tests:
        return from_columns(tests) | without(tests, "fn_name", "inputs", "outputs")
    if "entry_point" not in tests:
        tests |= {key: as_texts(tests[key]) for key in ("inputs", "outputs") if key in tests}
    return tests


def without(tests: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The other fields, which count as they always do."""
    return {key: value for key, value in tests.items() if key not in keys}


def from_text(text: str) -> Any:
    """The value of a text: JSON, Python's way to write a value, or code that asserts."""
    value: Any = None
    try:
        value = json.loads(text)
    except ValueError as error:
        with suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            value = ast.literal_eval(text)
        if value is None and "assert " in text:
            return calls_asserted(text)
        if value is None:
            raise UserError(f"tests: not valid JSON: {error}") from None
    return from_text(value) if isinstance(value, str) else value  # a text in a text


def calls_asserted(code: Any, name: Any = None) -> dict[str, Any]:
    """The calls that code asserts the values of, of a function that is named there or by `name`."""
    lines = code if isinstance(code, list) else [code]
    if not all(isinstance(line, str) for line in lines):
        raise UserError("tests: assertions must be text")
    return {**from_assertions("\n".join(lines), name), "setup": PRELUDE}


def from_list(tests: Any, name: Any = None) -> dict[str, Any]:
    """Cases, each an object with its input and output, or assertions, each a line of Python."""
    if isinstance(tests, list) and tests and all(isinstance(test, str) for test in tests):
        return calls_asserted(tests)
    if (
        not isinstance(tests, list)
        or not tests
        or not all(isinstance(t, dict) and {"input", "output"} <= t.keys() for t in tests)
    ):
        raise UserError(
            "tests: a list must hold objects with `input` and `output`, or assertions as text"
        )
    names = [name_in(test, name) for test in tests]
    if any(each != names[0] for each in names):
        raise UserError("tests: the cases call different functions")
    columns = {f"{key}s": [test[key] for test in tests] for key in ("input", "output")}
    if not names[0]:
        columns = {key: list(map(as_numeral, values)) for key, values in columns.items()}
    if any(test.get("testtype") == "functional" for test in tests):
        return from_lines(names[0], **columns)
    return from_columns({"fn_name": names[0]} | columns, LIVECODEBENCH_TIME)


READERS: dict[str, Callable[[Any, Any], dict[str, Any]]] = {
    "test_cases": from_list,
    "functional": calls_asserted,
    "assertions": calls_asserted,
}
"""Fields that hold all tests in a form of their own."""


def name_in(test: dict[str, Any], name: Any = None) -> Any:
    """The function that a case calls, or all do; None for a program."""
    if test.get("testtype") != "functional":
        return test.get("fn_name") or name
    metadata = test.get("metadata") or {}
    metadata = read_json(metadata, "metadata") if isinstance(metadata, str) else metadata
    named = metadata.get("func_name") if isinstance(metadata, dict) else None
    return named or test.get("fn_name") or name


def from_lines(name: Any, inputs: list[Any], outputs: list[Any]) -> dict[str, Any]:
    """Calls of a method of `Solution` as LiveCodeBench writes them: each line of an input is one
    argument in JSON."""
    if name is None:
        raise UserError("LiveCodeBench: the metadata do not name the method (func_name)")
    if not all(isinstance(text, str) for text in (*inputs, *outputs)):
        raise UserError("LiveCodeBench: inputs and outputs of a method must be text")
    return {
        "entry_point": f"Solution.{name}",
        "setup": PRELUDE,
        "inputs": [
            # Not splitlines(): JSON text may hold U+2028 and its like as they are.
            [read_json(line, "an input") for line in text.split("\n") if line.strip()]
            for text in inputs
        ],
        "outputs": [read_json(text, "an output") for text in outputs],
        "time_limit": LIVECODEBENCH_TIME * min(len(inputs), TESTS_PAID),
    }


def from_columns(cases: dict[str, Any], time_limit: float = APPS_TIME) -> dict[str, Any]:
    """Inputs and outputs as APPS writes them: values where a function is named (`fn_name`), which
    may stand in lists of one, else texts of programs, which may be lists of lines."""
    inputs, outputs = cases.get("inputs"), cases.get("outputs")
    if name := cases.get("fn_name"):
        calls = len(inputs) if isinstance(inputs, list) else 1
        # Beside a list of two a list of one is the value itself.
        wrapped = isinstance(outputs, list) and all(
            len(each) == 1 for each in outputs if isinstance(each, list)
        )
        return {
            "entry_point": name,
            "setup": PRELUDE,
            "inputs": inputs,
            "outputs": outputs,
            **({"checker": "one_of_one"} if wrapped else {}),
            "time_limit": time_limit * min(calls, TESTS_PAID),
        }
    return {
        "setup": PRELUDE,
        "inputs": as_texts(inputs),
        "outputs": as_texts(outputs),
        "time_limit": time_limit,
    }


def as_texts(values: Any) -> Any:
    """Lists of lines as texts; anything else as it is."""

    def as_text(value: Any) -> Any:
        lines = isinstance(value, list) and all(isinstance(line, str) for line in value)
        return "\n".join(value) if lines else value

    return list(map(as_text, values)) if isinstance(values, list) else values


def as_numeral(value: Any) -> Any:
    """A number as the text of it; anything else as it is."""
    return str(value) if type(value) in (int, float) else value


def read_json(text: str, what: str, benchmark: str = "LiveCodeBench") -> Any:
    """The value of a field in JSON."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{benchmark}: {what} is not JSON ({text!r:.60}): {error}") from None
