"""What programs written for an ordinary judge expect to find, and how they end themselves."""

from __future__ import annotations

import pytest

from evenflow.sandbox import Sandbox

READS = "a, b = map(int, input().split())\n"
ENDS = {
    "exit()": f"{READS}print(a + b)\nexit()\nprint('never')",
    "quit()": f"{READS}print(a + b)\nquit()\nprint('never')",
    "exit(0)": f"{READS}print(a + b)\nexit(0)\n1 / 0",
    "sys.exit()": f"import sys\n{READS}print(a + b)\nsys.exit()\n1 / 0",
    "raise SystemExit": f"{READS}print(a + b)\nraise SystemExit\n1 / 0",
    "os._exit(0) after a flush": f"import os\n{READS}print(a + b, flush=True)\nos._exit(0)\n1 / 0",
    "inside a function": f"def main():\n    {READS}    print(a + b)\n    exit()\nmain()\n1 / 0",
    "inside loops": f"{READS}for i in range(9):\n    for j in range(9):\n        if i + j == a + b:"
    "\n            print(i + j)\n            exit()\n1 / 0",
    "inside a thread": f"import threading\ndef main():\n    {READS}    print(a + b)\n    exit()\n"
    "t = threading.Thread(target=main)\nt.start()\nt.join()",
    "before the rest of the input is read": "a, b = map(int, input().split())\n"
    "if a: print(a + b); exit()\nprint(input())",
    "within try and finally": f"{READS}try:\n    exit()\nfinally:\n    print(a + b)",
    "a name as a statement": f"{READS}print(a + b)\nexit",
    "at the end of main": f"import sys\ndef main():\n    {READS}    print(a + b)\n    return 0\n"
    "if __name__ == '__main__':\n    sys.exit(main())",
}


@pytest.mark.parametrize("how", ENDS)
def test_a_program_ends_itself_as_everywhere(sandbox: Sandbox, how: str) -> None:
    result = sandbox.script(ENDS[how], b"1 2\n")
    assert (result.stdout, result.exit, result.stderr) == (b"3\n", 0, b"")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("exit(3)", 3),
        ("quit('a message')", 1),
        ("raise SystemExit(True)", 1),
        ("import os; os._exit(2)", 2),
        ("exit(None)", 0),
        ("exit(256)", 0),  # eight bits are all that a process can say
    ],
)
def test_the_status_is_the_one_it_gave(sandbox: Sandbox, code: str, status: int) -> None:
    assert sandbox.script(f"print(3)\n{code}").exit == status


FINDS = {
    "the names of site": "print(*map(callable, (exit, quit, help, copyright, credits, license)))",
    "__main__": "import __main__, sys\nx = 3\nprint(__name__, __main__.x, sys.argv)",
    "standard input by number": "print(open(0).read())",
    "standard input by path": "import sys\nsys.stdin = open('/dev/stdin')\nprint(input())",
    "standard input as bytes": "import sys\nprint(sys.stdin.buffer.read().split())",
    "standard input by its size": "import os\nprint(os.read(0, os.fstat(0).st_size))",
    "standard input by lines": "import sys, fileinput\nprint([*fileinput.input()])",
    "a prompt": "print(input('Name: '))",
    "stars": "from typing import *\nfrom collections import *\nfrom math import *\nprint(List)",
    "decorators": "from functools import cache\nfrom dataclasses import dataclass\n@dataclass\n"
    "class A:\n    x: int = 1\n@cache\ndef f(): return A()\nprint(f())",
    "long integers": "import sys\nsys.set_int_max_str_digits(0)\nprint(len(str(10 ** 9999)))",
    "deep recursion": "import sys\nsys.setrecursionlimit(10 ** 6)\n"
    "def f(n): return 0 if n == 0 else 1 + f(n - 1)\nprint(f(10 ** 5))",
    "deep recursion through a cache": "import sys\nfrom functools import lru_cache\n"
    "sys.setrecursionlimit(10 ** 6)\n@lru_cache(None)\n"
    "def f(n): return 0 if n == 0 else 1 + f(n - 1)\n"
    "print(f(20_000 if sys.version_info < (3, 12) else 1_000))",  # later ones count C's frames
    "a thread with a large stack": "import sys, threading\nthreading.stack_size(1 << 27)\n"
    "t = threading.Thread(target=lambda: print(1))\nt.start()\nt.join()",
    "a stack without bound": "import resource\n"
    "_, hard = resource.getrlimit(resource.RLIMIT_STACK)\n"
    "resource.setrlimit(resource.RLIMIT_STACK, (hard, hard))\nprint(1)",
    "a part of the stack": "import resource\nhard = resource.getrlimit(resource.RLIMIT_STACK)[1]\n"
    "resource.setrlimit(resource.RLIMIT_STACK, [1 << 26, hard])\nprint(1)",
    "time zones": "import zoneinfo\nif 'Europe/Berlin' in zoneinfo.available_timezones():\n"
    "    zoneinfo.ZoneInfo('Europe/Berlin')\nprint(1)",
    "a pool of threads": "from concurrent.futures import ThreadPoolExecutor\n"
    "with ThreadPoolExecutor(2) as pool: print(*pool.map(abs, [-1]))",
}


@pytest.mark.parametrize("what", FINDS)
def test_a_program_finds_what_a_judge_has(sandbox: Sandbox, what: str) -> None:
    result = sandbox.script(FINDS[what], b"Ann\n")
    assert (result.exit, result.stderr) == (0, b"")
    assert result.stdout


@pytest.mark.parametrize("ends", ["exit()", "quit()", "raise SystemExit", "exit(0)"])
def test_a_call_that_ends_the_process_has_no_value(sandbox: Sandbox, ends: str) -> None:
    at_import = sandbox.calls(f"def f(x): return x\n{ends}", "f", [b"[1]"])
    in_call = sandbox.calls(
        f"def f(x):\n    if x == 2: {ends}\n    return x", "f", [b"[1]", b"[2]"]
    )
    assert (at_import.report, at_import.exit) == (b"", 0)
    assert (in_call.report, in_call.exit) == (b"1\n", 0)
