"""How answers are laid out: cut off in a last statement, only a body, versions called wrong."""

from __future__ import annotations

import time

import pytest
from tests.rewards.test_code_choice import ADD, CALLS, SUM, TOTAL, F, block

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
    turn = f"{after}assistant: Done it is."
    assert extract(f"It:\n{F}python\n{ADD}{F}{turn}\nx =", "add") == ADD
    in_string = f'X = """\n{F}{turn}\n"""\n{ADD}'
    assert extract(f"{F}python\n{in_string}{F}", "add") == in_string
    assert extract(f"It:\n{F}python\nx = 1\n{F}{turn}{F}python\n{ADD}{F}", "add") == ADD


CLOSES = ["[DONE]", "[/PYTHON]", "[/CODE]", "[END]", "</answer>", "</code>", "</python>"]
CLOSES += ["\\end{lstlisting}", "</s>", "<|im_end|>", "<end_of_turn>", "<\uff5cend\u2581of\uff5c>"]
AFTERWARDS = ["", "\n\nYou are an expert. Task:\n[BEGIN]\ndef add(a, b): 0\n[DONE]", "\nprint(x)"]


@pytest.mark.parametrize("mark", CLOSES)
@pytest.mark.parametrize("rest", AFTERWARDS)
def test_a_mark_closes_what_the_prompt_has_opened(mark: str, rest: str) -> None:
    program = "a, b = map(int, input().split())\nprint(a + b)\n"
    for code, name in ((ADD, "add"), ("    return a + b\n", "add"), (program, None)):
        assert extract(f"{code}{mark}{rest}", name).strip("\n") == code.strip("\n")


def test_a_mark_in_a_string_or_before_the_program_closes_nothing() -> None:
    in_string = f"{ADD}END = '''\n[DONE]\n<|end|>\n'''\n"
    assert extract(in_string, "add") == in_string
    assert extract(f"{ADD}[DONE]", "other") == f"{ADD}[DONE]"
    assert extract(f"Sure.\n</answer>\n{ADD}", "add") == ADD
    assert extract(f"[BEGIN]\nx = 1\n[DONE]\n[BEGIN]\n{ADD}[DONE]", "add") == ADD
    assert extract(f"<answer>\ndef add(a, b): 0\n</answer>\n<answer>\n{ADD}</answer>", "add") == ADD


