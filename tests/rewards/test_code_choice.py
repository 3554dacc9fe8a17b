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


LEFT = "    left, right = 0, len(nums) - 1\n"
CASES = "t = 1\nfor _ in range(t):\n    a, b = map(int, input().split())\n    print(a + b)\n"
METHOD = "class Solution:\n" + "".join(
    f"    {line}\n" for line in SEARCH.replace("def search(", "def search(self, ").splitlines()
)


def block(code: str, language: str = "python") -> str:
    return f"{F}{language}\n{code.rstrip()}\n{F}\n"


def indented(code: str) -> str:
    return "".join(f"    {line}\n" for line in code.splitlines())


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
    "its first lines again": (
        "search",
        block(SEARCH) + "We start with\n" + block("\n".join(SEARCH.splitlines()[:2])),
    ),
    "its first lines again, with a comment": (
        "search",
        block(SEARCH) + block("def search(nums, target):\n    # both ends\n" + LEFT),
    ),
    "its first lines again, in a class": (
        "Solution.total",
        block("import math\n" + TOTAL) + "First:\n" + block("\n".join(TOTAL.splitlines()[:3])),
    ),
    "lines left out": (
        "search",
        block(SEARCH) + block(f"def search(nums, target):\n{LEFT}    ...\n    return -1"),
    ),
    "lines left out in a class": (
        "Solution.total",
        block(TOTAL)
        + block(
            "class Solution:\n    def total(self, xs):\n        ...\n"
            "        for x in xs:\n            total = total + x\n        ..."
        ),
    ),
    "lines left out, by a comment": (
        "search",
        block(SEARCH)
        + block(f"def search(nums, target):\n{LEFT}    # ... as before\n    return -1"),
    ),
    "an end that is missing": (
        "fib",
        block(FIB)
        + block(
            "def fib(n):\n    for i in range(2, n + 1):\n        dp[i] = dp[i - 1] + dp[i - 2]"
        ),
    ),
    "a signature over several lines again": (
        "add",
        block(ADD) + block("def add(\n    a: int,\n    b: int,\n) -> int:\n    ..."),
    ),
    "a signature over several lines again, with a docstring": (
        "add",
        block(ADD) + block("def add(\n    a,\n    b\n):\n    'The sum.'\n    pass"),
    ),
    "a class with another method": (
        "Solution.total",
        block(TOTAL) + block("class Solution:\n    def product(self, xs):\n        return 1"),
    ),
    "a name given to what it returns": ("add", block(ADD) + block("add = add(1, 2)\nprint(add)")),
    "a name given to it, decorated": (
        "fib",
        block(FIB) + block("from functools import cache\nfib = cache(fib)"),
    ),
    "a name given to a result": ("fib", block(FIB) + block("result = fib(7)\nfib = result")),
    "a name given to a number": ("fib", block(FIB) + block("fib = 13")),
    "a name for another function": ("add", block("def plus(a, b):\n    return a + b\nadd = plus")),
    "a function of itself": (
        "fib",
        block("fib = None") + block("fib = lambda n: n if n < 2 else fib(n - 1) + fib(n - 2)"),
    ),
    "a loop of it, that reads": (
        None,
        block(f"t = 1\nfor _ in range(t):\n{indented(SUM)}")
        + "For each:\n"
        + block("for _ in range(t):\n    a, b = map(int, input().split())\n    print(a + b)"),
    ),
    "names of nothing": (
        None,
        block(SUM) + block("data = sys.stdin.read().split()\nprint(result)"),
    ),
    "names of nothing, augmented": (
        None,
        block(SUM) + block("for x in input().split():\n    total += int(x)\nprint(total)"),
    ),
    "a test that feeds it": (
        None,
        block(MAIN)
        + block(
            "import io, sys\nold = sys.stdin\nsys.stdin = io.StringIO('1 2')\n"
            "main()\nsys.stdin = old\nprint('ok')"
        ),
    ),
    "a test that feeds it in a function": (
        None,
        block(MAIN)
        + block(
            "def check(text, wanted):\n    backup = sys.stdin\n"
            "    sys.stdin = open(text)\n    main()\n    sys.stdin = backup\n\n"
            "check('1.txt', '3')\nprint(input())"
        ),
    ),
    "a test that patches input": (
        None,
        block(MAIN)
        + block(
            "from unittest.mock import patch\nwith patch('builtins.input'):\n"
            "    main()\n    print(input())"
        ),
    ),
    "a test that sets input": (
        None,
        block(MAIN) + block("import builtins\nbuiltins.input = lambda: '1 2'\nprint(input())"),
    ),
    "input in memory": (
        None,
        block("print(0, input())")
        + block(
            "import io, os, sys\n"
            "sys.stdin = io.BytesIO(os.read(0, 99))\n"
            "a, b = map(int, sys.stdin.readline().split())\nprint(a + b)"
        ),
    ),
    "a talk with a person": (
        None,
        block(SUM) + "Try it:\n" + block("while True:\n    print(len(input('Two numbers: ')))"),
    ),
    "the last in a block without a name": (
        "add",
        block(ADD.replace("+", "-")) + "No:\n" + block(ADD, ""),
    ),
    "the last in a block without a name, a program": (
        None,
        block(SUM.replace("+", "-")) + "No:\n" + block(SUM, ""),
    ),
    "an outline without a name": (
        "add",
        block(ADD) + block("def add(a, b):\n    sum <- a + b\n    return sum", ""),
    ),
    "what went wrong": (
        None,
        block(SUM) + block("Traceback (most recent call last):\n    print(input())\nEOFError", ""),
    ),
    "lines until there are none": (
        None,
        block("for line in iter(input, ''):\n    print(sum(map(int, line.split())))\n    break"),
    ),
    "step by step": (
        None,
        "Read:\n" + block("a, b = map(int, input().split())") + "Print:\n" + block("print(a + b)"),
    ),
    # Revisions, which count:
    "fewer lines": (
        "search",
        block(SEARCH.replace("return -1", "left = 0\n    return -1").replace("mid\n", "0\n", 1))
        + block(SEARCH),
    ),
    "without its last lines": ("add", block(f"{ADD}    raise ValueError\nadd(1)") + block(ADD)),
    "without what it printed": (
        None,
        block(f"{SUM}print('Done')") + "Only the sum may be printed:\n" + block(SUM),
    ),
    "without what it printed between": (
        None,
        block(SUM.replace("\n", "\nprint(a)\n", 1)) + "Only the sum:\n" + block(SUM),
    ),
    "without a check": (
        "add",
        block("def add(a, b):\n    if a > 4:\n        return a\n    return a + b") + block(ADD),
    ),
    "a word of its own for nothing": (
        "add",
        block("def add(a, b):\n    return 0") + block(f"def zero():\n    ...\n\n{ADD}"),
    ),
    "nothing in a branch": (
        "add",
        block("def add(a, b):\n    return 0")
        + block("def add(a, b):\n    if a:\n        ...\n    return a + b"),
    ),
    "names that are bound in many ways": (
        None,
        block("print(input())")
        + block(
            "(a, b), *c = map(int, input().split()), 0\nif c: d = e = 0\ntry: f = 1 / d\n"
            "except ZeroDivisionError as error: pass\nfor g, (h, i) in [(0, (0, 0))]: g += h\n"
            "print(a + b + sum(j for j in [d]) + (k := 0) + k + (lambda m, *n, o=0: o)(0), end='')"
        ),
    ),
    "names that are imported and annotated": (
        None,
        block("print(input())")
        + block(
            "from decimal import (\n    Decimal,\n    ROUND_UP,\n)\nimport sys, contextlib as lib\n"
            "class P:\n    x: int\n    y: int = 0\n\n"
            "q: P = P()\n(\n    q.x,\n    q.y,\n) = input().split()\n"
            "with lib.nullcontext() as (c), lib.nullcontext() as d:\n    e, [f, *g] = 0, [0]\n"
            "match [q.x, q.y]:\n    case [h, i]:\n        "
            "print(Decimal(h) + Decimal(i), file=sys.stdout)"
        ),
    ),
    # Without fences:
    "tokens at both ends": ("add", f"<|python_tag|>{ADD}<|eot_id|><|endoftext|>\n"),
    "a token at the end of a program": (None, f"{SUM.rstrip()}<|im_end|>"),
    "a token in a string": (
        None,
        "a, b = map(int, input().split('<|x|>')[0].split())\nprint(a + b)",
    ),
    "a token in an open block": ("add", f"{F}python\n{ADD}<|im_end|>"),
    "quotes for a fence": ("add", f"It is\n'''python\n{ADD}'''\nDone."),
    "quotes for a fence, around a docstring": (
        "add",
        "'''python\ndef add(a, b):\n    '''Sum.'''\n    return a + b\n'''",
    ),
    "marks of code": ("add", f"So:\n[CODE]\n{ADD}[/CODE]\nIt adds both."),
    "marks that are indices": (
        None,
        "CODE = END = begin = 0\nx = list(map(int, input().split()))\n"
        "print(x[CODE] + x[begin + 1] + x[END] - x[begin])",
    ),
    "JSON of the final code": ("add", json.dumps({"code": "see below", "final_code": ADD})),
    "a block named code": ("add", block(ADD, "code") + "Output:\n" + block("3", "text")),
    "an attempt to import": (
        None,
        "So:\ntry:\n    import numpy\nexcept ImportError:\n    numpy = None\nfinally:\n    pass\n"
        + SUM,
    ),
    "headings around": ("add", f"## Solution\n\n{ADD}\n## Complexity\nO(1)\n"),
    "a heading at the end": ("add", f"{ADD}\n### Notes\n\nnothing more\n"),
    "headings that are comments": (
        None,
        "So it is:\n\nimport sys\n\n## Read\na, b = map(int, input().split())\n## Print\n"
        "print(a + b)\n",
    ),
    "two comments, then code": (
        "add",
        "def one(): return 1\n\n## The sum\n### of two\ndef add(a, b):\n    return a + b * one()\n",
    ),
    "a heading in a string": (
        "add",
        f'So:\nTEXT = """\n## Notes\nthis is all there is\n"""\n{ADD}',
    ),
    "small letters after": ("add", f"{ADD}\nthis function adds its arguments.\n"),
    "small letters after a program": (None, f"{SUM}\nso it reads both, and `a + b` is printed\n"),
    "Chinese around": (None, f"好的，以下是代码：\n\n{SUM}\n解释：读取两个数。\n"),
    "Chinese after": ("add", f"{ADD}\n时间复杂度\n"),
    "Chinese in it": (
        "add",
        f"# 两数之和，返回。\n和 = lambda a, b: a + b\n{ADD.replace('a + b', '和(a, b)')}",
    ),
    "Korean after": ("add", f"{ADD}\n이 함수는 더합니다.\n"),
    "Russian after": ("add", f"{ADD}\nЭта функция складывает два числа.\n"),
    "Japanese after": ("add", f"{ADD}\nこの関数は和を返します。\n"),
    "indented, by Markdown": ("add", f"The code:\n\n{indented(ADD)}\nDone it is.\n"),
    "a program indented, by Markdown": (None, f"The code:\n\n{indented(SUM)}\nDone it is.\n"),
    "statements that look like words": (
        None,
        "a, b = map(int, input().split())\nnot a in [b]\na if a else b\nassert a or b\n"
        "print(a + b)",
    ),
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


