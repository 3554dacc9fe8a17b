"""Answers that try to be right without computing anything. None of them may be."""

from __future__ import annotations

import pytest

from evenflow.rewards.code import code, judge, parse
from evenflow.sandbox import Sandbox

TESTS = {"entry_point": "double", "inputs": [[1], [21], [0]], "outputs": [2, 42, 0]}
FLOATS = {"entry_point": "double", "inputs": [[0.5], [1.5]], "outputs": [1.0, 3.0]}
PROGRAM = {"inputs": ["21\n", "4\n"], "outputs": ["42\n", "8\n"]}

LIAR = """
class Liar(BASE):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __sub__(self, other): return 0.0
    __rsub__ = __add__ = __float__ = __abs__ = __sub__
    def __index__(self): return 42
    def __iter__(self): return iter(())
    def __len__(self): return 3
    def __le__(self, other): return True
    __lt__ = __ge__ = __gt__ = __le__
    def __reduce__(self): return (print, ("unpickled",))
"""

CHEATS = {
    "leave before the end": "import os\nos._exit(0)",
    "leave in the call": "import os\ndef double(x): os._exit(0)",
    "exit 0": "def double(x): raise SystemExit(0)",
    "exit 0 at import": "import sys\nsys.exit(0)",
    "exit()": "def double(x): exit()",
    "quit() at import": "def double(x): return 2 * x\nquit()",
    "exit() after the first": "def double(x):\n    if x > 1: exit()\n    return 2 * x",
    "exit() made an answer": "exit = lambda *a: 2\ndef double(x): return exit(0)",
    "at exit": "import atexit, os\natexit.register(os._exit, 0)\ndef double(x): return None",
    "equal to everything": LIAR.replace("BASE", "object") + "def double(x): return Liar()",
    "an int equal to everything": LIAR.replace("BASE", "int") + "def double(x): return Liar(7)",
    "a float equal to everything": LIAR.replace("BASE", "float") + "def double(x): return Liar(7)",
    "a str that lies": LIAR.replace("BASE", "str") + "def double(x): return Liar('2')",
    "not a number": "def double(x): return float('nan')",
    "infinite": "def double(x): return float('inf')",
    "the frames above": """
import sys
def double(x):
    frame = sys._getframe()
    while frame:
        for value in [*frame.f_locals.values(), *frame.f_globals.values()]:
            if isinstance(value, dict):
                for key in ("outputs", "expected", "gold"):
                    if key in value: return value[key][0]
        frame = frame.f_back
""",
    "all objects": """
import gc
def double(x):
    for thing in gc.get_objects():
        if isinstance(thing, dict) and "outputs" in thing: return thing["outputs"][0]
        if isinstance(thing, (list, tuple)) and list(thing) == [2, 42, 0]: return 2 * [2, 42, 0][0]
""",
    "patch the harness": """
import sys, json, builtins
def yes(*arguments, **named): return True
for module in list(sys.modules.values()):
    for name in list(vars(module) if hasattr(module, "__dict__") else ()):
        if name in ("encode", "tagged", "dumps", "write", "same", "compare"):
            try: setattr(module, name, yes)
            except Exception: pass
def double(x): return None
""",
    "patch the builtins": "import builtins\nbuiltins.all = builtins.any = builtins.isinstance = "
    "lambda *a: True\nbuiltins.type = lambda *a: int\ndef double(x): return None",
    "words of success": """
import os, sys
def double(x):
    for fd in range(64):
        for text in (b"right", b"True", b"ok", b"passed", b'"right"', b"{}", b"!", b"[]"):
            try: os.write(fd, text + b"\\n")
            except OSError: pass
    os._exit(0)
""",
    "a forged report of nothing": """
import os
def double(x):
    for fd in range(3, 4096):
        try: os.write(fd, b"null\\n" * 3)
        except OSError: pass
    os._exit(0)
""",
    "a forged report that does not parse": """
import os
def double(x):
    for fd in range(3, 4096):
        try: os.write(fd, b"[" * 100000 + b"\\n" + b'{"set":[[1]]}\\n' + b"1" * 9999 + b"\\n")
        except OSError: pass
    os._exit(0)
""",
    "more values than asked for": """
import os
def double(x):
    for fd in range(3, 4096):
        try: os.write(fd, b"".join(b"%d\\n" % n for n in range(50)))
        except OSError: pass
    return 2 * x
""",
    "an error with a good name": "class right(Exception): pass\ndef double(x): raise right",
    "only the first": "calls = []\ndef double(x):\n    calls.append(x)\n    return 2",
    "no code": "",
    "no function": "def triple(x): return 3 * x",
    "not a function": "double = 2",
    "does not parse": "def double(x: return 2 * x",
    "more time than there is": """
import signal, time
signal.signal(signal.SIGXCPU, signal.SIG_IGN)
while time.process_time() < 1.6: pass
def double(x): return 2 * x
""",
    "never ends": "def double(x):\n    while True: pass",
    "another thread answers": """
import os, threading
threading.Thread(target=lambda: os._exit(0)).start()
def double(x):
    import time; time.sleep(9)
""",
}


