"""Which program an answer holds: fences, blocks, stubs. The programs here are ours, so they run in
this process."""

from __future__ import annotations

import builtins
import io
import time
from contextlib import redirect_stdout
from typing import Any

import pytest

from evenflow.rewards.code import extract
from evenflow.rewards.code.joining import joined
from evenflow.rewards.code.names import definitions, statements, tidied
from evenflow.rewards.fences import fenced

ADD = "def add(a, b):\n    return a + b\n"
STUB = 'def add(a, b):\n    """The sum."""\n'
TAB = "\t"
FENCED = f"```python\n{ADD}```"
T3 = '"""'


def adds(text: str, setup: str = "") -> bool:
    space: dict[str, Any] = {"__name__": "answer"}
    try:
        exec(joined(setup, extract(text, "add")), space)
        return space["add"](1, 2) == 3
    except (SyntaxError, NameError, KeyError, TypeError):
        return False


def indented(text: str, by: str) -> str:
    return "".join(by + line for line in text.splitlines(keepends=True))


CUT_OFF = [
    f"```python\n{ADD}\nprint(add(1, ",
    f"```python\n{ADD}\nprint({T3}x",
    f"```python\n{ADD}\nfor a in range(3):",
    f"```python\n{ADD}\nif __name__ == '__main__':\n",
    f"{ADD}\ndef other(x):\n    {T3} What it",
]
BODY = "    return a + b\n\n\n"
GOES_ON = [f"{BODY}def other(x):\n", f"{BODY}def other(x, y", f"{BODY}def o(x):\n    {T3} What"]


@pytest.mark.parametrize("text", CUT_OFF)
def test_a_last_statement_that_is_cut_off_goes(text: str) -> None:
    assert adds(text)


@pytest.mark.parametrize("text", GOES_ON)
def test_a_body_counts_though_the_text_is_cut_off_in_the_next_function(text: str) -> None:
    assert adds(text, STUB)


def test_what_is_asked_for_stays_though_it_is_cut_off() -> None:
    text = "```python\nx = 1\ndef add(a, b):\n    return max(a,"
    assert extract(text, "add").endswith("max(a,")
    whole = f"{BODY}def other(x):\n    return x\n"
    assert extract(whole, "add") == whole


