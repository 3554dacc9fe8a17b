"""The code reward: extraction, comparison, tests given in each way, verdicts in order."""

from __future__ import annotations

import gzip
import inspect
import json
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evenflow.errors import UserError
from evenflow.rewards import Rewards, deadline, load_reward
from evenflow.rewards.code import code, extract, grade_rows, judge, parse
from evenflow.rewards.code.compare import lines, numbers, polynomial_root, same, tokens
from evenflow.rewards.code.joining import joined
from evenflow.rewards.code.judge import Verdict
from evenflow.rewards.code.reward import ordered
from evenflow.sandbox import Sandbox, SandboxError
from evenflow.sandbox import sandbox as way_in
from evenflow.sandbox.limits import Result
from evenflow.sandbox.probing import Probe

DOUBLE = {"entry_point": "double", "inputs": [[1], [4]], "outputs": [2, 8]}
SUM = {"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}
ADDS = "print(sum(map(int, input().split())))"


# --- extraction ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("x = 1", "x = 1"),
        ("    return 1\n", "    return 1\n"),
        ("Here:\n```python\na\n```\nor\n```python\nb\n```\nDone.", "b\n"),
        ("```python\na\n```\nRun it:\n```sh\npython a.py\n```", "a\n"),
        ("```\na\n```\n", "a\n"),
        ("```py\nb = '''\n```x\n'''\n```", "b = '''\n```x\n'''\n"),
        ("<think>```python\na\n```</think>```python\nb\n```", "b\n"),
        ("<think>```python\na\n```</think>\nb", "\nb"),
        ("<think>```python\na\n```", ""),
        ("```Python\nwhile x:\n    y", "while x:\n    y"),
    ],
)
def test_extraction(text: str, program: str) -> None:
    assert extract(text) == program


def test_setup_goes_before_and_is_continued() -> None:
    setup = "def f(x):\n    '''doc'''\n"
    spaces: dict[str, Any] = {}
    exec(joined(setup, "\n    return x + 1"), spaces)
    assert spaces["f"](1) == 2
    exec(joined(setup, "def f(x):\n    return x + 2"), spaces)
    assert spaces["f"](1) == 3


# --- comparison ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected", "atol", "loose", "right"),
    [
        (1, 1, 0, False, True),
        (True, 1, 0, False, True),
        ("1", 1, 0, False, False),
        (1, "1", 0, False, False),
        (None, [], 0, False, False),
        (0.1 + 0.2, 0.3, 0, False, True),
        (1 + 2e-6, 1.0, 0, False, False),
        (1 + 2e-6, 1.0, 1e-5, False, True),
        (1e9 + 1, 1e9, 0, False, True),  # 1e-9 apart, relatively
        (101, 100, 0, False, False),
        (100.0000001, 100, 0, False, False),  # an int has no tolerance of its own
        (math.nan, 1.0, 9.0, False, False),
        (math.nan, math.nan, 0, False, True),
        (math.inf, 1e308, 9.0, False, False),
        (1e308, math.inf, 9.0, False, False),
        (10**400, 1.0, 0, False, False),
        ([1.0000000001, "a"], [1.0, "a"], 0, False, True),
        ((1, 2), [1, 2], 0, False, False),
        ((1, (2, 3)), [1, [2, 3]], 0, True, True),
        ([1, 2], (1, 2), 0, False, False),
        ([1, 2], [1, 2, 3], 0, False, False),
        ({"a": 0.1 + 0.2}, {"a": 0.3}, 0, False, True),
        ({"a": 1, "b": 1}, {"a": 1}, 0, False, False),
        ({1, 2}, {2, 1}, 0, False, True),
        ({1: 2, None: 3}, {"1": 2, "null": 3}, 0, True, True),
        ({1: 2}, {"1": 2}, 0, False, False),
        ({1: {2.5: [(3,)]}}, {"1": {"2.5": [[3]]}}, 0, True, True),
        ({False: 1}, {"false": 1}, 0, True, True),
        ({1: 2, "1": 3}, {"1": 3}, 0, True, False),
        ({"1": 2}, {"1": 2}, 0, True, True),
        ({(1, 2): 2}, {"1": 2}, 0, True, False),
    ],
)
def test_same(value: Any, expected: Any, atol: float, loose: bool, right: bool) -> None:
    assert same(value, expected, atol, loose) is right