LOOP = (
    "t = int(input())\nfor _ in range(t):\n    a, b = map(int, input().split())\n    print(a + b)\n"
)
TAKEN_BACK = {
    "a shorter one": ("add", block(f"ZERO = 0\n{ADD}") + block("def add(a, b):\n    return a")),
    "fewer lines": ("fib", block(FIB) + block(FIB.replace("    dp[1] = 1\n", ""))),
    "an end that leaves": ("add", block(ADD) + block("def add(a, b):\n    raise ValueError(a)")),
    "a program": (None, block(SUM) + block(SUM.replace("+", "-"))),
    "a program without a name": (None, block(SUM) + block(SUM.replace("+", "-"), "")),
    "a function without a name": ("add", block(ADD) + block(ADD.replace("+", "-"), "")),
    "another function by the name": (
        "add",
        block(ADD) + block("import operator\nadd = operator.mul"),
    ),
    "another class": ("Solution.total", block(TOTAL) + block(TOTAL.replace("+", "-"))),
    "another word for nothing": (
        "add",
        block(ADD) + block("def add(a, b):\n    if a:\n        ...\n    return b"),
    ),
}


@pytest.mark.parametrize("name", TAKEN_BACK)
def test_a_later_program_counts(name: str, sandbox: Sandbox) -> None:
    entry_point, text = TAKEN_BACK[name]
    found = judge(extract(text, entry_point), parse(CALLS[entry_point]), sandbox)
    assert found.verdict == "wrong"


