"""Which of an answer's blocks is its program, and what is put before it: judged by running them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from evenflow.rewards.code import extract, judge, parse
from evenflow.sandbox import Sandbox

F = "```"
ADD = "def add(a, b):\n    return a + b\n"
SUM = "a, b = map(int, input().split())\nprint(a + b)\n"
SEARCH = """def search(nums, target):
    left, right = 0, len(nums) - 1
    while left <= right:
        mid = (left + right) // 2
        if nums[mid] == target:
            return mid
        if nums[mid] < target:
            left = mid + 1
        else:
            right = mid - 1
    return -1
"""
FIB = """def fib(n):
    dp = [0] * (n + 2)
    dp[1] = 1
    for i in range(2, n + 1):
        dp[i] = dp[i - 1] + dp[i - 2]
    return dp[n]
"""
MAIN = """def solve(a, b):
    return a + b


def main():
    a, b = map(int, input().split())
    print(solve(a, b))


main()
"""
CALLS = {
    "add": {"entry_point": "add", "inputs": [[1, 2], [5, 7]], "outputs": [3, 12]},
    "search": {"entry_point": "search", "inputs": [[[1, 3, 5], 5]], "outputs": [2]},
    "fib": {"entry_point": "fib", "inputs": [[7]], "outputs": [13]},
    "Solution.total": {"entry_point": "Solution.total", "inputs": [[[1, 2]]], "outputs": [3]},
    None: {"inputs": ["1 2\n", "5 7\n"], "outputs": ["3\n", "12\n"]},
}
TOTAL = """class Solution:
    def total(self, xs):
        total = 0
        for x in xs:
            total = total + x
        return total