@pytest.mark.parametrize("name", CHEATS)
def test_no_cheat_is_right(name: str, sandbox: Sandbox) -> None:
    """Wrong, and not unknown either: an answer must not be able to leave the group."""
    found = judge(CHEATS[name], parse(TESTS | {"time_limit": 1}), sandbox)
    assert (found.verdict, found.tier) == ("wrong", sandbox.tier), found.reason


@pytest.mark.parametrize("name", [name for name in CHEATS if "equal" in name or "finite" in name])
def test_no_cheat_is_right_with_a_tolerance(name: str, sandbox: Sandbox) -> None:
    assert judge(CHEATS[name], parse(FLOATS | {"atol": 0.1}), sandbox).verdict == "wrong"


PROGRAM_CHEATS = {
    "leave": "import os; os._exit(0)",
    "exit() before a word is said": "exit(); print(2 * int(input()))",
    "right, then exit(1)": "print(2 * int(input())); exit(1)",
    "right, then a message": "print(2 * int(input())); quit('done')",
    "words of success": "print('ok'); print('right'); print('All tests passed')",
    "right, then a crash": "print(2 * int(input())); raise ValueError",
    "right, then a bad status": "print(2 * int(input())); import sys; sys.exit(3)",
    "right on stderr": "import sys; print(2 * int(input()), file=sys.stderr)",
    "looking for the answers": "import glob\nfor f in glob.glob('*') + glob.glob('/tmp/*/*'):\n"
    "    print(open(f).read())",
    "more time than there is": "import signal, time\n"
    "signal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"
    "while time.process_time() < 1.6: pass\nprint(2 * int(input()))",
    "one answer for all": "print(42)",
    "a longer output": "print(2 * int(input())); print(0)",
    "reading back what is expected": "import os\nfor fd in range(3, 4096):\n"
    "    try: print(os.pread(fd, 100, 0).decode())\n    except OSError: pass",
}


@pytest.mark.parametrize("name", PROGRAM_CHEATS)
def test_no_program_cheat_is_right(name: str, sandbox: Sandbox) -> None:
    assert (
        judge(PROGRAM_CHEATS[name], parse(PROGRAM | {"time_limit": 1}), sandbox).verdict == "wrong"
    )


ANSWERS = {
    "only an output": "Output:\n```\n42\n```",
    "only a usage": "```python\nassert double(21) == 42\nprint('All tests passed')\n```",
    "a later definition": "```python\ndef double(x): return 2 * x\n```\n"
    "```python\ndef double(x): return x\n```",
    "a later definition in the same block": "```python\ndef double(x): return 2 * x\n"
    "double = abs\n```",
    "in a thought": "<think>\n```python\ndef double(x): return 2 * x\n```\n",
    "in a thought that the prompt opened": "```python\ndef double(x): return 2 * x\n```\n",
    "in a thought, said otherwise": "<think>\n```python\ndef double(x): return 2 * x\n```\n"
    "</think>\n```python\ndef double(x): return x\n```",
    "in a string": '```python\nx = """\n```python\ndef double(x): return 2 * x\n```\n"""\n```',
    "in a comment": "```python\n# def double(x): return 2 * x\n```",
    "in another language": "```js\nfunction double(x) { return 2 * x }\n```",
    "a class of the name": "```python\nclass double: pass\n```",
}


@pytest.mark.parametrize("name", ANSWERS)
def test_no_way_of_writing_makes_it_right(name: str, sandbox: Sandbox) -> None:
    mark = "<think>" if "opened" in name else ""
    assert code([ANSWERS[name]], [TESTS], opened_thoughts=[mark]) == [0.0]


@pytest.mark.parametrize(
    "code",
    [
        "def double(x): return 2 * x",
        "def double(x):\n    print('thinking', x)\n    return x + x",
        "class double:\n    def __new__(cls, x): return x * 2",
        "import enum\ndouble = lambda x: enum.IntEnum('E', {'V': 2 * x}).V",  # an int all the same
        "from dataclasses import dataclass\n@dataclass\nclass Two:\n    n: int = 2\n"
        "def double(x): return Two().n * x",
        "import sys\nsys.stdout = None\ndef double(x): return x << 1",
        "if __name__ == '__main__': raise ValueError\ndef double(x): return 2 * x",
    ],
)
def test_honest_answers_are_right(code: str, sandbox: Sandbox) -> None:
    assert judge(code, parse(TESTS), sandbox).verdict == "right"