BLOCKS = {
    "backticks": f"```python\n{ADD}```",
    "tildes": f"~~~python\n{ADD}~~~\nDone.",
    "a list item": f"1. The function:\n\n{indented(FENCED, '   ')}\n\n2. Done.",
    "a list item within one": f"- a\n  - b\n\n{indented(FENCED, '      ')}\n\nDone.",
    "right after the mark of a list": f"1. ```python\n{indented(ADD, '   ')}   ```\n2. Done.",
    "tabs before": f"1. It:\n\n{indented(FENCED, TAB)}\n",
    "a fence that is indented alone": f"  ```python\n{ADD}  ```\n",
    "a quote": f"> It is\n>\n{indented(FENCED, '> ')}\n> so.",
    "a quote without spaces": f"{indented(FENCED, '>')}\n",
    "four backticks": f"````python\n{ADD}\nx = '''\n```\n'''\n````",
    "four around three": f"````markdown\nx\n````\n````python\n# ```\n{ADD}````",
    "four around three of Python": f"````markdown\n{FENCED}\n````",
    "a usage that imports it": f"{FENCED}\n```python\nfrom solution import add\nadd(1, 2)\n```",
    "a tag around it": f"<answer>\n{ADD}</answer>",
    "a tag around a block": f"<answer>\n{FENCED}\n</answer>",
    "signs in an element": f"<code>if 1 <2 and 3> 2:\n    pass\n{ADD}</code>",
    "more backticks at the end": f"```python\n{ADD}`````\nDone.",
    "a title": f'```python title="add.py"\n{ADD}```',
    "braces": f"```{{.python .numberLines}}\n{ADD}```",
    "braces alone": f"```{{python}}\n{ADD}```",
    "py3": f"```py3\n{ADD}```",
    "python3.11": f"```python3.11\n{ADD}```",
    "a space and capitals": f"``` Python\n{ADD}```",
    "a file's name": f"```python:add.py\n{ADD}```",
    "no name": f"```\n{ADD}```",
    "output after it": f"```python\n{ADD}```\nOutput:\n```text\n3\n```",
    "output without a name": f"```python\n{ADD}```\nOutput:\n```\n3\n```",
    "code and output without names": f"```\n{ADD}```\nOutput:\n```\nresult = 3\n```",
    "a usage after it": f"```python\n{ADD}```\n\nExample:\n\n```python\nprint(add(1, 2))\n```",
    "a usage named before": f"Such:\n```python\nadd(1, 2)  # 3\n```\n```python\n{ADD}```",
    "no name, and a usage named": f"```\n{ADD}```\nUse:\n```python\nprint(add(1, 2))\n```",
    "a console after it": f"```python\n{ADD}```\n```console\n$ python add.py\n```",
    "a glued end": f"```python\n{ADD.rstrip()}```",
    "a glued end and prose": f"```python\n{ADD.rstrip()}``` \nThis adds.\n",
    "a glued beginning": f"The code: ```python\n{ADD}```\nThis adds.",
    "beside its fence": f"```python {ADD}```",
    "beside a fence without a name": f"```{ADD}```\nThis adds.",
    "beside a fence in a list": f"- so:\n  ```Python {indented(ADD, '  ').lstrip()}  ```",
    "an import beside its fence": f"```py import math\n{ADD}```",
    "an import from beside its fence": f"```from operator import mul\n{ADD}```\nDone.",
    "a title beside its fence": f"```python title='add.py'\n{ADD}```",
    "lines to mark beside its fence": f"```python {{1,2}} class=wide\n{ADD}```",
    "cut off": f"```python\n{ADD}",
    "cut off after a list": f"- so:\n  ```python\n{indented(ADD, '  ')}",
    "Windows's lines": f"Here:\r\n```python\r\n{ADD}```\r\nDone.\r\n".replace("\n", "\r\n"),
    "old lines": f"Here:\n```python\n{ADD}```\nDone.\n".replace("\n", "\r"),
    "a mark of the order of bytes": f"\ufeff```python\n{ADD}```",
    "a mark within": f"```python\n\ufeff{ADD}```",
    "spaces that do not break": f"```python\n{ADD}```".replace("    ", "\u00a0" * 4),
    "spaces of no width": f"```python\n{ADD}```".replace("return", "\u200breturn"),
    "tabs": f"```python\n{ADD}```".replace("    ", "\t"),
    "more indented than its fence": f"```python\n{indented(ADD, '    ')}```",
    "less indented than its fence": f"1. It:\n   ```python\n{ADD}   ```",
    "no fence": ADD,
    "no fence and a comment": f"# It adds.\n{ADD}",
    "a fence that the prompt opened": f"{ADD}```\nThis adds.",
    "a glued fence that the prompt opened": f"{ADD.rstrip()}```",
    "a fence that the prompt opened, and output": f"{ADD}```\nIt prints\n```\n3\n```",
    "a fence in a docstring": f"```python\ndef add(a, b):\n    {T3}So:\n\n    ```\n    add(1, 2)\n"
    f"    ```\n    {T3}\n    return a + b\n```",
    "a fence in a string": f"```python\nHELP = {T3}\n```\nadd(1, 2)\n```\n{T3}\n{ADD}```\nDone.",
    "a named fence in a string": f"```python\nHELP = {T3}\n```python\nadd(1, 2)\n```\n"
    f"{T3}\n{ADD}```",
    "a fence in a docstring, no fence around": f"def add(a, b):\n    {T3}So:\n    ```\n"
    f"    add(1, 2)\n    ```\n    {T3}\n    return a + b\n",
    "an unclosed string before": f"```python\ndef f():\n    {T3}Cut\n```\nAgain:\n"
    f"```python\n{ADD}```",
    "begun anew": f"```python\ndef add(a, b):\n    return a -\nNo, wait.\n\n```python\n{ADD}```",
    "begun anew in a list": f"1. ```py\n   x = 0\n2. ```py\n{indented(ADD, '   ')}   ```",
    "begun anew, the prompt opened one": f"def add(a, b): 0\n\nNo.\n```python\n{ADD}```",
    "begun anew after a fence too far in": f"```python\nx = 1\n      ```\nSo\n```python\n{ADD}```",
    "a fence of Python in one without a name": f"```\n{FENCED}\n```",
    "nothing but a fence at the end": f"```python\n{ADD}\n```python\n",
    "a fence of Python in a comment": f"```python\n# so: ```python\n{ADD}```",
    "a fence of Python in a longer one": f"````python\nX = (\n{T3}\n```python\n{T3})\n{ADD}````",
    "HTML": f"<p>It:</p><pre><code class='language-python'>{ADD}</code></pre>",
    "HTML with references": "<pre><code>def add(a, b):\n    return a + b if a &lt; 9 else 0 &gt; 1"
    "</code></pre>",
    "inline code": "It is `def add(a, b): return a + b` and no more.",
    "inline code of three backticks": "```python def add(a, b): return a + b```",
    "inline code, a lambda": "Take `add = lambda a, b: a + b`, or rather `sum`.",
    "an import from the future": f"```python\nfrom __future__ import annotations\n\n{ADD}```",
    "helpers before": "```python\ndef plus(a, b): return a + b\n```\nThen\n"
    "```python\ndef add(a, b):\n    return plus(a, b)\n```",
    "helpers of helpers before": "```python\nfrom operator import add as plus\n```\n"
    "```python\nZERO = 0\ndef two(a, b): return plus(a, b) + ZERO\nprint(two(1, 2))\n```\n"
    "```python\ndef add(a, b):\n    return two(a, b)\n```",
    "helpers after": "```python\ndef add(a, b):\n    return plus(a, b)\n```\nwith\n"
    "```python\ndef plus(a, b): return a + b\n```",
    "helpers before, and others after": "```python\ndef plus(a, b): return a + b\n```\n"
    "```python\ndef add(a, b):\n    return plus(a, b)\n```\nNot\n"
    "```python\ndef plus(a, b): return a - b\n```",
    "no fence, between sentences": f"Here is the solution:\n\n{ADD}\nThis works because it adds.\n",
    "no fence, imports first": f"Sure! I will write it.\n\nimport math\n\n{ADD}\nExplanation:\nx\n",
    "no fence, and a list after it": f"The function is\n{ADD}\n- It adds `a` and `b`.\n1. So.\n",
    "no fence, a sentence after it": f"{ADD}\nThe above adds, and that's all.\n",
    "no fence, and sentences in its strings": f"So it is:\n{ADD}TEXT = {T3}\n"
    f"This is not the end.\n{T3}\ndef minus(a, b): return a - b\n\nThat is all there is.\n",
    "no fence, a class before": f"So:\nclass Sum:\n    pass\n\n{ADD}\nDone. This adds both.\n",
    "a draft before": f"```python\ndef add(a, b): return a - b\n```\nNo:\n```python\n{ADD}```",
    "a thought": f"<think>\n```python\ndef add(a, b): return 0\n```\n</think>\n```python\n{ADD}```",
    "a thought's end": f"```python\ndef add(a, b): return 0\n</think>\n```python\n{ADD}```",
    "marks of a thought in a string": f"<think>So.</think>\n```python\nEND = '</think>'\n{ADD}```",
    "marks of a thought in a comment": f"```python\n# without <think> tags\n{ADD}```",
}


