"""How answers are laid out: cut off in a last statement, only a body, versions called wrong."""

from __future__ import annotations

import time

import pytest
from tests.rewards.test_code_choice import ADD, CALLS, SUM, TOTAL, F

from evenflow.rewards.code import extract, judge, parse
from evenflow.sandbox import Sandbox

OPEN = f"{F}python\n{ADD}\n\n"
MORE = TOTAL + "\n    def other(self, x):\n        "
CUT_OFF: dict[str, tuple[str | None, str]] = {
    **{
        f"in {last!r}": ("add", OPEN + last)
        for last in (
            *("x = 1 +", "x = 5 *", "x = add(1, 2) and", "assert add(1, 2) ==", "x =", "x: int ="),
            *("for x in", "for x", "for x in range(3)", "while True", "if add(1, 2) == 3", "with"),
            *("from typing import", "from typ", "from typing import Lis", "import", "import nump"),
            *("from typing import List,", "@decor", "@functools.wraps(add)", "class Foo", "def f"),
            *(
                "def f(x) -> ",
                "class Foo(Base)",
                "result.",
                "result.app",
                "assert add(1, 2) == thr",
            ),
            *(
                "if add(1, 2) == 3:\n    print('ok')\nel",
                "x = 'abc",
                'print("abc',
                "x = f'{1}",
                "el",
            ),
            *("if True:\n    pri", "x = 1 if True", "x = lambda a", "x = not", "x = ad1", "x = \\"),
            *("try:\n    x = 1", "try:\n    x = 1\nexc", "def f():\n    try:\n        x = 1\n"),
            *("def f(x):\n    return x +", "class A:\n    def f(self):", "def f(x):\n    if x"),
            *(
                "if __name__ == '__main__':\n    x = 1 +",
                "x = [1,\n  2] +",
                "x = [i for i in [1]] +",
            ),
        )
    },
    "a function without a fence": ("add", f"So:\n\n{ADD}\n\ndef unrelated(x):\n    return x +"),
    "a token after it": ("add", f"{OPEN}x = 1 +<|im_end|>"),
    "a program": (None, f"{F}python\n{SUM}\nfor x in"),
    "a method": ("Solution.total", f"{F}python\n{MORE}return x +"),
    "a method's header": ("Solution.total", f"{F}python\n{TOTAL}\n    def other(self"),
    "a method's decorator": ("Solution.total", f"{F}python\n{TOTAL}\n    @static"),
    "a class after the class": ("Solution.total", f"{F}python\n{TOTAL}\nclass Other"),
}


@pytest.mark.parametrize("how", CUT_OFF)
def test_what_is_cut_off_after_the_program_goes(how: str, sandbox: Sandbox) -> None:
    entry_point, text = CUT_OFF[how]
    found = judge(extract(text, entry_point), parse(CALLS[entry_point]), sandbox)
    assert found.verdict == "right", found.reason


@pytest.mark.parametrize(
    "last",
    [
        *("x = 1 if True else 2", "x = lambda a: a", "f = add", "x = 1,", "x = ...", "x = 1."),
        *("from math import *", "try:\n    x = 1\nfinally:\n    pass", "x = 'a' # don't"),
        *("T = '''\nfor x in\n'''", "x = [1\n  for i in [1]\n  if i]", "add.memo = {}", "x = r'a'"),
        *("import sys\nsys.setrecursionlimit(9)", "class E(Exception): pass", "x = {1:\n  2}"),
    ],
)
def test_what_is_whole_stays(last: str) -> None:
    assert extract(OPEN + last, "add").endswith(last)


ENDS_WRONG = {
    "the function": ("add", f"{F}python\nx = 1\ndef add(a, b):\n    return a +"),
    "its second definition": ("add", f"{OPEN}add = lambda a, b: a -"),
    "what it uses": ("add", f"{F}python\ndef add(a, b):\n    return T + a + b\n\nT = 0 +"),
    "a block that is closed": ("add", f"{OPEN}x = 1 +\n{F}\n"),
    "a block that is closed, and a word": (
        "add",
        f"{OPEN}result.\n{F}\nA result.",
    ),
    "the method": ("Solution.total", f"{F}python\n{TOTAL.replace('return total', 'return')} +"),
}


@pytest.mark.parametrize("how", ENDS_WRONG)
def test_what_is_asked_for_or_not_at_the_end_stays(how: str, sandbox: Sandbox) -> None:
    entry_point, text = ENDS_WRONG[how]
    found = judge(extract(text, entry_point), parse(CALLS[entry_point]), sandbox)
    assert found.verdict == "wrong"


@pytest.mark.parametrize("after", ["<|end|>", "<|im_end|>", "<|eot_id|><|start|>"])
def test_a_special_token_after_a_fence_ends_the_block(after: str) -> None:
    turn = f"{after}assistant<|channel|>final<|message|>Done it is."
    assert extract(f"It:\n{F}python\n{ADD}{F}{turn}\nx =", "add") == ADD
    in_string = f'X = """\n{F}{turn}\n"""\n{ADD}'
    assert extract(f"{F}python\n{in_string}{F}", "add") == in_string
    assert extract(f"It:\n{F}python\nx = 1\n{F}{turn}{F}python\n{ADD}{F}", "add") == ADD


@pytest.mark.parametrize(
    "piece", ["x = 1 if ", "lambda ", "a.", "@", "try:\n ", "(", "'", "class A:\n    x = ", "for "]
)
def test_long_ends_take_no_time(piece: str) -> None:
    start = time.process_time()
    text = OPEN + piece * (100_000 // len(piece))
    for name in ("add", "A.x"):
        extract(text, name)
    assert time.process_time() - start < 5