def test_checkers() -> None:
    assert lines("", "1 2 \n3\n\n", "1 2\n3")
    assert lines("", "1.0 2", "1 2.00")
    assert not lines("", "0.33", "0.333")
    assert not lines("", "1\n2", "1 2")
    assert not lines("", "a b", "a  b")
    assert not lines("", "", "0")
    assert tokens("", "1\n2", "1 2")
    assert not tokens("", "12", "1 2")
    assert numbers("", "0.3333334 yes", "0.33333333 yes", atol=1e-6)
    assert not numbers("", "0.3334 yes", "0.33333333 yes", atol=1e-6)
    assert not numbers("", "nan", "1", atol=1e-6)
    assert not numbers("", "1" * 500, "1", atol=1e9)
    assert polynomial_root([[-6, 1, 1]], 2.0, None)  # x² + x − 6
    assert polynomial_root([[-6, 1, 1]], -3, None)
    assert not polynomial_root([[-6, 1, 1]], 2.1, None)
    assert not polynomial_root([[-6, 1, 1]], "2", None)
    assert not polynomial_root([[-6, 1, 1]], math.nan, None)


# --- problems --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tests", "says"),
    [
        ("{", "not valid JSON"),
        (3, "must be an object"),
        ({}, "need both inputs and outputs"),
        ({"inputs": ["1"]}, "need both inputs and outputs"),
        ({"entry_point": "f"}, "inputs are missing"),
        ({"entry_point": "f", "inputs": [[1]]}, "outputs are missing"),
        ({"entry_point": "f", "inputs": [1], "outputs": [1]}, "must be a list of arguments"),
        ({"inputs": [1], "outputs": ["1"]}, "must be text"),
        ({"inputs": ["1"], "outputs": ["1", "2"]}, "1 inputs and 2 outputs"),
        ({"inputs": [], "outputs": []}, "at least one entry"),
        (SUM | {"timelimit": 1}, "no field 'timelimit'"),
        (SUM | {"time_limit": 0}, "time_limit must be a number of at least 0.1"),
        (SUM | {"time_limit": math.inf}, "time_limit must be a number of at least 0.1"),
        (SUM | {"time_limit": 1e19}, "and of at most 86400 (seconds)"),
        (SUM | {"entry_point": "", "checker": "word"}, "nor one of exact, lines"),
        (SUM | {"atol": math.inf}, "atol must be a number of at least 0"),
        (
            {"entry_point": "f", "inputs": [[1]], "outputs": [1], "checker": "numbers"},
            "the checker 'numbers' is neither",
        ),
        (SUM | {"atol": math.nan}, "atol must be a number"),
        (SUM | {"checker": "word"}, "neither package.module:function nor one of exact, lines"),
        (DOUBLE | {"checker": "tokens"}, "nor one of polynomial_root"),
        (SUM | {"checker": "nowhere.at.all:f"}, "there is no module 'nowhere'"),
    ],
)
def test_malformed_tests_are_one_sentence(tests: Any, says: str) -> None:
    with pytest.raises(UserError, match=r"tests|reward") as caught:
        parse(tests)
    assert says in str(caught.value)


def test_programs(sandbox: Sandbox) -> None:
    problem = parse(json.dumps(SUM))
    in_a_thread = (
        "import threading, sys\n"
        "def main(): print(sum(map(int, sys.stdin.read().split())))\n"
        "threading.stack_size(1 << 26)\n"
        "threading.Thread(target=main).start()"
    )
    at_exit = (
        "import atexit, os\na, b = map(int, input().split())\n"
        "atexit.register(lambda: os.write(1, b'%d' % (a + b)))"
    )
    for program in (ADDS, in_a_thread, at_exit):
        assert judge(program, problem, sandbox).verdict == "right"
    wrong = judge("print(3)", problem, sandbox)
    assert (wrong.verdict, wrong.reason) == ("wrong", "test 2 of 2: printed '3\\n'")
    crash = judge("print(1 / 0)", problem, sandbox)
    assert crash.reason == "test 1 of 2: raised ZeroDivisionError"
    slow = judge("while True: pass", parse(SUM | {"time_limit": 1}), sandbox)
    assert slow.reason == "test 1 of 2: over the limit of cpu"


