"""`tests` as others write them, made into the fields of a problem: lists of cases, and columns with
the name of a function (`fn_name`)."""

from __future__ import annotations

import ast
import json
from contextlib import suppress
from typing import Any

from evenflow.errors import UserError
from evenflow.rewards.code.assertions import from_assertions

LIVECODEBENCH_TIME = 6.0
"""Seconds a test, as LiveCodeBench's own harness allows."""
APPS_TIME = 4.0
"""Seconds a test, as APPS's own harness allows."""
TESTS_PAID = 10
"""Calls of a function share one process and one limit, which grows up to so many tests."""
# What LiveCodeBench's own harness puts before every answer, a method's and a program's alike.
MODULES = (
    "string, re, datetime, collections, heapq, bisect, copy, math, random, statistics, itertools, "
    "functools, operator, io, sys, json, builtins, typing"
)
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
        each = zip(*tests.values(), strict=False)  # `datasets` turns a list of objects so
        return from_list([dict(zip(tests, case, strict=True)) for case in each])
    if isinstance(cases := tests.get("test_cases"), list):
        return from_list(cases)
    if isinstance(code := tests.get("functional"), str):
        return calls_asserted(code)
    if "fn_name" in tests:
        return from_columns(tests)
    if "entry_point" not in tests:
        tests |= {key: as_texts(tests[key]) for key in ("inputs", "outputs") if key in tests}
    return tests


def from_text(text: str) -> Any:
    """The value of a text: JSON, Python's way to write a value, or code that asserts."""
    value: Any = None
    try:
        value = json.loads(text)
    except ValueError as error:
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            value = ast.literal_eval(text)
        if value is None and "assert " in text:
            return calls_asserted(text)
        if value is None:
            raise UserError(f"tests: not valid JSON: {error}") from None
    return from_text(value) if isinstance(value, str) else value  # a text in a text


def calls_asserted(code: str) -> dict[str, Any]:
    """The calls that code asserts the values of."""
    return {**from_assertions(code), "setup": PRELUDE}


def from_list(tests: list[Any]) -> dict[str, Any]:
    """Cases, each an object with its input and output, or assertions, each a line of Python."""
    if tests and all(isinstance(test, str) for test in tests):
        return calls_asserted("\n".join(tests))
    if not tests or not all(isinstance(t, dict) and {"input", "output"} <= t.keys() for t in tests):
        raise UserError(
            "tests: a list must hold objects with `input` and `output`, or assertions as text"
        )
    names = {name_in(test) for test in tests}
    if len(names) > 1:
        raise UserError(f"tests: the cases call different functions ({sorted(map(str, names))})")
    (name,) = names
    columns = {f"{key}s": [test[key] for test in tests] for key in ("input", "output")}
    if any(test.get("testtype") == "functional" for test in tests):
        return from_lines(name, **columns)
    return from_columns({"fn_name": name} | columns, LIVECODEBENCH_TIME)


def name_in(test: dict[str, Any]) -> str | None:
    """The function that a case calls; None for a program."""
    if test.get("testtype") != "functional":
        return test.get("fn_name") or None
    metadata = test.get("metadata") or {}
    metadata = read_json(metadata, "metadata") if isinstance(metadata, str) else metadata
    return metadata.get("func_name") if isinstance(metadata, dict) else None


def from_lines(name: str | None, inputs: list[Any], outputs: list[Any]) -> dict[str, Any]:
    """Calls of a method of `Solution` as LiveCodeBench writes them: each line of an input is one
    argument in JSON."""
    if name is None:
        raise UserError("LiveCodeBench: the metadata do not name the method (func_name)")
    return {
        "entry_point": f"Solution.{name}",
        "setup": PRELUDE,
        "inputs": [
            # Not splitlines(): JSON text may hold U+2028 and its like as they are.
            [read_json(line, "an input") for line in str(text).split("\n") if line.strip()]
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
        return {
            "entry_point": name,
            "setup": PRELUDE,
            "inputs": inputs,
            "outputs": outputs,
            "checker": "one_of_one",
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
    if not isinstance(values, list):
        return values
    return ["\n".join(map(str, v)) if isinstance(v, list) else v for v in values]


def read_json(text: str, what: str, benchmark: str = "LiveCodeBench") -> Any:
    """The value of a field in JSON."""
    try:
        return json.loads(text)
    except (ValueError, TypeError) as error:
        raise UserError(f"{benchmark}: {what} is not JSON ({text!r:.60}): {error}") from None
