"""The `tests` of rows as published: HumanEval(+), MBPP, LiveCodeBench, Codeforces, CodeContests,
APPS."""

from __future__ import annotations

import ast
import base64
import io
import json
import pickle
import re
import zlib
from contextlib import suppress
from typing import Any

from evenflow.errors import UserError
from evenflow.rewards.code.cases import from_columns, from_list, read_json

CODEFORCES_TIME = 3.0
"""Python's share of the limits, which are set for compiled languages."""
LONGEST = 1 << 30
"""Bytes of tests unpacked at most."""
INPUTS = re.compile(r"\s*inputs = (\[.*\])\s*$")
ASSERTION = re.compile(r"\s*assertion\(.*, ([0-9.]+(?:e-?[0-9]+)?)\)\s*$")


def published_tests(row: dict[str, Any]) -> dict[str, Any] | str:
    """The `tests` of a row: its own, or those of a benchmark that is known by its fields.

    UserError if there are none, KeyError for a missing field of HumanEval.
    """
    if "tests" in row:
        return row["tests"]
    if "private_test_cases" in row:
        return livecodebench(row)
    if "official_tests" in row:
        return codeforces(row)
    if "private_tests" in row:
        return code_contests(row)
    if "test_list" in row:
        return mbpp(row)
    if "entry_point" in row and "test" in row:
        return humaneval(row)
    if "input_output" in row:
        return apps(row)
    if "entry_point" in row:
        return humaneval(row)
    raise UserError("there are no `tests` (see docs/rewards_code.md)")


def humaneval(row: dict[str, Any]) -> dict[str, Any]:
    """The `tests` of a row of HumanEval (`test`) or HumanEval+ (`base_input`, `plus_input`).

    The copy of HumanEval+ on Hugging Face has its inputs as literals inside `test`, whose checks
    need NumPy; inputs and tolerance are read, not run. The reference solution,
    `canonical_solution` or `answer`, is trusted; the expected values are what it returns. A row
    without one has them in the assertions of its `test` (LeetCodeDataset).
    """
    solution = row.get("canonical_solution") or row.get("answer")
    if solution is None and isinstance(check := row.get("test"), str) and "assert" in check:
        return {
            "assertions": f"{check}\ncheck({row['entry_point']})",
            "setup": row["prompt"],
        }
    inputs: list[Any] = []
    for key in ("base_input", "plus_input"):
        values = row.get(key) or []
        if not isinstance(values, list):
            raise UserError(
                f"HumanEval+: {key} must be a list of lists of arguments, not "
                f"{type(values).__name__}"
            )
        inputs += values
    atol = row.get("atol") or 0
    if not inputs and isinstance(row.get("test"), str):
        inputs, atol = written_tests(row["test"])
    tests: dict[str, Any] = {
        "entry_point": row["entry_point"],
        "setup": row["prompt"],
        "solution": solution or row["answer"],
        "atol": atol,
    }
    tests |= {"inputs": inputs} if inputs else {"check": row["test"]}
    if row["entry_point"] == "find_zero":
        tests["checker"] = "polynomial_root"
    return tests


def written_tests(test: str) -> tuple[list[list[Any]], float]:
    """What a line of a check says in literals: ``inputs = […]``, and the tolerance in
    ``assertion(…, …, atol)``; empty and 0 where none does."""
    inputs: list[list[Any]] = []
    atol = 0.0
    # By lines: expected values beside them may be integers too long for Python's parser.
    for line in test.split("\n"):  # not splitlines(): a literal may hold U+2028 and its like
        if found := INPUTS.match(line):
            with suppress(ValueError, SyntaxError):  # computed: `check` is run to learn them
                value = ast.literal_eval(found[1])
                if all(isinstance(each, list | tuple) for each in value):
                    inputs = [list(arguments) for arguments in value]
        elif found := ASSERTION.match(line):
            atol = float(found[1])
    return inputs, atol


def livecodebench(row: dict[str, Any]) -> dict[str, Any]:
    """The `tests` of a row of LiveCodeBench's code generation: public ones, then private ones.

    With `starter_code` the method of `Solution` that the metadata name is called, each line of an
    input one argument in JSON; else a program reads standard input.
    """
    cases = [case for key in ("public", "private") for case in unpacked(row, f"{key}_test_cases")]
    if not cases:
        raise UserError("LiveCodeBench: a row without test cases")
    return from_list([{**case, "metadata": row.get("metadata")} for case in cases])