def test_methods_and_tuples(sandbox: Sandbox) -> None:
    tests = {"entry_point": "Solution.pair", "inputs": [[1, 2]], "outputs": [[2, 1]]}
    answer = "class Solution:\n    def pair(self, a, b): return b, a"
    assert judge(answer, parse(tests), sandbox).verdict == "right"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_a_function_prints_does_not_count(sandbox: Sandbox, stream: str) -> None:
    tests = {"entry_point": "f", "inputs": [[1], [2]], "outputs": [1, 2]}
    loud = f"import sys\ndef f(n):\n    print('x' * (3 << 20), file=sys.{stream})\n    return n"
    assert judge(loud, parse(tests), sandbox).verdict == "right"


def test_what_a_program_writes_to_standard_error_does_not_count(sandbox: Sandbox) -> None:
    problem = parse({"inputs": ["1\n"], "outputs": ["1\n"]})
    loud = "import sys\nprint('x' * (3 << 20), file=sys.stderr)\nprint(input())"
    assert judge(loud, problem, sandbox).verdict == "right"
    assert judge(loud.replace("stderr", "stdout"), problem, sandbox).verdict == "wrong"


def divides(given: list, returned: Any, expected: Any) -> bool:
    """A checker of one's own: any proper divisor will do."""
    return given[0] % returned == 0 and 1 < returned < given[0]


def test_ones_own_checker(sandbox: Sandbox) -> None:
    path = f"{__name__}:divides"
    tests = {"entry_point": "f", "inputs": [[12], [35]], "outputs": [2, 5], "checker": path}
    problem = parse(tests)
    assert judge("f = lambda n: n // 5 if n % 5 == 0 else 6", problem, sandbox).verdict == "right"
    assert judge("f = lambda n: 5", problem, sandbox).verdict == "wrong"
    raised = judge("f = lambda n: 0", problem, sandbox)
    assert raised.verdict == "wrong"
    assert "the checker raised ZeroDivisionError" in raised.reason


def test_expected_values_from_a_solution_or_a_check(sandbox: Sandbox) -> None:
    """The same problem in the three ways that benchmarks put it."""
    setup = "def half(x):\n    '''x / 2'''\n"
    given = {"entry_point": "half", "setup": setup}
    solution = {"solution": "    return x / 2"}
    check = "def check(candidate):\n    assert candidate(3) == 1.5\n    assert candidate(8) == 4\n"
    ways = [
        given | {"inputs": [[3], [8]], "outputs": [1.5, 4.0]},
        given | {"inputs": [[3], [8]]} | solution,
        given | {"check": check} | solution,
    ]
    for tests in ways:
        problem = parse(tests)
        assert judge("    return x * 0.5", problem, sandbox).verdict == "right"
        found = judge("def half(x): return x // 2", problem, sandbox)
        assert (found.verdict, found.reason) == ("wrong", "test 1 of 2: returned 1")
    broken = parse(given | {"check": check, "solution": "    return 0"})
    verdict = judge("    return x / 2", broken, sandbox)
    assert verdict.verdict == "unknown"  # the data are wrong, not the answer
    assert "the check of the reference solution: raised AssertionError" in verdict.reason


# --- the reward ------------------------------------------------------------------------------


def test_reward_in_order_and_for_chat(sandbox: Sandbox) -> None:
    right, wrong = "```python\ndef double(x): return 2 * x\n```", "def double(x): return x"
    chat = [{"role": "assistant", "content": right}]
    tests = [DOUBLE, DOUBLE, json.dumps(DOUBLE), SUM, SUM, DOUBLE]
    answers = [right, wrong, chat, ADDS, right, right]
    assert code(completions=answers, tests=tests, prompts=[""] * 6) == [1, 0, 1, 1, 0, 1]