@pytest.mark.parametrize("again", [SUM, LOOP.partition("\n")[2], "print(a + b, input())\n"])
def test_lines_of_a_loop_are_no_program(again: str) -> None:
    assert extract(block(LOOP) + "For each case:\n" + block(again)) == LOOP


COUNTS = """class Solution:
    seen = []

    def __init__(self):
        self.found = 0

    def total(self, xs):
        self.found += sum(xs)
        self.seen.append(1)
        return {}
"""
MANY = {"entry_point": "Solution.total", "inputs": [[[1, 2]], [[4]]], "outputs": [3, 4]}


@pytest.mark.parametrize("name", ["Solution.total", "total"])
def test_each_call_is_of_a_new_solution(name: str, sandbox: Sandbox) -> None:
    problem = parse(MANY | {"entry_point": name})
    assert judge(COUNTS.format("self.found"), problem, sandbox).verdict == "right"
    of_class = COUNTS.format("sum(xs) * len(self.seen)")
    assert judge(of_class, problem, sandbox).verdict == "wrong"


def test_another_class_is_made_once(sandbox: Sandbox) -> None:
    code = COUNTS.format("self.found")
    needs = code.replace("__init__(self)", "__init__(self, n)")
    assert judge(needs, parse(MANY), sandbox).reason == "test 1 of 2: raised TypeError"
    counter = {"entry_point": "Sums.total", "inputs": [[[1, 2]], [[4]]], "outputs": [3, 7]}
    kept = code.replace("class Solution", "class Sums")
    assert judge(kept, parse(counter), sandbox).verdict == "right"


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