"""


METHOD = "class Solution:\n" + "".join(
    f"    {line}\n" for line in SEARCH.replace("def search(", "def search(self, ").splitlines()
)


def block(code: str, language: str = "python") -> str:
    return f"{F}{language}\n{code.rstrip()}\n{F}\n"


FUNCTION = (
    TOTAL.partition("\n")[2].replace("    def total(self, ", "def total(").replace("\n    ", "\n")
)
ANSWERS: dict[str, tuple[str | None, str]] = {
    "a function for a method, and a usage": (
        "Solution.total",
        block(FUNCTION) + "For example:\n" + block("n = 5\nprint(n * n)"),
    ),
    "a function for a method, and another one": (
        "Solution.total",
        block(FUNCTION) + block("def gcd(a, b):\n    return a") + block("result = 3", ""),
    ),
    "a header that is cut off": ("add", block(ADD) + "Better:\n```python\ndef add(a, b"),
    "a header without its end": ("add", block(ADD) + "Better:\n```python\ndef add(a, b) -> i"),
    "a class that is cut off": (
        "Solution.total",
        block(TOTAL) + "Better:\n```python\nclass Solution:\n    def total(self, x",
    ),
    "the name of a class": ("Solution.total", block(TOTAL) + "```python\nclass Solution"),
    "a body to be written": (
        "add",
        block("def add(a, b):\n    raise NotImplementedError('here')")
        + block(ADD)
        + block("def add(a, b):\n    raise NotImplementedError"),
    ),
    "a line of it, explained": (
        "search",
        block(SEARCH) + "The midpoint is\n" + block("mid = (left + right) // 2"),
    ),
    "lines explained first": (
        "fib",
        "Start with\n" + block("dp = [0] * (n + 2)") + "So:\n" + block(FIB),
    ),
    "a line of a method": (
        "Solution.total",
        block(TOTAL) + "Each time\n" + block("total = total + x"),
    ),
    "parameters in a snippet": ("add", block(ADD) + block("a = x\nb = y")),
    "pseudo-code": ("search", block(SEARCH) + block("left = 0, right = n - 1")),
    "a large list of an explanation": ("add", block("a = [0] * (10 ** 10)") + block(ADD)),
    "a word of a comment": (
        "add",
        block("# output is the sum\n" + ADD) + block("result = add(1, 2)\noutput = result"),
    ),
    "a module in a comment": (
        "add",
        block("# simple solution\n" + ADD) + block("import solution\nsolution.add(1, 2)"),
    ),
    "a draft in a comment": (
        None,
        block("@njit\ndef helper(x):\n    return x") + block("# helper is not needed\n" + SUM),
    ),
    "a name of an f-string": (
        None,
        block("OFFSET = 0") + block("a, b = map(int, input().split())\nprint(f'{a + b + OFFSET}')"),
    ),
    "a constant from before": (
        "add",
        block("ZERO = 0") + block(ADD.replace("a + b", "a + b + ZERO")),
    ),
    "the step that reads": (
        None,
        block(SUM) + "1. **Read input**:\n" + block("a, b = map(int, input().split())"),
    ),
    "the step that reads, named": (
        None,
        block(SUM, "") + "1. **Read input**:\n" + block("a, b = map(int, input().split())"),
    ),
    "input set by hand": (
        None,
        block(MAIN) + block("import io, sys\nsys.stdin = io.StringIO('1 2')\nmain()"),
    ),
    "input in a comment": (
        None,
        block(MAIN) + block("# sample input (first case)\nassert solve(1, 2) == 3"),
    ),
    "input in a string": (
        None,
        block(MAIN) + block("print('Sample input (1 2):', solve(1, 2))"),
    ),
    "input by another name": (
        None,
        block("I = input\na, b = map(int, I().split())\nprint(a + b)") + block("assert 1 + 2 == 3"),
    ),
    "a tag after the fence": (None, f"<answer>\n{F}python\n{SUM}{F}</answer>"),
    "a tag on both sides": (None, f"<answer>{F}python\n{SUM}{F}</answer>"),
    "a special token": (None, f"{F}python\n{SUM}{F}<|im_end|>"),
    "another one": ("add", f"{F}python\n{ADD}{F}<|eot_id|>"),
    "the end of a text": ("add", f"{F}python\n{ADD}{F}</s>"),
    "a box": ("add", f"\\boxed{{{F}python\n{ADD}{F}}}"),
    "a sentence after the fence": ("add", f"{F}python\n{ADD}{F} This returns the sum.\n"),
    "the header again": ("add", block(ADD) + "1. **Definition**\n" + block("def add(a, b):")),
    "a stub again": ("add", block(ADD) + block("def add(a, b):\n    ...")),
    "a class's stub again": (
        "Solution.total",
        block(TOTAL) + block("class Solution:\n    def total(self, xs):\n        pass"),
    ),
    "a method for a function": ("search", block(METHOD)),
    "a method for a function, and its usage": (
        "search",
        block(METHOD) + block("print(Solution().search([1, 3], 3))"),
    ),
    "a function for a method": ("Solution.total", block("def total(xs):\n    return sum(xs)")),
    "a method and a function": ("add", block(f"class Solution:\n    def add(self): ...\n\n{ADD}")),
    "Python's console": (
        "add",
        block(
            ">>> def add(a, b):\n...     c = a + b\n...\n...     return c\n...\n>>> add(1, 2)\n3"
        ),
    ),
    "a program, and the console": ("add", block(ADD) + block(">>> add(1, 2)\n3")),
    "JSON": ("add", json.dumps({"reasoning": "a sum", "code": ADD})),
    "JSON in a block": ("add", block(json.dumps({"code": ADD}), "json")),
    "JSON of a program": (None, block(json.dumps({"program": SUM}), "json")),
    "JSON with a block in it": ("add", json.dumps({"code": "It is\n" + block(ADD)})),
    "a listing of LaTeX": (
        "add",
        f"So:\n\\begin{{lstlisting}}[language=Python]\n{ADD}\\end{{lstlisting}}\nDone.",
    ),
    "minted": ("add", f"\\begin{{minted}}{{python}}\n{ADD}\\end{{minted}}"),
    "a constant first": ("add", "ZERO = 0\n\ndef add(a, b):\n    return a + b + ZERO\n"),
    "two constants first": ("add", f"x, y = 0, 0\n\n{ADD}"),
    "a text first": ("add", f"s = ''\n\n{ADD}"),
    "a dictionary first": ("add", "D = {'k': 0}\n\ndef add(a, b):\n    return a + b + D['k']\n"),
    "a condition first": ("add", f"if True:\n    Z = 0\n\n{ADD}"),
    "a constant after a sentence": (
        "add",
        "Here is the code:\n\nZERO = 0\n\ndef add(a, b):\n    return a + b + ZERO\n",
    ),
    "a constant before a program": (None, f"MOD = 998244353\n{SUM}"),
    "a fence opened before, a program": (None, f"{SUM}{F}\n"),
    "a fence opened before, and prose": (None, f"{SUM}{F}\nThis reads two numbers.\n"),
    "a fence opened before, a comment": (None, f"# read input\n{SUM}{F}"),
    "a fence opened before, a constant": ("add", f"MOD = 998244353\n{ADD}{F}"),
    "a fence opened before, a docstring": ("add", f'"""Sum."""\n{ADD}{F}'),
    "a heading before a block": ("add", f"# Solution\n{F}\n{ADD}{F}"),
    "capital names": (
        None,
        "import sys\ninput = sys.stdin.readline\nN, M = map(int, input().split())\n"
        "A, B, C = N, M, 0\nprint(A + B + C)\n",
    ),
    "bold after": ("add", f"{ADD}\n**Explanation:** it adds.\n"),
    "a rule after": ("add", f"{ADD}\n---\n\nThe function adds both.\n"),
    "two words after": ("add", f"{ADD}\nIt works!\n"),
    "marks of a benchmark": ("add", f"[BEGIN]\n{ADD}[DONE]\n"),
    "marks of another": ("add", f"[PYTHON]\n{ADD}[/PYTHON]\n"),
    "a tag of its own": ("add", f"<solution>\n{ADD}</solution>"),
    "annotations that are types": (
        None,
        block(
            "class P:\n    a: int\n    b: int\n"
            "print(sum(t(v) for t, v in zip(P.__annotations__.values(), input().split())))"
        ),
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_right_program_is_found(name: str, sandbox: Sandbox) -> None:
    entry_point, text = ANSWERS[name]
    found = judge(extract(text, entry_point), parse(CALLS[entry_point]), sandbox)
    assert found.verdict == "right", found.reason


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a type that nobody imported": (CALLS["add"], "def add(a: List[int], b):\n    return a + b\n"),
    "its own class as a type": (CALLS["add"], f"class N:\n    def m(self, o: N): ...\n{ADD}"),
    "a forged number that is too large": (
        CALLS["add"],
        "import os\ndef add(a, b):\n    for fd in range(3, 64):\n        try:\n"
        "            os.write(fd, b'{\"complex\":[1' + b'0' * 400 + b',0]}\\n')\n"
        "        except OSError: pass\n    os._exit(0)\n",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_is_wrong(name: str, sandbox: Sandbox) -> None:
    tests, code = WRONG[name]
    assert judge(code, parse(tests), sandbox).verdict == "wrong"


@pytest.mark.parametrize("made", ["deque(range(n))", "(i for i in range(n))", "[Fraction(n, 7)]"])
def test_a_solution_that_returns_no_plain_data_decides_nothing(made: str, sandbox: Sandbox) -> None:
    imports = "from collections import deque\nfrom fractions import Fraction\n"
    solution = f"{imports}def f(n):\n    return {made}\n"
    tests = {"entry_point": "f", "inputs": [[3], [4]], "solution": solution}
    found = judge(f"{imports}def f(n):\n    return deque()\n", parse(tests), sandbox)
    assert (found.verdict, found.reason) == (
        "unknown",
        "the reference solution returns what is no plain data",
    )


def test_tuples_for_lists_are_as_long_as_they_are(sandbox: Sandbox) -> None:
    tests = {
        "entry_point": "f",
        "inputs": [[300000]],
        "outputs": [[[i % 10, 1] for i in range(300000)]],
        "time_limit": 20,
    }
    code = "def f(n):\n    return [(i % 10, 1) for i in range(n)]\n"
    assert judge(code, parse(tests), sandbox).verdict == "right"


def test_a_check_may_name_the_arguments(sandbox: Sandbox) -> None:
    check = "def check(candidate):\n    assert candidate(a=1, b=2) == 3\n"
    tests = {"entry_point": "add", "check": check, "solution": ADD}
    swapped = "def add(x, y):\n    return x + y\n"
    assert judge(swapped, parse(tests), sandbox).verdict == "right"
    assert judge(swapped.replace("+", "-"), parse(tests), sandbox).verdict == "wrong"