@pytest.mark.parametrize(
    "piece", ["x = 1 if ", "lambda ", "a.", "@", "try:\n ", "(", "'", "class A:\n    x = ", "for "]
)
def test_long_ends_take_no_time(piece: str) -> None:
    start = time.process_time()
    text = OPEN + piece * (100_000 // len(piece))
    for name in ("add", "A.x"):
        extract(text, name)
    assert time.process_time() - start < 5


STUB = CALLS["add"] | {"setup": 'def add(a, b):\n    """Sum."""\n'}
METHOD_STUB = "class Solution:\n    def total(self, xs):\n        "
LOOP = "for i in range(1):\n    if a:\n        return a + b\nreturn a + b\n"
BODIES = {
    "a line": "return a + b",
    "a line in a block": block("return a + b"),
    "lines in a block": block("c = a + b\nreturn c"),
    "a loop": block(LOOP),
    "the first line without its indentation": "c = a + b\n    return c",
    "the same in a block": block("c = a + b\n    return c\n\nprint(add(1, 2))"),
    "a header first": LOOP.replace("\n", "\n    "),
    "a helper first": "def plus(x):\n        return x + b\n    return plus(a)",
    "an import first": block("import math\n\n    return a + b"),
    "a comment first": block("# both\n    c = a\n    return c + b"),
    "a comment alone at the margin": block("# both\n\n    return a + b"),
    "a space that is lacking": "   c = a + b\n    return c",
    "a space too many": "     c = a + b\n    return c",
    "tabs": "".join(f"\t{line}\n" for line in LOOP.replace("    ", "\t").splitlines()),
    "two spaces": "".join(f"  {line}\n" for line in LOOP.splitlines()),
    "eight spaces": "".join(f"        {line}\n" for line in LOOP.splitlines()),
    "tabs in a block": block("\tc = a + b\n\treturn c"),
    "a string at the margin": "  t = '''\nx\n'''\n  return a + b + t.count('y')",
    "lines in brackets": "  return sum([\na,\n    b])",
    "inline code": "Use `return a + b`.",
    "inline code, twice": "`return a + b` it is: write `return a + b` there.",
    "a sentence after it": "return a + b\n\nThis adds both of them.",
    "lines, and a sentence": "c = a + b\nreturn c\n\nThis adds both of them.",
    "a usage after it": block("return a + b") + "Such:\n" + block("print(add(1, 2))"),
    "the stub, then the body": block("def add(a, b):\n    ...") + block("return a + b"),
    "cut off": f"{F}python\nc = a + b\n    return c\n\nx = 1 +",
}


@pytest.mark.parametrize("how", BODIES)
def test_a_body_goes_on_with_the_stub(how: str, sandbox: Sandbox) -> None:
    found = judge(extract(BODIES[how], "add"), parse(STUB), sandbox)
    assert found.verdict == "right", found.reason
    assert judge(extract(BODIES[how], "add"), parse(CALLS["add"]), sandbox).verdict == "wrong"


@pytest.mark.parametrize("ends", ["    ", " ", "\n    "])
def test_a_stub_may_end_in_any_white_space(ends: str, sandbox: Sandbox) -> None:
    stub = str(STUB["setup"]).rstrip()
    for setup in (stub, stub + ends, "def add(a, b):", f"def add(a, b):{ends}"):
        for code in ("    return a + b\n", "return a + b\n", "\n    return a + b"):
            tests = parse(CALLS["add"] | {"setup": setup})
            assert judge(code, tests, sandbox).verdict == "right", (setup, code)
    mid_line = parse(CALLS["add"] | {"setup": "def add(a, b):\n    return"})
    assert judge(" a + b", mid_line, sandbox).verdict == "right"


def test_a_body_goes_on_with_a_method(sandbox: Sandbox) -> None:
    tests = parse(CALLS["Solution.total"] | {"setup": METHOD_STUB})
    for body in ("return sum(xs)", "t = sum(xs)\n        return t", "    return sum(xs)"):
        assert judge(extract(block(body), "Solution.total"), tests, sandbox).verdict == "right"
    with_words = CALLS["Solution.total"] | {"setup": f"{METHOD_STUB}'Sum.'\n"}
    again = "    def total(self, xs):\n        return sum(xs)\n"
    assert judge(again, parse(with_words), sandbox).verdict == "right"


NO_BODIES = {
    "another value": "return a - b",
    "another one, its first line moved": "c = a - b\n    return c",
    "a program that prints": block("print(3)"),
    "a function and a return": block(f"{ADD}return 3"),
    "a helper alone": "def plus(a, b):\n    return a + b\n\n    return plus(a, b)",
    "indentation that fits nowhere": block("    c = a + b\n  d = c\n      return d"),
    "a sentence that says return": "I would return a + b here.",
    "two lines in inline code": "Either `return a + b` or `return b`.",
}


@pytest.mark.parametrize("how", NO_BODIES)
def test_what_is_no_right_body(how: str, sandbox: Sandbox) -> None:
    assert judge(extract(NO_BODIES[how], "add"), parse(STUB), sandbox).verdict == "wrong"


NOT_NEEDED = {
    "unused": f"import numpy as np\n{ADD}",
    "several": f"import numpy as np\nimport pandas as pd, torch\nfrom typing import List\n{ADD}",
    "a module of a package": f"import matplotlib.pyplot as plt\nimport scipy.stats\n{ADD}",
    "beside one that is there": f"import numpy, math\n{ADD.replace('a + b', 'math.floor(a + b)')}",
    "names of it": f"from numpy.linalg import (\n    norm,  # a\n    inv as i,\n)\n{ADD}",
    "in a test": f"import pytest\n\n{ADD}\ndef test_add():\n    assert add(1, 2) == 3\n",
    "in a test, used": f"import pytest\n{ADD}\ndef test():\n    pytest.raises(TypeError, add)\n",
    "in what is not called": f"import numpy as np\n{ADD}\ndef other(x):\n    return np.sum(x)\n",
    "a name in a comment": f"import numpy as np  # np\n# no numpy here\n{ADD}",
    "with a way out": f"try:\n    import numpy\nexcept ImportError:\n    numpy = None\n{ADD}",
}
NEEDED = {
    "used": "import numpy as np\ndef add(a, b):\n    return int(np.add(a, b))\n",
    "used at once": f"import numpy as np\nZERO = np.zeros(1)\n{ADD}",
    "a decorator": f"from numba import njit\n@njit\n{ADD}",
    "an annotation": "import numpy as np\ndef add(a: np.int64, b):\n    return a + b\n",
    "a builtin of its name": "from numpy import sum\ndef add(a, b):\n    return sum([a, b])\n",
    "a function of its name": f"def plus(a, b):\n    return a + b\nfrom helpers import plus\n"
    f"{ADD.replace('a + b', 'plus(a, b)')}",
    "what a setup may bring": "from numpy import gcd\ndef add(a, b):\n    return a + b + gcd(0, 0)",
    "itself": f"{ADD}from solution import add\n",
    "all of it": f"from numpy import *\n{ADD}",
    "in a string": "import numpy as np\ndef add(a, b):\n    return len(f'{np}') + a + b",
    "in itself": "def add(a, b):\n    import numpy\n    return a + b\n",
}


@pytest.mark.parametrize("how", [*NOT_NEEDED, *NEEDED])
def test_a_package_that_is_not_there_is_missed_where_it_is_needed(
    how: str, sandbox: Sandbox
) -> None:
    code = {**NOT_NEEDED, **NEEDED}[how]
    for text in (code, block(code)):
        found = judge(extract(text, "add"), parse(CALLS["add"]), sandbox)
        assert found.verdict == ("right" if how in NOT_NEEDED else "wrong"), found.reason


def test_what_a_setup_binds_is_not_taken_for_an_import(sandbox: Sandbox) -> None:
    tests = parse(CALLS["add"] | {"setup": "def plus(a, b):\n    return a + b\n"})
    code = ADD.replace("a + b", "plus(a, b)")
    assert judge(code, tests, sandbox).verdict == "right"
    assert judge(f"from helpers import plus\n{code}", tests, sandbox).verdict == "wrong"


BAD = ADD.replace("+", "-")
CALLED_WRONG = [
    *("**Common mistake:**", "**Common mistake:** swapping the sign:", "Avoid this:", "Incorrect:"),
    *("### Before (buggy)", "### Before", "Don't do this:", "❌ Wrong way", "**Bad example**"),
    *("Note that the following would be incorrect:", "The code below is wrong:", "# Wrong version"),
    *("A common error is to subtract:", "**What not to do**", "Wrong (the sign):", "常见错误："),
    *("## Common pitfalls\n\nSubtracting the second:", "Do NOT write this:", "错误示例："),
    *("**Mistake:** the wrong sign", "The following does not work:", "Typical bug:"),
]


@pytest.mark.parametrize("label", CALLED_WRONG)
def test_a_version_that_is_called_wrong_is_no_answer(label: str, sandbox: Sandbox) -> None:
    text = f"{block(ADD)}\n{label}\n\n{block(BAD)}So it is.\n"
    assert judge(extract(text, "add"), parse(CALLS["add"]), sandbox).verdict == "right"
    alone = f"{label}\n{block(BAD)}"
    assert judge(extract(alone, "add"), parse(CALLS["add"]), sandbox).verdict == "wrong"
    first = f"{label}\n{block(ADD)}Rather:\n{block(BAD)}"
    assert judge(extract(first, "add"), parse(CALLS["add"]), sandbox).verdict == "wrong"


def test_a_comment_may_call_its_block_wrong() -> None:
    wrong = block(f"# Wrong: \n{BAD}")
    assert "a + b" in extract(block(f"# Right:\n{ADD}") + wrong, "add")


@pytest.mark.parametrize(
    "label",
    [
        *(
            "I fixed the mistake:",
            "Wait, this is incorrect:",
            "Wrong!",
            "Incorrect.",
            "That is wrong",
        ),
        *("The common mistake above is fixed:", "To avoid this common mistake:", "No mistakes:"),
        *(
            "Common mistakes are avoided here:",
            "The bug was the sign:",
            "Slow:",
            "A naive version:",
        ),
        *("The following fixes what is wrong:", "Corrected (it was wrong):", "Typical solution:"),
        *(
            "**Common mistake:** the sign. Instead:",
            "Common mistake: I had plus above:",
            "Usual way:",
        ),
        *("### Wrong sign\n\nThe fixed version:", "Before:\nx\nAfter:", "Not only this:", "Wrong"),
        *("The version above is wrong:", "Alternative:", "Avoid this mistake by subtracting:"),
        *("**Common pitfalls:** the sign.\n\n**Code:**", "Common errors: signs.\nPython code:"),
        *("Common mistake\nSo use minus:", "The following is not wrong:"),
    ],
)
def test_a_version_after_a_mistake_counts(label: str, sandbox: Sandbox) -> None:
    text = f"{block(ADD)}\n{label}\n\n{block(BAD)}"
    assert judge(extract(text, "add"), parse(CALLS["add"]), sandbox).verdict == "wrong"


LONG = "def add(a, b):\n    c = a + b\n    return c\n"


@pytest.mark.parametrize(
    "label", ["Simplified:", "**Final version**", "Here's the corrected code:", "### Better one"]
)
def test_what_is_called_a_version_is_no_excerpt(label: str, sandbox: Sandbox) -> None:
    text = f"{block(LONG)}\n{label}\n{block(LONG.rpartition('    return')[0])}"
    assert judge(extract(text, "add"), parse(CALLS["add"]), sandbox).verdict == "wrong"
    shown = text.replace(label, "We begin with:")
    assert judge(extract(shown, "add"), parse(CALLS["add"]), sandbox).verdict == "right"


BESIDE: dict[str, tuple[str | None, str]] = {
    "an output": ("add", f"Code:\n\n{ADD}\nOutput:\n{F}\n3\n{F}"),
    "an output right after it": ("add", f"The function:\n\n{ADD}\n{F}\n[1, 2]\n{F}\n"),
    "a usage": ("add", f"The function:\n\n{ADD}\nSo:\n{block('print(add(1, 2))')}"),
    "an input before it": ("add", f"For\n{F}\n1 2\n{F}\nit is:\n\n{ADD}\nThat is all of it.\n"),
    "inline code": ("add", f"It is `add = lambda a, b: a + b`, so\n{F}\n3\n{F}"),
    "a class": ("Solution.total", f"So:\n\n{TOTAL}\nOutput:\n{F}\n3\n{F}"),
    "a program": (None, f"So:\n\n{SUM}\nInput:\n{F}\n1 2\n{F}\nOutput:\n{F}\n3\n{F}\n"),
}


@pytest.mark.parametrize("how", BESIDE)
def test_a_program_beside_blocks_that_hold_none(how: str, sandbox: Sandbox) -> None:
    entry_point, text = BESIDE[how]
    found = judge(extract(text, entry_point), parse(CALLS[entry_point]), sandbox)
    assert found.verdict == "right", found.reason
    later = text + block({"add": BAD, None: SUM.replace("+", "-")}.get(entry_point, "x = 0"))
    if entry_point in ("add", None):
        assert judge(extract(later, entry_point), parse(CALLS[entry_point]), sandbox).verdict == (
            "wrong"
        )


HELPER = "def plus(a, b):\n    return a + b\n"
USES = "def add(a, b):\n    return plus(a, b)\n"


@pytest.mark.parametrize("body", ["...", "pass", '"""Both."""', "# as given\n    pass"])
def test_a_stub_does_not_hide_what_is_given(body: str, sandbox: Sandbox) -> None:
    stub = f"def plus(a, b):\n    {body}\n\n"
    setup = f'{HELPER}\n\ndef add(a, b):\n    """Sum."""\n'
    tests = parse(CALLS["add"] | {"setup": setup})
    assert judge(extract(block(stub + USES), "add"), tests, sandbox).verdict == "right"
    twice = block(HELPER) + "Then\n" + block(stub + USES)
    assert judge(extract(twice, "add"), parse(CALLS["add"]), sandbox).verdict == "right"
    own = stub.replace(body, "return a - b")
    assert judge(extract(block(own + USES), "add"), tests, sandbox).verdict == "wrong"
    assert judge(extract(block(stub + USES), "add"), parse(CALLS["add"]), sandbox).verdict == (
        "wrong"
    )
    nothing = block("def add(a, b):\n    ...")
    assert judge(extract(nothing, "add"), tests, sandbox).verdict == "wrong"


def test_a_version_that_is_cut_off_is_an_excerpt(sandbox: Sandbox) -> None:
    """ "Better:" stands before the beginning of the same once more; a closed one counts."""
    shorter = "def add(a, b):\n    c = a + b\n"
    text = f"{F}python\n{shorter}    return c\n{F}\nBetter:\n{F}python\n{shorter}"
    found = [
        judge(extract(each, "add"), parse(CALLS["add"]), sandbox).verdict
        for each in (text, text + F)
    ]
    assert found == ["right", "wrong"]
