"""Rows of code benchmarks as published become tests that a right program passes."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from evenflow.errors import UserError
from evenflow.rewards.code import (
    apps,
    codeforces,
    grade_rows,
    humaneval,
    livecodebench,
    parse,
    published_tests,
)
from evenflow.rewards.code.formats import without_tests, written_tests


def packed(value: Any) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def case(given: str, expected: str, kind: str) -> dict[str, str]:
    return {"input": given, "output": expected, "testtype": kind}


METHOD = {
    "question_content": "Return the sum.",
    "starter_code": "class Solution:\n    def total(self, xs: List[int], by: int) -> int:\n",
    "public_test_cases": json.dumps([case("[1, 2]\n10", "30", "functional")]),
    "private_test_cases": packed(json.dumps([case("[5]\n1", "5", "functional")])),
    "metadata": json.dumps({"func_name": "total"}),
}
PROGRAM = {
    "starter_code": "",
    "public_test_cases": json.dumps([case("1 2\n", "3\n", "stdin")]),
    "private_test_cases": packed(json.dumps([case("4 5\n", "9", "stdin")])),
    "metadata": "{}",
}
CODEFORCES = {
    "official_tests": [{"input": "2\n", "output": "YES\n"}, {"input": "3\n", "output": "no\n"}],
    "official_tests_complete": True,
    "time_limit": 1.0,
    "input_mode": "stdio",
    "interaction_format": None,
    "generated_checker": None,
}
RIGHT_METHOD = """\
class Solution:
    def total(self, xs: List[int], by: int) -> int:
        return reduce(add, xs) * by