def test_tests_with_arrays_and_tests_that_are_no_json(sandbox: Sandbox) -> None:
    """Tables read with pandas have arrays of objects where JSON has lists."""
    numpy = pytest.importorskip("numpy")
    ours = {key: numpy.array(DOUBLE[key], dtype=object) for key in ("inputs", "outputs")}
    assert code(["double = lambda x: x + x"], [DOUBLE | ours]) == [1.0]
    for bad in (DOUBLE | {"outputs": [2, {8}]}, DOUBLE | {1: 2}, b"{}"):
        with pytest.raises(UserError, match="tests: cannot be written as JSON: "):
            code(["double = abs"], [bad])


def test_reward_as_the_trainer_calls_it(sandbox: Sandbox) -> None:
    assert load_reward("code") is code
    rewards = Rewards([("code", code, 1.0)])
    found = rewards(
        ["p", "p"],
        ["double = lambda x: x + x", "double = None"],
        {"tests": [DOUBLE, DOUBLE]},
        completion_ids=[[1], [1]],
        finished=[True, True],
    )
    assert found.total == [1.0, 0.0]
    with pytest.raises(UserError, match="the reward 'code' raised UserError: tests: there is no"):
        rewards(["p"], ["x"], {"tests": [{"a": 1}]}, completion_ids=[[1]], finished=[True])
    assert list(inspect.signature(code).parameters) == ["completions", "tests", "columns"]