@pytest.mark.parametrize("how", BLOCKS)
def test_the_function_is_found(how: str) -> None:
    assert adds(BLOCKS[how])


@pytest.mark.parametrize("how", BLOCKS)
def test_the_function_is_found_after_a_stub(how: str) -> None:
    assert adds(BLOCKS[how], STUB)


CONTINUED = {
    "as it is": "    return a + b\n",
    "with an empty line": "\n    return a + b",
    "in a block": "```python\n    return a + b\n```",
    "in a block, with a usage": "```python\n    return a + b\n```\n```python\nadd(1, 2)\n```",
    "a fence that the prompt opened": "    return a + b\n```\nThis adds.",
    "a glued fence that the prompt opened": "    return a + b```",
    "by a tab": "    import operator\n    return operator.add(a, b)\n",
    "with spaces that do not break": "\u00a0\u00a0\u00a0\u00a0return a + b",
    "Windows's lines": "    c = a + b\r\n    return c\r\n",
    "a docstring with a fence": f"    {T3}\n    ```\n    x\n    ```\n    {T3}\n    return a + b\n",
}


@pytest.mark.parametrize("how", CONTINUED)
def test_a_stub_is_continued(how: str) -> None:
    assert adds(CONTINUED[how], STUB)
    assert adds(CONTINUED[how], "from math import sqrt\n\n\ndef add(a, b):\n")