"""
RIGHT_PROGRAM = "print(sum(map(int, input().split())))"


def graded(row: dict, *responses: str) -> list[str]:
    return [verdict for verdict, _ in grade_rows({**row, "response": text} for text in responses)]


def test_livecodebench_methods_and_programs() -> None:
    wrong = RIGHT_METHOD.replace("* by", "+ by")
    assert graded(METHOD, RIGHT_METHOD, wrong, "pass") == ["right", "wrong", "wrong"]
    assert graded(PROGRAM, RIGHT_PROGRAM, "print(3)") == ["right", "wrong"]
    tests = livecodebench(METHOD)
    assert tests["inputs"] == [[[1, 2], 10], [[5], 1]]  # the public test, then the private one
    assert tests["outputs"] == [30, 5]
    assert tests["entry_point"] == "Solution.total"


@pytest.mark.parametrize(
    "program",
    [
        "queue = deque(map(int, input().split()))\nprint(sum(queue))",
        "n = list(map(int, sys.stdin.read().split()))\nprint(reduce(add, n))",
        "n = list(map(int, stdin.read().split()))\nprint(int(fsum(n)))",
        "    a, b = map(int, input().split())\n    print(a + b)",
        "from __future__ import annotations\nprint(sum(map(int, input().split())))",
        # 20,000 calls deep, beyond Python's own limit
        "a, b = map(int, input().split())\n"
        "def down(n): return 0 if n == 0 else down(n - 1)\n"
        "print(a + b + down(20_000))",
        "print(pow(sum(map(int, input().split())), 1, 100))",  # not math's pow
        "print(sum(map(int, input().split())) + (datetime.date(2000, 1, 1).day - 1))",
    ],
)
def test_programs_of_livecodebench_find_what_its_harness_imports(program: str) -> None:
    assert graded(PROGRAM, program) == ["right"]
    assert graded(PROGRAM, f"{program}; print(0)") == ["wrong"]


def test_private_tests_may_be_plain_json() -> None:
    row = PROGRAM | {"private_test_cases": json.dumps([case("4 5\n", "9", "stdin")])}
    assert livecodebench(row) == livecodebench(PROGRAM)


class Shell:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.mark}",)


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    with pytest.raises(UserError, match=r"pickled posix\.system where text was expected"):
        livecodebench(PROGRAM | {"private_test_cases": packed(Shell(mark))})
    assert not mark.exists()
    assert pickle.loads(pickle.dumps(Shell(mark))) == 0  # the attack works where it is let
    assert mark.exists()


@pytest.mark.parametrize("value", [bytearray(b"[]"), print, 7, ["[]"], b"[]"])
def test_pickles_of_anything_but_text_are_refused(value: Any) -> None:
    with pytest.raises(UserError, match="private_test_cases cannot be read"):
        livecodebench(PROGRAM | {"private_test_cases": packed(value)})


@pytest.mark.parametrize("text", ["bm9uc2Vuc2U=", "!!!", packed("no json")])
def test_what_is_no_pickle_is_named(text: str) -> None:
    with pytest.raises(UserError, match="private_test_cases cannot be read"):
        livecodebench(PROGRAM | {"private_test_cases": text})


def test_text_in_json_may_hold_other_line_ends() -> None:
    row = METHOD | {"public_test_cases": [case('["a\u2028b"]\r\n10', '"x\x85"', "functional")]}
    assert livecodebench(row)["inputs"][0] == [["a\u2028b"], 10]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metadata": "{func_name: total}"}, "metadata is not JSON"),
        ({"metadata": "[1]"}, "func_name"),
        (
            {"public_test_cases": [case("[1, 2", "3", "functional")]},
            r"an input is not JSON .'\[1, 2",
        ),
        ({"public_test_cases": [case("1\n2", "three", "functional")]}, "an output is not JSON"),
        ({"public_test_cases": [{"input": "1"}]}, "public_test_cases must be a list of objects"),
        ({"public_test_cases": "7"}, "public_test_cases must be a list of objects"),
        ({"public_test_cases": ["1"]}, "public_test_cases must be a list of objects"),
        ({"private_test_cases": packed("{}")}, "private_test_cases must be a list of objects"),
    ],
)
def test_rows_of_livecodebench_that_are_damaged(change: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        livecodebench(METHOD | change)


def test_rows_of_livecodebench_that_lack_something() -> None:
    with pytest.raises(UserError, match="func_name"):
        livecodebench(METHOD | {"metadata": "{}"})
    with pytest.raises(UserError, match="without test cases"):
        livecodebench({"private_test_cases": None})


def test_codeforces() -> None:
    program = "print('YES' if int(input()) % 2 == 0 else 'no')"
    assert graded(CODEFORCES, program, "print('YES')") == ["right", "wrong"]
    assert codeforces(CODEFORCES)["time_limit"] == 3.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"official_tests": []}, "without official tests"),
        ({"official_tests_complete": False}, "cut short"),
        ({"interaction_format": "ask"}, "interactive"),
        ({"input_mode": "file"}, "reads a file"),
        ({"generated_checker": "import sys"}, "checker of its own"),
    ],
)
def test_problems_that_equality_cannot_judge(change: dict, says: str) -> None:
    assert says in without_tests(CODEFORCES | change)
    with pytest.raises(UserError, match=says):
        codeforces(CODEFORCES | change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"time_limit": "2 s"}, "time_limit must be a number of seconds, not '2 s'"),
        ({"time_limit": [2]}, "time_limit must be a number of seconds"),
        ({"official_tests": [{"input": "1"}]}, "official_tests must be a list of objects"),
        ({"official_tests": "1"}, "official_tests must be a list of objects"),
    ],
)
def test_rows_of_codeforces_that_are_damaged(change: dict, says: str) -> None:
    assert codeforces(CODEFORCES | {"time_limit": "1"})["time_limit"] == 3.0
    with pytest.raises(UserError, match=says):
        codeforces(CODEFORCES | change)


ADD_METHOD = (
    "class Solution:\n    def add(self, a: int, b: int) -> List[int]:\n        return a + b\n"
)


@pytest.mark.parametrize("as_json", [False, True])
def test_apps_functions_and_programs(as_json: bool) -> None:
    def row(**cases: Any) -> dict[str, Any]:
        return {"input_output": json.dumps(cases) if as_json else cases}

    calls = row(fn_name="add", inputs=[[1, 2], [3, 4]], outputs=[[3], 7])
    assert graded(calls, "def add(a, b): return a + b", ADD_METHOD) == ["right", "right"]
    assert (
        graded(calls, "def add(a, b): return a - b", "def add(a, b): return [3]") == ["wrong"] * 2
    )
    lists = row(fn_name="same", inputs=[[[1]], [[]]], outputs=[[1], []])
    assert graded(lists, "def same(a): return a", "def same(a): return None") == ["right", "wrong"]
    program = row(inputs=["1 2\n", ["3", "4"]], outputs=["3", ["7"]])
    assert graded(program, "print(sum(map(int, sys.stdin.read().split())))") == ["right"]
    assert graded(program, "print(3)") == ["wrong"]


@pytest.mark.parametrize(
    "cases", ["", "{}", None, [], {"inputs": [], "outputs": []}, {"inputs": ["1"]}]
)
def test_rows_of_apps_without_tests(cases: Any) -> None:
    with pytest.raises(UserError, match="a row without test cases"):
        apps({"input_output": cases})


def test_rows_of_apps_that_are_damaged() -> None:
    with pytest.raises(UserError, match="APPS: input_output is not JSON"):
        apps({"input_output": "{inputs"})
    uneven = published_tests({"input_output": {"inputs": ["1"], "outputs": ["1", "2"]}})
    with pytest.raises(UserError, match="1 inputs and 2 outputs"):
        parse(uneven)
    with pytest.raises(UserError, match="a list of arguments"):
        parse(apps({"input_output": {"fn_name": "f", "inputs": ["1"], "outputs": [1]}}))


# As on Hugging Face: the checks of HumanEval+ need NumPy, which no sandbox has.
ON_THE_HUB = {
    "task_id": "HumanEval/0",
    "prompt": 'def double(x: int):\n    """Twice x."""\n',
    "canonical_solution": "    return 2 * x\n",
    "entry_point": "double",
    "test": """\
