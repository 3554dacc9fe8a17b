"""`tests` as other collections write them become tests that a right program passes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from evenflow.errors import UserError
from evenflow.rewards.code import code, code_contests, grade_rows, mbpp, parse, published_tests
from evenflow.rewards.code.assertions import from_assertions
from evenflow.rewards.code.cases import as_fields

PROGRAM = "a, b = map(int, input().split())\nprint(a + b)"
FUNCTION = "def add(a, b):\n    return a + b"
METHOD = (
    "class Solution:\n    def add(self, a: int, b: int) -> Optional[int]:\n        return a + b"
)
CHECK = """\
def check(candidate):
    assert candidate(a = 1, b = 2) == 3
    assert candidate(a = -1, b = 1) == 0


check(Solution().add)
"""
PYTEST = '''\
from solution import add

def test_positive():
    """Two numbers."""
    a = 1
    total = add(a, 2)
    a = 5
    assert total == 3
    assert 7 == add(a, 2)

def test_zero():
    assert add(0, 0) == 0

if __name__ == "__main__":
    test_zero()
'''


def stdin(given: str, expected: str) -> dict[str, Any]:
    return {"input": given, "output": expected, "testtype": "stdin"}


def functional(given: str, expected: str) -> dict[str, Any]:
    named = {"func_name": "add"}
    return {"input": given, "output": expected, "testtype": "functional", "metadata": named}


CALLS = [{"fn_name": "add", "input": [1, 2], "output": [3], "type": "function_call"}]
FORMS: dict[str, tuple[Any, str]] = {
    # DeepCoder's: what the authors of FlowRL train on is JSON text of such lists and columns.
    "runs": ([stdin("1 2\n", "3\n"), stdin("4 5\n", "9\n")], PROGRAM),
    "runs that name a method": ([stdin("1 2", "3") | {"metadata": {"func_name": "f"}}], PROGRAM),
    "runs of Codeforces": ([{"input": "1 2", "output": "3"}], PROGRAM),
    "columns of runs": ({"input": ["1 2"], "output": ["3"]}, PROGRAM),
    "columns of a method": ({k: [v] for k, v in functional("1\n2", "3").items()}, METHOD),
    "calls of a method": ([functional("1\n2", "3"), functional("4\n5", "9")], METHOD),
    "calls": (CALLS, FUNCTION),
    "columns of calls": ({"fn_name": "add", "inputs": [[1, 2]], "outputs": [[3]]}, FUNCTION),
    "columns of lines": ({"inputs": [["1 2"]], "outputs": [["3"]]}, PROGRAM),
    "a list in an object": ({"language": "python", "test_cases": CALLS}, FUNCTION),
    "LeetCode's check": ({"functional": CHECK}, METHOD),
    # MBPP's and AceCode's
    "lines that assert": (["assert add(1, 2) == 3", "assert add(4, 5) == 9"], FUNCTION),
    "a file for pytest": (PYTEST, FUNCTION),
    "HumanEval's check": (
        "def check(f):\n    assert True, 'This prints.'\n    assert f(1, 2) == 3\n    assert True\n"
        "check(add)",
        FUNCTION,
    ),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("write", [lambda tests: tests, json.dumps, repr], ids=["", "json", "repr"])
def test_a_right_program_passes_and_no_other(name: str, write: Any) -> None:
    tests, program = FORMS[name]
    written = write(tests)
    wrong = program.replace("+", "-")
    assert code(completions=[program, wrong], tests=[written] * 2) == [1.0, 0.0]


def test_a_verl_row_of_code(tmp_path: Any) -> None:
    from evenflow.data import load_rows

    row = {
        "prompt": [{"role": "user", "content": "Add two numbers."}],
        "data_source": "livecodebench",
        "ability": "code",
        "reward_model": {"style": "rule", "ground_truth": json.dumps(FORMS["runs"][0])},
    }
    (tmp_path / "code.jsonl").write_text(json.dumps(row))
    (found,) = load_rows(str(tmp_path / "code.jsonl"))
    assert code(completions=[PROGRAM, "print(3)"], tests=[found["tests"]] * 2) == [1.0, 0.0]


def test_mbpp() -> None:
    row = {
        "text": "Write a function to round up the root.",
        "code": "def up(x): return ceil(sqrt(x))",
        "test_list": ["assert up(2) == 2", "assert up(4)==2", "assert up(26) == 6"],
        "test_setup_code": "from math import ceil, sqrt",
        "test_imports": ["import math"],
    }
    answers = ["def up(x):\n    return ceil(math.sqrt(x))", "def up(x):\n    return 2"]
    graded = [verdict for verdict, _ in grade_rows({**row, "response": a} for a in answers)]
    assert graded == ["right", "wrong"]


def test_code_contests() -> None:
    row = {
        "description": "Add.",
        "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
        "private_tests": {"input": [], "output": []},
        "generated_tests": {"input": ["4 5\n", "0 0\n"], "output": ["9 \n", "0\n"]},
        "time_limit": {"seconds": 1, "nanos": 500_000_000},
    }
    graded = grade_rows({**row, "response": a} for a in (PROGRAM, "print(3)"))
    assert [verdict for verdict, _ in graded] == ["right", "wrong"]
    tests = code_contests(row)
    assert tests["inputs"] == ["1 2\n", "4 5\n", "0 0\n"]
    assert tests["time_limit"] == 4.5
    assert code_contests(row | {"time_limit": None})["time_limit"] == 6.0
    with pytest.raises(UserError, match="without test cases"):
        code_contests({"private_tests": {"input": [], "output": []}})


@pytest.mark.parametrize(
    ("tests", "right", "wrong"),
    [
        # What the imports before an answer bring is none of the answer's.
        (["assert add(1, 2) == 3"], FUNCTION, "x = 1"),
        (["assert factorial(3) == 6"], "def factorial(n):\n    return 6", "import math"),
        (FORMS["columns of calls"][0], METHOD, METHOD.replace("+", "-")),
        ([functional("[2, 1]", "[1, 2]")], "def add(a):\n    return sorted(a)", "x = 1"),
        # Arguments by their names
        (
            ["assert down([1, 2], reverse=True) == [2, 1]"],
            "def down(xs, key=None, reverse=False):\n    return sorted(xs, reverse=reverse)",
            "def down(xs, reverse, key=None):\n    return xs",
        ),
        # Fields beside those of others
        (
            # Beside another a list of one is the value itself.
            {"fn_name": "f", "inputs": [[2], [1]], "outputs": [[0, 1], [0]]},
            "def f(n):\n    return list(range(n))",
            "def f(n):\n    return list(range(n)) if n > 1 else 0",
        ),
        (
            {"fn_name": "f", "inputs": [[3]], "outputs": [[2, 1]], "checker": "as_sorted"},
            "def f(x):\n    return [1, 2]",
            "def f(x):\n    return [1, 3]",
        ),
        (
            {"fn_name": "f", "inputs": [[3]], "outputs": [4], "setup": "K = 1"},
            "def f(x):\n    return x + K",
            "def f(x):\n    return K",
        ),
        ({"entry_point": "add", "test_cases": [{"input": [1, 2], "output": 3}]}, FUNCTION, "x = 1"),
        ({"entry_point": "add", "functional": CHECK.partition("\n\n")[0]}, FUNCTION, "x = 1"),
        # JSON keeps no tuples; assertions are kept as text.
        (
            json.dumps(mbpp({"test_list": ["assert f(1) == (1, 2)"]})),
            "f = lambda x: (1, 2)",
            "f = lambda x: [1, 2]",
        ),
    ],
)
def test_what_is_easily_misread(tests: Any, right: str, wrong: str) -> None:
    assert code(completions=[right, wrong], tests=[tests] * 2) == [1.0, 0.0]


def checked_by(checker: str, expected: Any) -> dict[str, Any]:
    return {"entry_point": "f", "inputs": [[1]], "outputs": [expected], "checker": checker}


EXACT = "assert f(1) == {}"
VALUES: list[tuple[Any, str, str]] = [
    # A tolerance that is said is all there is, and of each assertion its own.
    ("assert abs(f(1) - 1000000000) < 1", "1000000000.5", "1000000050"),
    ("assert abs(f(1) - 10) < 1", "10.5", "11"),
    ("assert abs(f(1) - 10) <= 1", "11", "12"),
    ("assert abs(f(1) - 123456.789) < 1e-6", "123456.7890005", "123456.79"),
    ("assert abs(2 - f(4)) < 1e-6", "2.0000000000000004", "2.00001"),
    ("assert math.isclose(f(4), 2)", "2.0000000000000004", "2.0000001"),
    ("assert math.isclose(f(1), 1000000007)", "1000000007.5", "1000000099"),
    ("assert isclose(f(1), 1e-7, abs_tol=1e-9)", "1.005e-7", "9e-7"),
    ("assert abs(f(1) - 0.0) < 1e-9", "1e-10", "1e-8"),
    ("assert f(1) == pytest.approx(0.33333, rel=1e-3)", "1 / 3", "0.33"),
    ("assert f(1) == pytest.approx(100, abs=5)", "104", "106"),
    ("assert f(1) == approx(1.0)", "1.0000009", "1.00001"),
    ("assert f(1) == pytest.approx([1.0, 2.0])", "[1.0, 2.000001]", "[1.0, 2.1]"),
    ("assert f(1) == approx({'a': 0.1 + 0.2})", "{'a': 0.3}", "{'a': 0.4}"),
    (
        [f"assert math.isclose(f({x}), {x**3}, rel_tol=0.001)" for x in (1, 10, 1000)],
        "x ** 3 * 1.0005",
        "x ** 3 + 0.5",
    ),
    (["assert abs(f(1) - 1.5) < 1e-6", "assert f(2) == 3"], "x * 1.5", "x + 0.5"),
    # What is true or false, and what is True or False
    ("assert f(1)", "[0]", "[]"),
    ("assert f(1)", "5", "None"),
    ("assert f(1)", "re.match('a', 'ab')", "re.match('b', 'ab')"),
    ("assert f(1)", "True", "deque()"),
    ("assert f(1)", "'a' * 3000", "''"),
    ("assert not f(1)", "None", "[[]]"),
    ("assert not f(1)", "0.0", "'0'"),
    ("assert not f(1)", "{}", "(i for i in [])"),
    ("assert f(1) is True", "1 == 1", "1"),
    ("assert f(1) is False", "1 == 2", "0"),
    ("assert f(1) is None", "None", "0"),
    ("assert f(1) == True", "1", "2"),
    (["assert f(1) is True", "assert f(2) == 2", "assert not f(0)"], "x == 1 or x", "x"),
    # Small expressions
    (EXACT.format("math.inf"), "float('inf')", "1e308"),
    (EXACT.format("[-math.inf, float('inf')]"), "[-inf, inf]", "[inf, inf]"),
    (EXACT.format("2**3 + 1"), "9", "8"),
    (EXACT.format("10**9 + 7"), "1000000007", "1000000008"),
    (EXACT.format("[0] * 3"), "[0, 0, 0]", "[0]"),
    (EXACT.format("'a' * 100"), "'a' * 100", "'a' * 99"),
    (EXACT.format("list(range(4))"), "[0, 1, 2, 3]", "range(4)"),
    (EXACT.format("set([1, 2])"), "{2, 1}", "[1, 2]"),
    (EXACT.format("tuple(sorted([2, 1]))"), "(1, 2)", "(2, 1)"),
    (EXACT.format("sum([1, 2]) / 2"), "1.5", "1"),
    (EXACT.format("-(5 // 2)"), "-2", "-3"),
    (EXACT.format("{'a': [1] + [2]}"), "{'a': [1, 2]}", "{'a': [1]}"),
    (EXACT.format("1 + 2j"), "complex(1, 2)", "1"),
    (EXACT.format("dict([('a', 1)])"), "{'a': 1}", "{}"),
    ("assert f(list(range(3)) * 2, 1 << 3) == 6", "len(x)", "x[-1]"),
    ("N = 10**5\nassert f([1] * N) == N", "len(x)", "10"),
    # Python's way to write a value keeps tuples, and JSON's does not.
    (repr({"entry_point": "f", "inputs": [[1]], "outputs": [(1, 2)]}), "(1, 2)", "(2, 1)"),
    (repr({"fn_name": "f", "inputs": [[1]], "outputs": [[(1, (2, 3))]]}), "[(1, (2, 3))]", "[1]"),
    (repr({"entry_point": "f", "inputs": [[1]], "outputs": [{1: (2,)}]}), "{1: (2,)}", "{2: (2,)}"),
    (repr({"entry_point": "f", "inputs": [[1]], "outputs": [{0.3}]}), "{0.1 + 0.2}", "{0.4}"),
    (
        "{'entry_point': 'f', 'inputs': [[1]], 'outputs': [{'a', 'b'}]}",
        "{'b', 'a'}",
        "{'a', 'c'}",
    ),
    # In any order, with lists in it
    (checked_by("as_set", [[1, 2], [2, 1]]), "[[2, 1], (1, 2), [1, 2]]", "[[1, 2]]"),
    (checked_by("as_set", [{"a": [1]}]), "[{'a': [1]}]", "[{'a': [2]}]"),
    (checked_by("as_sorted", [[1, 2], [2, 1]]), "[(2, 1), (1, 2)]", "[(1, 2), (1, 2)]"),
    (checked_by("as_sorted", [[1, [2]], [0, []]]), "[(0, ()), (1, [2])]", "[(0, ())]"),
    ("assert set(f(1)) == {(1,), (2,)}", "[(2,), (1,)]", "[[2], [1]]"),
    # Integers are equal or not, unless they may be apart.
    (checked_by("equal", 1000000007) | {"atol": 1e-6}, "1000000007", "1000000008"),
    (checked_by("equal", 1000000007) | {"atol": 1e-6}, "1000000007.0", "1000000008.0"),
    (checked_by("equal", 1000000007) | {"atol": 1}, "1000000008", "1000000009"),
    (checked_by("equal", [2.0, 3]) | {"atol": 1e-3}, "[2.0005, 3]", "[2.002, 3]"),
]


@pytest.mark.parametrize(("tests", "right", "wrong"), VALUES)
def test_values(tests: Any, right: str, wrong: str) -> None:
    answers = [f"def f(x, *more):\n    return {value}" for value in (right, wrong)]
    assert code(completions=answers, tests=[tests] * 2) == [1.0, 0.0]


TEXTS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"checker": "numbers"}, "1000000007", "1000000007.0", "1000000008"),
    ({"atol": 1e-6}, "1000000007", "1000000007", "1000000008"),
    ({"atol": 1e-6}, "1000000007", "1000000007.0", "1000000008.0"),
    ({"atol": 2}, "1000000007", "1000000009", "1000000010"),
    ({"atol": 1e-6}, "0.5", "0.5000005", "0.51"),
    ({"atol": 0.1, "rtol": 0}, "1000000.5", "1000000.55", "1000000.65"),
    ({}, "1000", "1e3", "1_000"),
    ({}, "12", "12.0", "１２"),
    ({"atol": 1e-6}, "12", "+12", "１２"),
    ({"atol": 1e-6}, "0.5", ".5", "0_0.5"),
    ({"checker": "caseless"}, "YES\n0.3333333333\n", "yes 0.33333", "yes 0.3333"),
    ({"checker": "caseless"}, "1000000007", "1000000007.0", "1000000008"),
    ({"checker": "caseless"}, f"{10**18}", f"{10**18}", f"{10**18 + 1}"),
    ({"checker": "caseless"}, "1e6", "1000000", "1000000.1"),
    ({"checker": "caseless"}, "a b", "A\nB", "AB"),
    ({"checker": "allclose"}, "0.333333333333", "0.3333333333333333", "0.3334"),
    ({"checker": "allclose"}, "case 1: 2.50000", "case 1: 2.500001", "case 2: 2.50000"),
    ({"checker": "allclose"}, "100000", "100000.0", "100001"),
    ({"checker": "allclose"}, "3", "3.0", "3.0000001"),
    ({"checker": "allclose"}, "1\n2.0", "1\n2.0", "1 2.0"),
    ({"checker": "allclose"}, "Yes", "Yes", "yes"),
    # Zeros before a number make another text of it; those of a fraction and an exponent do not.
    ({}, "0101", "0101", "101"),
    ({}, "101", "101.0", "0101"),
    ({}, "9 05", "9 05", "9 5"),
    ({}, "-0.50 0", "-.5e-0 -0", "-00.5 0"),
    ({}, "1e-05", "0.00001", "0.0001"),
    ({"checker": "allclose"}, "0101", "0101", "101"),
    ({"checker": "caseless"}, "0101", "0101", "101"),
    ({"atol": 1e-6}, "0101 0.5", "0101 .5", "101 .5"),
]


@pytest.mark.parametrize(("fields", "expected", "right", "wrong"), TEXTS)
def test_texts(fields: dict[str, Any], expected: str, right: str, wrong: str) -> None:
    tests = {"inputs": [""], "outputs": [expected], **fields}
    answers = [f"print({text!r})" for text in (right, wrong)]
    assert code(completions=answers, tests=[tests] * 2) == [1.0, 0.0]


def test_rows_are_compared_as_their_own_harnesses_do() -> None:
    third, rows = "print('Third', 1 / 3)", {}
    rows["contests"] = {"private_tests": {"input": [""], "output": ["third\n0.33333333\n"]}}
    rows["apps"] = {"input_output": {"inputs": [""], "outputs": ["Third 0.33333333\n"]}}
    answers = [third, third.replace("3", "3.01")]
    for row in rows.values():
        graded = grade_rows({**row, "response": answer} for answer in answers)
        assert [verdict for verdict, _ in graded] == ["right", "wrong"]


def test_numbers_of_programs_are_their_texts() -> None:
    tests = [{"type": "stdin_stdout", "input": 1, "output": 2.5}]
    answers = ["print(int(input()) + 1.5)", "print(2)"]
    assert code(completions=answers, tests=[tests] * 2) == [1.0, 0.0]


@pytest.mark.parametrize(
    "value",
    [
        "10**10**6",
        "2**(10**9)",
        "1 << 10**9",
        "[0] * 10**9",
        "[[0] * 1000] * 1000 * 1000",
        "'a' * 10**12",
        "list(range(10**10))",
        "bytes(10**10)",
        "'%1000000000d' % 1",
        "(0,) * 10**9",
        "1 / 0",
        "range(3)",
        "open('x')",
        "sorted([1], key=print)",
        "__import__('os')",
        "[i for i in range(3)]",
        "print",
    ],
)
def test_expressions_that_are_no_small_values_are_refused(value: str) -> None:
    with pytest.raises(UserError, match="not of the form"):
        parse(f"assert f(1) == {value}")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"atol": [1, 2]}, "1 inputs and 2 entries of atol"),
        ({"atol": ["x"]}, "atol must be a number"),
        ({"rtol": -1}, "rtol must be a number"),
        ({"relations": ["<"]}, "relations must be a list"),
        ({"relations": "=="}, "relations must be a list"),
        ({"relations": [[]]}, "relations must be a list"),
        ({"relations": []}, "1 inputs and 0 entries of relations"),
        ({"entry_point": None, "inputs": ["1"], "outputs": ["1"], "atol": [1]}, "a function only"),
    ],
)
def test_tolerances_of_tests_that_are_malformed(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse({"entry_point": "f", "inputs": [[1]], "outputs": [1]} | change)


def test_a_class_goes_before_the_stub_of_its_method() -> None:
    stub = 'def add(a, b):\n    """Return a + b."""\n'
    tests = {"entry_point": "add", "setup": stub, "inputs": [[1, 2]], "outputs": [3]}
    method = METHOD.replace("Optional[int]", "int")
    answers = [method, f"{method}\n\ndef add(a, b):\n    return Solution().add(a, b)", FUNCTION]
    assert code(completions=answers, tests=[tests] * 3) == [1.0, 1.0, 1.0]


def test_a_check_of_what_is_done_in_place_is_unknown() -> None:
    check = "def check(candidate):\n    xs = [2, 1]\n    candidate(xs)\n    assert xs == [1, 2]"
    solution = "def order(xs):\n    xs.sort()"
    tests = {"entry_point": "order", "check": check, "solution": solution}
    (reward,) = code(completions=["def order(xs):\n    pass"], tests=[tests])
    assert math.isnan(reward)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"test_list": ["assert f(1) == 2"], "test": "inputs = [[1]]"}, "MBPP+"),
        ({"test_list": ["assert f(1) == 2"], "test_setup_code": 3}, "must be text"),
        ({"test_list": None}, "need both inputs and outputs"),
        ({"test_list": [1]}, "assertions must be text"),
        ({"test_list": ["assert f(1) == 2"], "test_imports": math.nan}, "must be text"),
        ({"private_tests": {"input": ["1"], "output": []}}, "1 inputs and 0 outputs"),
        ({"private_tests": "x"}, "must be an object"),
        ({"private_tests": {"input": "1", "output": "2"}}, "must hold lists"),
        (
            {"private_tests": {"input": ["1"], "output": ["2"]}, "time_limit": {"seconds": "x"}},
            "time_limit must be",
        ),
    ],
)
def test_rows_that_are_damaged(row: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse(published_tests(row))


def test_imports_that_are_one_text() -> None:
    row = {"test_list": ["assert up(2.5) == 3"], "test_imports": "import math"}
    answers = ["def up(x):\n    return math.ceil(x)", "def up(x):\n    return 2"]
    assert code(completions=answers, tests=[mbpp(row)] * 2) == [1.0, 0.0]


def test_checks_without_a_solution() -> None:
    row = {
        "prompt": "from math import *\nfrom typing import *\n",
        "entry_point": "Solution().area",
        "test": "def check(candidate):\n    assert candidate(sides = [3, 4, 5]) == 6.0\n",
    }
    answer = "class Solution:\n    def area(self, sides: List[int]) -> float:\n        return "
    graded = grade_rows(
        {**row, "response": answer + value} for value in ("prod(sides) / 10", "5.0")
    )
    assert [verdict for verdict, _ in graded] == ["right", "wrong"]


@pytest.mark.parametrize(
    ("assertion", "name", "arguments", "value", "checker", "atol"),
    [
        ("f(1) == (1, 2)", "f", [1], (1, 2), "equal", 0),
        ("(1, 2) == f([1], {2: 3})", "f", [[1], {2: 3}], (1, 2), "equal", 0),
        ("f(2, x=1) is None", "f", ([2], {"x": 1}), None, "equal", 0),
        ("f('a')", "f", ["a"], True, "equal", 0),
        ("not f('a')", "f", ["a"], False, "equal", 0),
        ("f(float('inf')) == -1", "f", [math.inf], -1, "equal", 0),
        ("Solution().f(1) == 2", "Solution.f", [1], 2, "equal", 0),
        ("abs(f(1) - 2.5) < 1e-3", "f", [1], 2.5, "equal", 1e-3),
        ("math.isclose(f(1), 2.0, rel_tol=0.01)", "f", [1], 2.0, "equal", 0.02),
        ("math.isclose(f(1), 2.0, abs_tol=0.1), 'far'", "f", [1], 2.0, "equal", 0.1),
        ("set(f((3, 4))) == set((4, 3))", "f", [(3, 4)], (4, 3), "as_set", 0),
        ("sorted(f([2, 1])) == [1, 2]", "f", [[2, 1]], [1, 2], "as_sorted", 0),
    ],
)
def test_assertions(assertion, name, arguments, value, checker, atol) -> None:
    found = from_assertions(f"assert {assertion}")
    assert found["entry_point"] == name
    assert found["inputs"] == [arguments]
    assert found["outputs"] == [value]
    assert type(found["outputs"][0]) is type(value)
    assert found["checker"] == checker
    assert found["atol"] == pytest.approx(atol)


@pytest.mark.parametrize(
    ("tests", "right", "wrong"),
    [
        ("assert f(1) == (1, 2)", "(1, 2)", "[1, 2]"),
        ("assert f(1) == [1, 2]", "[1, 2]", "(1, 2)"),
        ("assert f(1) == {1: 'a'}", "{1: 'a'}", "{'1': 'a'}"),
        ("assert abs(f(1) - 2.5) < 0.01", "2.505", "2.52"),
        ("assert set(f(1)) == {1, 2}", "(2, 1, 2)", "(2, 1, 3)"),
        ("assert sorted(f(1)) == sorted([2, 1, 2])", "[2, 2, 1]", "[2, 1]"),
        ("assert set(f(1)) == {1, 2}", "{2, 1}", "3"),
    ],
)
def test_values_are_compared_as_python_does(tests: str, right: str, wrong: str) -> None:
    answers = [f"def f(x):\n    return {value}" for value in (right, wrong)]
    assert code(completions=answers, tests=[tests] * 2) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("tests", "says"),
    [
        ([], "a list must hold objects"),
        ([{"input": "1"}], "a list must hold objects"),
        (["1 2"], "are not Python"),
        (["print(1)"], "asserts nothing"),
        ([1], "a list must hold objects"),
        ([CALLS[0], CALLS[0] | {"fn_name": "g"}], "call different functions"),
        ([stdin("1", "2") | {"testtype": "functional"}], "do not name the method"),
        ([functional("1 2", "3")], "an input is not JSON"),
        ([functional("1", "three")], "an output is not JSON"),
        ([functional("1", "2") | {"metadata": "{"}], "metadata is not JSON"),
        ([stdin("1", "2") | {"input": None}], "inputs and outputs must be text"),
        ({"fn_name": "f"}, "inputs are missing"),
        ({"fn_name": "f", "inputs": 3, "outputs": 3}, "inputs must be a list"),
        ("assert f(", "are not Python"),
        ("assert f(1) == 1\nassert g(1) == 1", "call different functions"),
        ("assert abs(f(1) - 2.5) < 5\nassert f(2) == 10", "do not all compare"),
        ("assert f(1) == 1\nassert set(f(1)) == {1}", "do not all compare"),
        ("assert f(1) == g(1)", "not of the form"),
        ("assert f(1) > 0", "not of the form"),
        ("assert 0 < f(1) < 2", "not of the form"),
        ("assert f(1) == 1 and f(2) == 2", "not of the form"),
        ("assert len(f(1)) == 2", "not of the form"),
        ("assert f(f(1)) == 2", "not of the form"),
        ("assert f(*[1]) == 1", "not of the form"),
        ("assert f(**{'a': 1}) == 1", "not of the form"),
        ("x = [1]\nx.append(2)\nassert f(x) == 1", "nothing is done beside them"),
        ("x = [1]\nx += [2]\nassert f(x) == 1", "nothing is done beside them"),
        ("s = Stack()\ns.push(1)\nassert s.pop() == 1", "nothing is done beside them"),
        ("assert f(1) == 1\nself.assertEqual(f(2), 4)", "nothing is done beside them"),
        ("assert f(1) == 1\nsame(f(2), 4)", "nothing is done beside them"),
        ("assert f(1) == 1\nif f(2) != 4:\n    raise AssertionError", "not in a loop"),
        ("assert f(1) == 1\ntry:\n    f(-1)\nexcept ValueError:\n    pass", "not in a loop"),
        ("b = 1\na = b = 3\nassert f(b) == 9", "nothing is done beside them"),
        ("x = [3, 1]\nz = x.pop()\nassert f(x) == 1", "nothing is done beside them"),
        ("class T:\n    assert f(2) > 4", "not of the form"),
        ("assert f(1) == 1\ntest_equal(f(2), 4)", "nothing is done beside them"),
        ("assert f(1) == 1\nif __name__ == '__main__':\n    assert f(2) == 4", "not in a loop"),
        ("from s import add as plus\nassert plus(1) == 1", "none of the answer's"),
        ("def f(x):\n    return 1\nassert f(2) == 1", "decorator or arguments"),
        ("def helper():\n    pass\nassert helper() is None", "none of the answer's"),
        ("def check(candidate):\n    assert candidate(1) == 1", "or none"),
        ("def check(c):\n    assert c(1) == 1\ncheck(lambda a: f(a))", "or none"),
        ("assert Counter().inc() == 1", "not of the form"),
        ("assert np.isclose(f(1), 3.14, atol=0.01)", "not of the form"),
        ("assert math.isclose(f(1), 3.14, atol=0.01)", "not of the form"),
        ("assert sorted(f(1)) == [3, 2]", "not of the form"),
        ("assert set(f(1)) == [1, 2]", "not of the form"),
        ("assert sorted(f(1), key=str) == [1, 2]", "not of the form"),
        ("assert abs(f(1) - 2.0) < 'x'", "not of the form"),
        ({"input": ["1 2", "5 7"], "output": ["3"]}, "columns of different lengths"),
        ({"fn_name": ["add"], "inputs": [[1]], "outputs": [1]}, "entry_point must be text"),
        ({"fn_name": "add(a)", "inputs": [[1]], "outputs": [1]}, "must name a function"),
        (
            [CALLS[0] | {"fn_name": {}}, CALLS[0] | {"fn_name": ["a"]}],
            "entry_point must be text|different",
        ),
        ({"test_cases": CALLS, "inputs": [[1]]}, "both; give one of them"),
        ({"test_cases": CALLS, "points": 3}, "no field 'points'"),
        ({"inputs": [[1, 2]], "outputs": [[3]]}, "must be text"),
        ("[" * 200_000, "not valid JSON|nested"),
        ("{[]: 1}", "not valid JSON"),
        ("assert Stack(3).size() == 3", "not of the form"),
        ("for x in [1]:\n    assert f(x) == x", "not in a loop"),
        (
            "def test():\n    with pytest.raises(ValueError):\n        f(1)\nassert f(1)",
            "not in a loop",
        ),
        ("@given(x)\ndef test(a, b):\n    assert f(a) == b", "decorator or arguments"),
        ("@pytest.mark.skip\ndef test():\n    assert f(1) == 2", "decorator or arguments"),
    ],
)
def test_what_cannot_be_read_is_refused(tests: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse(tests)


def test_the_documented_form_stays_as_it_is() -> None:
    tests = {"inputs": ["1"], "outputs": ["2"], "time_limit": 2, "check": None}
    assert as_fields(tests) == {"inputs": ["1"], "outputs": ["2"], "time_limit": 2}
    calls = {"entry_point": "f", "inputs": [[[1, 2]]], "outputs": [[3]]}
    assert as_fields(json.dumps(calls)) == calls