@pytest.mark.parametrize(
    ("setup", "answer"),
    [
        (STUB, f"from __future__ import annotations\n{ADD}"),
        (STUB, f"from __future__ import (\n    annotations,\n    division\n)\nimport math\n{ADD}"),
        (f"from __future__ import division\n{STUB}", f"import math\n{ADD}"),
        ("def add(a, b):\n", ADD),  # a stub with nothing in it
        ("class A:\n    def add(a, b):  # a stub\n", ADD),
        ("def add(a, b):\n    # to do\n", ADD),
        ("", indented(ADD, "  ")),
        (STUB, "import math\n\ndef add(a, b):\n    return a + b"),
    ],
)
def test_what_stands_on_its_own(setup: str, answer: str) -> None:
    space: dict[str, Any] = {}
    exec(joined(setup, answer), space)
    assert space["add"](1, 2) == 3


@pytest.mark.parametrize(
    "text",
    [
        "```python\nprint(add(1, 2))\n```",  # only the usage
        "3",
        "```\n3\n```",
        f"```python\n{ADD}```\nRather:\n```python\ndef add(a, b): return 0\n```",
        f"```python\n{ADD}```\nRather:\n```python\nadd = max\n```",
        f"<think>\n```python\n{ADD}```",
        f"```python\n{ADD}```\n<think>Or else",
        f"I would write `{ADD.splitlines()[0]}`.",
        "",
    ],
)
def test_what_is_no_function_or_was_taken_back(text: str) -> None:
    assert not adds(text)


PROGRAM = "a, b = map(int, input().split())\nprint(a + b)\n"
PROGRAM_FENCED = f"```python\n{PROGRAM}```"
MAIN = "import sys\ndef main():\n    print(sum(map(int, sys.stdin.read().split())))\n"
PROGRAMS = {
    "a block": f"```python\n{PROGRAM}```",
    "output after it": f"```\n{PROGRAM}```\nFor 1 2:\n```\n3\n```",
    "input and output around": f"Input\n```\n1 2\n```\n```\n{PROGRAM}```\nOutput\n```\n3\n```",
    "a test after it": f"```python\n{PROGRAM}```\nTest:\n```python\nassert 1 + 2 == 3\n```",
    "a test of its function": "```python\ndef add(a, b): return a + b\n"
    "print(add(*map(int, input().split())))\n```\n```python\nassert add(1, 2) == 3\n```",
    "functions, then the call": f"```python\n{MAIN}```\nand\n```python\nmain()\n```",
    "all at once, then the call": f"```python\n{MAIN}main()\n```\nor\n```python\nmain()\n```",
    "a draft that reads, too": f"```python\nprint(int(input()))\n```\nNo:\n{PROGRAM_FENCED}",
    "no fence": PROGRAM,
    "no fence, between sentences": f"Read two numbers, then:\n\n{PROGRAM}\nThe code reads both.",
    "no fence, imports first": f"Solution\n\nimport sys\n{PROGRAM}\nThis is all of it.\n",
    "no fence, printed at once": "So:\nprint(sum(map(int, input().split())))\n\nThat prints it.",
    "a list item": f"* It:\n\n{indented(PROGRAM_FENCED, '  ')}",
    "inline": "Such: `print(sum(map(int, input().split())))`.",
    "indented": indented(PROGRAM, "    "),
    "open(0)": "```python\nprint(sum(map(int, open(0).read().split())))\n```\n"
    "```python\nprint(30)\n```",
}


