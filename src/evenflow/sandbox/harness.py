"""What the sandboxed process does once it is closed: run code, and report what it returns.

Nothing here is trusted by the parent. It never holds an expected value, so code that reads or
rewrites it gains nothing but the chance to report values of its own, which are then compared.

Lines of the report: a value (see plain.py) for each call, ``!name`` for the exception that ended
the code (``!OSError:27`` with an errno).

Runs inside the sandboxed process: the standard library only.
"""

from __future__ import annotations

import importlib
import os
import site
import sys
import types
from collections.abc import Callable
from typing import Any

plain: Any = importlib.import_module("plain")  # a neighbour; see launcher.py


def run(job: dict[str, Any], report: int) -> None:
    """Do the job and leave.

    A program ends as Python ends, for many start a thread and do not wait for it, or write their
    output at exit; after calls there is nothing more to wait for.
    """
    add_builtins()
    status = 0
    try:
        MODES[job["mode"]](job, report)
    except SystemExit as error:
        status = exit_status(error)
    except BaseException as error:
        status = 1
        try:
            number = f":{error.errno}" if isinstance(error, OSError) else ""
            write(report, f"!{type(error).__name__}{number}".encode())
            for _ in range(2):  # the first frames are this file's
                error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
            sys.__excepthook__(type(error), error, error.__traceback__)
        except BaseException:  # out of memory again, a closed descriptor: the status says enough
            pass
    if job["mode"] == "script":
        sys.exit(status)
    flush()
    os._exit(status)


def add_builtins() -> None:
    """`exit`, `quit`, `help` and the like, which Python started with -S lacks (nothing else of
    `site` is wanted: its folders of packages are outside the sandbox)."""
    site.setquit()
    site.setcopyright()
    site.sethelper()


def exit_status(error: SystemExit) -> int:
    """As Python ends by itself: None is 0, a message goes to stderr and is 1."""
    if error.code is None or isinstance(error.code, int):
        return int(error.code or 0) & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def flush() -> None:
    """What the code has printed and Python has kept."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # closed or replaced by the code
            continue


def write(report: int, line: bytes) -> None:
    """A line of the report."""
    left = memoryview(line + b"\n")
    while left:
        left = left[os.write(report, left) :]


def namespace(name: str) -> dict[str, Any]:
    """A fresh module's globals; registered, because dataclasses and pickle look modules up."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    return vars(module)


def compiled(code: str, name: str) -> types.CodeType:
    """As a file of its own: what this one imports from `__future__` is no part of it."""
    return compile(code, name, "exec", dont_inherit=True)


def script(job: dict[str, Any], report: int) -> None:
    """A program that reads standard input and writes standard output."""
    space = namespace("__main__")
    space["__file__"] = "answer.py"
    exec(compiled(job["code"], "answer.py"), space)


def load(code: str) -> tuple[dict[str, Any], list[str]]:
    """What code defines, and the names that it binds itself, in their order: not by a star."""
    import dis  # what a program needs none of takes time in each of its runs

    space = namespace("answer")
    module = compiled(code, "answer.py")
    exec(module, space)
    binds = ("STORE_NAME", "STORE_GLOBAL")
    return space, [each.argval for each in dis.get_instructions(module) if each.opname in binds]


def resolve(space: dict[str, Any], name: str, bound: list[str]) -> Callable[[], Any]:
    """What gives a function, or a method of a class without arguments, ``Solution.solve``: of
    ``Solution`` a new one each time, as on LeetCode.

    Who was asked for one may have written the other: a method of a class ``Solution``, which also
    goes before a stub of the function. A name counts that the code binds, or what it makes
    otherwise; what a star brings before it is not its own.
    """
    first, *rest = name.split(".")

    def last(name: str) -> int:
        return max((at for at, each in enumerate(bound) if each == name), default=-1)

    if first != "Solution" and last("Solution") > last(first):
        if callable(getattr(space.get("Solution"), first, None)):
            first, rest = "Solution", [first, *rest]
    elif first == "Solution" and last(first) < 0 and rest:
        first, *rest = rest
    found = space[first]
    if last(first) < 0 and getattr(found, "__module__", None) != space["__name__"]:
        raise NameError(f"name {first!r} is not defined", name=first)

    def made() -> Any:
        value = found
        for part in rest:
            value = getattr(value() if isinstance(value, type) else value, part)
        return value

    if first == "Solution" and rest:
        return made
    function = made()
    return lambda: function


def calls(job: dict[str, Any], report: int) -> None:
    """Call a function on one input after another; the first exception ends it."""
    space, bound = load(job["code"])
    function = resolve(space, job["entry_point"], bound)
    for line in job["calls"]:
        given = plain.decode(line.encode())  # a list; with arguments by name a pair
        positional, named = given if isinstance(given, tuple) else (given, {})
        write(report, plain.encode(function()(*positional, **named)))


def record(job: dict[str, Any], report: int) -> None:
    """Run ``check(candidate)`` with a reference solution and report what it is called with."""
    import inspect

    space, bound = load(job["code"])
    function = resolve(space, job["entry_point"], bound)()

    def candidate(*arguments: Any, **named: Any) -> Any:
        if named:  # an answer may call them otherwise: by their places
            bound = inspect.signature(function).bind(*arguments, **named)
            if bound.kwargs:
                raise TypeError("the check names an argument that has no place")
            arguments = bound.args
        write(report, plain.encode(list(arguments)))
        return function(*arguments)

    exec(compiled(job["check"], "check.py"), space)
    space["check"](candidate)


MODES = {"script": script, "calls": calls, "record": record}