import numpy as np

def assertion(out, exp, atol):
    assert out == exp or np.allclose(out, exp)

def check(candidate):
    inputs = [[1], [2.5], [-3]]
    results = [2, 5.0, -6]
    for i, (inp, exp) in enumerate(zip(inputs, results)):
        assertion(candidate(*inp), exp, 0)
""",
}


def test_inputs_of_humaneval_plus_are_read_from_its_check() -> None:
    assert humaneval(ON_THE_HUB)["inputs"] == [[1], [2.5], [-3]]
    assert humaneval(ON_THE_HUB)["atol"] == 0
    loose = ON_THE_HUB | {"test": ON_THE_HUB["test"].replace("exp, 0)", "exp, 1e-06)")}
    assert humaneval(loose)["atol"] == 1e-6
    assert graded(ON_THE_HUB, "    return x + x", "    return abs(2 * x)") == ["right", "wrong"]


def test_inputs_of_humaneval_plus_that_are_no_list() -> None:
    assert humaneval(ON_THE_HUB | {"base_input": [[7]], "plus_input": None})["inputs"] == [[7]]
    for value in (7, "[[1]]", {"a": 1}):
        with pytest.raises(UserError, match="plus_input must be a list of lists of arguments"):
            humaneval(ON_THE_HUB | {"plus_input": value})


def test_literals_may_hold_other_line_ends() -> None:
    assert written_tests('inputs = [["a\u2028b"], ["\x0c"]]\r\n') == ([["a\u2028b"], ["\x0c"]], 0)


def test_expected_values_may_be_longer_than_python_reads() -> None:
    test = ON_THE_HUB["test"].replace("[2, 5.0, -6]", f"[{'9' * 5000}]")
    assert written_tests(test) == ([[1], [2.5], [-3]], 0)


def test_inputs_that_are_no_literal_are_left_to_the_check() -> None:
    assert written_tests("inputs = [[i] for i in range(3)]") == ([], 0)
    assert written_tests("inputs = ['ab', 'c']") == ([], 0)
    assert written_tests("def check(f):\n    assert f(1) == 2") == ([], 0)
    assert "check" in humaneval(ON_THE_HUB | {"test": "def check(f):\n    assert f(1) == 2"})


def test_the_format_is_told_by_the_fields() -> None:
    assert published_tests({"tests": {"a": 1}, "entry_point": "f"}) == {"a": 1}
    assert published_tests(METHOD) == livecodebench(METHOD)
    assert published_tests(CODEFORCES) == codeforces(CODEFORCES)
    assert published_tests(ON_THE_HUB) == humaneval(ON_THE_HUB)
    with pytest.raises(UserError, match="no `tests`"):
        published_tests({"response": "x"})