@pytest.mark.parametrize("how", PROGRAMS)
def test_the_program_is_found(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = joined("", extract(PROGRAMS[how]))
    given = io.StringIO("1 2\n")
    monkeypatch.setattr("sys.stdin", given)
    with redirect_stdout(io.StringIO()) as printed:
        exec(code, {"open": lambda *_: given, "__builtins__": builtins})
    assert printed.getvalue() == "3\n"


def test_languages_and_places() -> None:
    text = "a\n```c++\nx\n```\n- ~~~\n  y\n  ~~~\n> ```JS {1}\n> z"
    blocks = list(fenced(text))
    assert [(block.language, block.content) for block in blocks] == [
        ("c++", "x\n"),
        ("", "y\n"),
        ("js", "z"),
    ]
    assert text[blocks[0].start : blocks[0].end] == "```c++\nx\n```\n"
    assert not list(fenced("a ``` b\n`` c\n```not `closed`\n"))  # inline code, by CommonMark


def test_statements_and_names() -> None:
    code = f"@x\n@y(1,\n2)\ndef f():\n    g = 1\nA, b = 1, [\n2,\n]\nS = {T3}\ndef no(): 1\n{T3}\n"
    code += "import a.b, c as d\nfrom e import (\n    h,\n    i as j,\n)\n"
    code += "if f:\n    k = 1\nelse:\n    l = 2\n"
    assert definitions(code) == {"f", "A", "b", "S", "a", "d", "h", "j"}
    assert "".join(statements(code)) == code
    assert tidied("x\u00a0= '\u00a0'  #\u00a0y\u200b") == "x = '\u00a0'  #\u00a0y\u200b"


def test_long_answers_take_no_time() -> None:
    """What a policy might write by chance or to slow the judge down; in well under a second."""
    for text in (
        "```python\nx = '''\n```\n" * 600,
        "```\n" * 6000,
        "```python\n" * 6000,
        "```python\ndef f(x): return x\n" * 2000,
        "</think>```python\n" * 1000,
        "<think>" * 4000,
        "<think></think>" * 4000,
        "- " * 10000 + "```python",
        "`" * 20000,
        "` `` ``` " * 2000,
        "@x\n" * 2000,
        "<code>" * 4000,
        "from __future__ import (" * 1000,
        "(" * 20000,
        "a " * 20000,
        "'" * 20001,
    ):
        joined("", extract(text, "add"))
        joined("", extract(text))


@pytest.mark.parametrize(
    "piece", ["_", "1", "a ", "a,", "a=", "lambda ", "for ", "def f(", "x:=", "x", "好"]
)
def test_a_policy_that_repeats_itself_takes_no_time(piece: str) -> None:
    start = time.process_time()
    reads = "```python\nn = input()\nprint(n)\n%s\n```"
    for text in ("```python\n%s", "```python\ndef f():\n    return %s\n```", "print(%s)", reads):
        extract(text % (piece * (16_000 // len(piece))))
    assert time.process_time() - start < 2


@pytest.mark.parametrize("piece", [")\\'", "'- (\\", '\\"', "'", '"\\'])
def test_quotes_that_do_not_close_take_no_time(piece: str) -> None:
    start = time.process_time()
    extract(piece * (40_000 // len(piece)), "f")
    assert time.process_time() - start < 5