@pytest.mark.parametrize("kind", ["program", "function"])
def test_a_call_comes_back_in_time_with_what_it_knows(
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    """Hundreds of tests may take hours: nothing may go on for nobody, beside the next call."""
    monkeypatch.setattr(deadline, "SHARE", 0.8)  # much room: back after 3.5 of 20 seconds
    tests: dict[str, Any] = {"inputs": ["1"] * 500, "outputs": ["1"] * 500, "time_limit": 60}
    slow, wrong = "import time\nprint(input())\ntime.sleep(0.5)", "print(2)"
    if kind == "function":
        tests |= {"entry_point": "f", "inputs": [[1]] * 500, "outputs": [1] * 500}
        slow, wrong = "import time\ndef f(x):\n time.sleep(0.5)\n return x", "f = None"
    found = Rewards([("code", code, 1.0)], timeout=20.0)(
        ["p"] * 9, [wrong, *(f"{slow}\n# {n}" for n in range(8))], {"tests": [tests] * 9}
    )
    assert found.total[0] == 0.0
    assert all(map(math.isnan, found.total[1:]))
    assert "8 of 9 programs were not judged in the time for a call" in caplog.text
    assert [each for each in threading.enumerate() if each.name == "sandbox"] == []


def test_a_sandbox_that_fails_is_unknown(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = Result(sandbox.tier, False, 120, None, b"", b"no Landlock\n", b"", (), False, 0, 0)
    tries = []
    monkeypatch.setattr(way_in, "run", lambda *_: tries.append(1) or failed)
    (value,) = code(["double = abs"], [DOUBLE])
    assert math.isnan(value)
    assert len(tries) == 2
    ((verdict, reason),) = grade_rows([{"response": "double = abs", "tests": DOUBLE}])
    assert verdict == "unknown"
    assert "the sandbox did not start (no Landlock)" in reason


def test_a_weaker_sandbox_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Probe("seccomp", {}, {"landlock": "not stopped: read a file", "bubblewrap": "no bwrap"})
    monkeypatch.setattr(way_in, "probe", lambda: here)
    assert Sandbox(require="seccomp").tier == "seccomp"
    for use in (lambda: Sandbox(), lambda: code(["x"], [DOUBLE]), lambda: [*grade_rows([])]):
        with pytest.raises(SandboxError, match="'landlock' is required, and this machine holds s"):
            use()
    with pytest.raises(SandboxError, match="'docker' is none of rlimits, seccomp"):
        Sandbox(require="docker")


def test_rows_are_read_a_few_ahead_and_kept_in_order(sandbox: Sandbox) -> None:
    read = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal read
        for n in range(100):
            read += 1
            yield {"response": f"double = lambda x: x * {2 + n % 2}", "tests": DOUBLE}

    found = grade_rows(rows(), workers=2)
    assert [next(found)[0] for _ in range(4)] == ["right", "wrong", "right", "wrong"]
    assert read < 20
    found.close()  # type: ignore[attr-defined]
    assert [*ordered(lambda n: n * n, range(50), workers=3)] == [n * n for n in range(50)]


def test_all_answers_of_a_call_are_judged_beside_one_that_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first waits for the last: with a few read ahead none would ever come to it."""
    last = threading.Event()

    def slow(program: str, *_: Any) -> Verdict:
        if program.endswith(" 0"):
            return Verdict("right" if last.wait(20) else "wrong", "", "")
        if program.endswith(" 99"):
            last.set()
        return Verdict("right", "", "")

    monkeypatch.setattr("evenflow.rewards.code.reward.judge", slow)
    monkeypatch.setattr("evenflow.rewards.code.reward.cores", lambda: 2)
    answers = [f"def double(x): return 2 * x + {n}" for n in range(100)]
    assert code(answers, [DOUBLE] * 100) == [1.0] * 100


def test_an_error_is_raised_in_its_turn_and_what_waits_is_not_begun() -> None:
    begun = []

    def fails(n: int) -> int:
        begun.append(n)
        if n == 2:
            raise ValueError("two")
        return n

    found = ordered(fails, range(50), workers=1)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(found)
    assert len(begun) < 50


def test_a_call_that_was_given_up_does_not_keep_the_process() -> None:
    code = (
        "import threading, time\n"
        "from evenflow.rewards.code.reward import ordered\n"
        "begun = threading.Event()\n"
        "def hangs(n): begun.set(); time.sleep(600)\n"
        "threading.Thread(target=lambda: [*ordered(hangs, range(9), 2)], daemon=True).start()\n"
        "begun.wait()"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"tests": DOUBLE}, "row 2: there is no text `response`"),
        ({"response": "x"}, "row 2: there are no `tests`"),
        ({"response": "x", "entry_point": "f"}, "row 2: HumanEval's field 'prompt' is missing"),
        ({"response": "x", "tests": {}}, "row 2: tests: a program's tests need both"),
    ],
)
def test_a_bad_row_is_named(sandbox: Sandbox, row: dict[str, Any], says: str) -> None:
    rows = [{"response": "double = abs", "tests": DOUBLE}, row]
    with pytest.raises(UserError, match=says):
        list(grade_rows(rows))


# --- HumanEval -------------------------------------------------------------------------------


def benchmark(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("name", ["humaneval.jsonl", "humanevalplus_mini.jsonl"])
def test_humaneval(sandbox: Sandbox, shared: Path, name: str) -> None:
    """Every 16th problem, and the one with many answers; all: benchmarks/code_reward.py."""
    rows = benchmark(shared / "data" / name)
    some = [*rows[::16], *(row for row in rows if row["entry_point"] == "find_zero")]
    right = [{**row, "response": row["answer"]} for row in some]
    assert [verdict for verdict, _ in grade_rows(right)] == ["right"] * len(some)
    none = "def {}(*arguments): return None"
    wrong = [{**row, "response": none.format(row["entry_point"])} for row in some]
    assert [verdict for verdict, _ in grade_rows(wrong)] == ["wrong"] * len(some)


def test_tests_that_answers_share_are_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a long problem are megabytes, and a group has many answers."""
    seen: list[Any] = []

    def written(tests: Any) -> str:
        seen.append(tests)
        return json.dumps(tests)

    monkeypatch.setattr("evenflow.rewards.code.reward.written", written)
    other = dict(DOUBLE)
    answers = ["def double(x): return 2 * x", "def double(x): return x"] * 2
    assert code(answers, [DOUBLE, DOUBLE, other, DOUBLE]) == [1.0, 0.0, 1.0, 0.0]
    assert seen == [DOUBLE, other]