def unpacked(row: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Test cases: JSON, or base64 of zlib of a pickled text of JSON."""
    cases = row.get(key) or []
    if isinstance(cases, str):
        cases = unpickled(cases, key)
    return checked_cases(cases, f"LiveCodeBench: {key}")


def checked_cases(cases: Any, what: str) -> list[dict[str, Any]]:
    """Pairs of input and output, if they are that."""
    if isinstance(cases, list) and all(
        isinstance(case, dict) and all(isinstance(case.get(k), str) for k in ("input", "output"))
        for case in cases
    ):
        return cases
    raise UserError(f"{what} must be a list of objects whose `input` and `output` are text")


def unpickled(cases: str, key: str) -> Any:
    """The value of a text in JSON, or of one that is packed."""
    with suppress(ValueError):
        return json.loads(cases)
    try:
        data = zlib.decompressobj().decompress(base64.b64decode(cases), LONGEST)
        text = TextOnly(io.BytesIO(data)).load()
        if not isinstance(text, str):
            raise pickle.UnpicklingError(f"{type(text).__name__} where text was expected")
        return json.loads(text)
    except Exception as error:  # bytes that are no pickle raise nearly anything
        raise UserError(f"LiveCodeBench: {key} cannot be read: {error}") from None


class TextOnly(pickle.Unpickler):
    """Unpickles text and plain containers; whatever names a class or a function is refused."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f"pickled {module_name}.{global_name} where text was expected")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("a persistent id where text was expected")


def codeforces(row: dict[str, Any]) -> dict[str, Any]:
    """The `tests` of a row of open-r1/codeforces: the official ones, compared token by token.

    The limit is `CODEFORCES_TIME` times the problem's, for Python.
    """
    if reason := without_tests(row):
        raise UserError(f"Codeforces: {reason}")
    tests = checked_cases(row["official_tests"], "Codeforces: official_tests")
    return {
        "inputs": [test["input"] for test in tests],
        "outputs": [test["output"] for test in tests],
        "checker": "tokens",
        "time_limit": CODEFORCES_TIME * seconds(row),
    }


def seconds(row: dict[str, Any]) -> float:
    """The time limit of a problem of Codeforces; 2 s where it names none."""
    limit = row.get("time_limit") or 2.0
    try:
        return float(limit)
    except (TypeError, ValueError, OverflowError):
        raise UserError(
            f"Codeforces: time_limit must be a number of seconds, not {limit!r:.60}"
        ) from None


def without_tests(row: dict[str, Any]) -> str:
    """Why a problem of Codeforces cannot be judged by equality of output; empty if it can."""
    if not row.get("official_tests"):
        return "a problem without official tests"
    if row.get("official_tests_complete") is False:
        return "a problem whose official tests are cut short"
    if row.get("interaction_format"):
        return "an interactive problem"
    if row.get("input_mode") not in (None, "stdio"):
        return "a problem that reads a file"
    if row.get("generated_checker"):
        return "a problem with several right outputs, which needs a checker of its own"
    return ""


def code_contests(row: dict[str, Any]) -> dict[str, Any]:
    """The `tests` of a row of deepmind/code_contests, public, private and generated, compared as
    its own harness does: word by word, whatever the case, numbers to 1e-5; problems with several
    right outputs are not told apart there.

    The limit is `CODEFORCES_TIME` times the problem's, for Python.
    """
    tests: dict[str, list[Any]] = {"inputs": [], "outputs": []}
    for kind in ("public", "private", "generated"):
        columns = row.get(f"{kind}_tests") or {}
        if not isinstance(columns, dict):
            raise UserError(f"CodeContests: {kind}_tests must be an object")
        given, expected = columns.get("input") or [], columns.get("output") or []
        if not isinstance(given, list) or not isinstance(expected, list):
            raise UserError(f"CodeContests: {kind}_tests must hold lists")
        if len(given) != len(expected):
            raise UserError(
                f"CodeContests: {kind}_tests has {len(given)} inputs and {len(expected)} outputs"
            )
        tests["inputs"] += given
        tests["outputs"] += expected
    if not tests["inputs"]:
        raise UserError("CodeContests: a row without test cases")
    limit = row.get("time_limit")
    if isinstance(limit, dict):
        limit = f"{limit.get('seconds') or 0}.{limit.get('nanos') or 0:09}"
    return {
        **tests,
        "checker": "caseless",
        "time_limit": CODEFORCES_TIME * seconds({"time_limit": limit}),
    }


def apps(row: dict[str, Any]) -> dict[str, Any]:
    """The `tests` of a row of APPS and its kind (TACO, and what is made of them): `input_output`,
    an object or its JSON text of `inputs`, `outputs` and, where a function is called, `fn_name`.

    A function's outputs may stand in lists of one, and a program's texts may be lists of lines;
    real numbers that it prints are compared by NumPy's rule, as APPS's own harness does at last.
    """
    cases = row["input_output"]
    cases = read_json(cases, "input_output", "APPS") if isinstance(cases, str) and cases else cases
    if not isinstance(cases, dict) or not (cases.get("inputs") and cases.get("outputs")):
        raise UserError("APPS: a row without test cases (input_output: inputs, outputs)")
    by_numpy = {} if cases.get("fn_name") else {"checker": "allclose"}
    return from_columns(cases) | by_numpy


def mbpp(row: dict[str, Any]) -> dict[str, Any]:
    """The `tests` of a row of MBPP: the assertions in `test_list`, after `test_setup_code` or
    `test_imports`. The `test` of MBPP+ needs NumPy, and is refused."""
    if row.get("test"):
        raise UserError("MBPP+: its `test` is not read; without that column test_list is")
    imports = row.get("test_imports") or []
    imports = imports if isinstance(imports, list) else [imports]
    parts = [row.get("test_setup_code") or "", *imports]
    if not all(isinstance(part, str) for part in parts):
        raise UserError("MBPP: test_setup_code and test_imports must be text")
    return {"assertions": row["test_list"], "setup": "\n".join(filter(None, parts))}
