"""Which of an answer's blocks is its program."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from evenflow.rewards.code.bodies import is_body
from evenflow.rewards.code.excerpts import (
    code_lines,
    is_elided,
    is_excerpt,
    leaves_out,
)
from evenflow.rewards.code.names import (
    ASSIGNMENT,
    DEFINITION,
    IMPORT,
    LITERALS,
    NAME,
    PRINTS,
    completed,
    defined,
    definitions,
    is_empty,
    is_stub,
    masked,
    runs_on_input,
    statements,
    unbound,
)

CODE = re.compile(r"\w ?\(|=|^\s*(?:import|return|print)\b", re.MULTILINE)
PSEUDO_CODE = re.compile(r"←|<- |\bend (?:if|for|while|function)\b|\bthen[ \t]*$", re.MULTILINE)
# A test of another program: it gives it an input of its own.
FEEDS = re.compile(
    r"\bsys\.stdin[ \t]*=[ \t]*(?:io\.)?(?:StringIO|BytesIO|TextIOWrapper)[ \t]*\("
    r"(?![ \t]*(?:io\.BytesIO\()?(?:os\.read|sys\.stdin|open)\b)"
    r"|\bsys\.stdin[ \t]*=[ \t]*(?:Mock\w*|Fake\w*)[ \t]*\(|\bbuiltins\.input[ \t]*="
)
PATCHES = re.compile(
    r"\b(?:patch|setattr)[ \t]*\([ \t]*(?:['\"](?:sys\.stdin|(?:builtins|__main__)\.input)['\"]"
    r"|(?:sys|builtins)[ \t]*,[ \t]*['\"](?:stdin|input)['\"])"
)
KEEPS = re.compile(r"\w[ \t]*=[ \t]*sys\.stdin[ \t]*$", re.MULTILINE)
RESTORES = re.compile(r"\bsys\.stdin[ \t]*=[ \t]*\w+[ \t]*$", re.MULTILINE)
ASKS = re.compile(r"\binput[ \t]*\([ \t]*f?['\"][^'\"\n]")
"""A question to a person, which is printed."""
LOOKED_AT = 8
"""Programs from the last one on that may be shown for something else."""
VALUE = re.compile(r"[\d.\s+*/%-]*|\s*(?:None|True|False|[\[{].*)\s*", re.DOTALL)


@dataclass(frozen=True)
class Asked:
    """What an answer must define; nothing: a program that reads and prints."""

    name: str | None
    method: str | None = None
    """Of the class of that name."""


@dataclass(frozen=True)
class Part:
    """A block that may be the program."""

    code: str
    is_python: bool
    """Whether its fence says so."""
    is_mistake: bool = False
    """Whether it is called wrong."""
    is_version: bool = False
    """Whether it is called a whole program."""


def chosen(parts: Sequence[Part], asked: Asked) -> str:
    """The program, after what it uses of other blocks."""
    python = [part.code for part in parts if part.is_python]
    unnamed = [part.code for part in parts if not part.is_python]
    fit = [at for at, part in enumerate(parts) if is_whole(part.code, asked)]
    named = next((at for at in fit if parts[at].is_python), len(parts))
    fit = [at for at in fit if at < named or not _is_pseudo_code(parts[at])]
    fit = [at for at in fit if not parts[at].is_mistake] or fit
    if fit:
        last = _last(parts, fit, asked)
        program = parts[last]
        before, after = (
            [part.code for part in some if part.is_python or not program.is_python]
            for some in (parts[:last], parts[last + 1 :])
        )
        return completed(program.code, [*after, *before])
    name = asked.name
    body = bool(name) and any(is_body(part.code) for part in parts)
    for codes in (python, unnamed):
        fit = [at for at, code in enumerate(codes) if _may_answer(code, name, body)]
        if fit:
            others = [*codes[fit[-1] + 1 :], *codes[: fit[-1]]]
            return _steps(codes, name) or completed(codes[fit[-1]], others)
    codes = python or unnamed
    # After a stub its body, not the example of how it is called.
    fit = [at for at, code in enumerate(codes) if is_body(code)] if name else []
    fit = fit or [at for at, code in enumerate(codes) if CODE.search(code)]
    last = fit[-1] if fit else len(codes) - 1
    return completed(codes[last], codes[:last])


def _last(parts: Sequence[Part], fit: Sequence[int], asked: Asked) -> int:
    """The last of the programs, but for those that are shown for something else."""
    shown = {at: _asked_part(parts[at].code, asked) for at in fit}
    lines = {at: code_lines(code) for at, code in shown.items()}
    full = [at for at in fit if not is_elided(lines[at])]
    codes = [part.code for part in parts]
    found: list[int] = []
    for at in reversed(full[-LOOKED_AT:]):
        says_so = leaves_out(shown[at])
        earlier = [] if parts[at].is_version and not says_so else [e for e in full if e < at]
        if any(is_excerpt(lines[at], lines[each], says_so) for each in earlier):
            continue
        found.append(at)
        if asked.name or _runs_alone(codes[at], [*codes[at + 1 :], *codes[:at]]):
            return at
    return (found or fit[-1:])[0]


def _is_pseudo_code(part: Part) -> bool:
    """Whether a block without a name is rather the outline of a program."""
    return not part.is_python and PSEUDO_CODE.search(masked(part.code)) is not None


def _runs_alone(code: str, others: Sequence[str]) -> bool:
    """Whether it is a program that a judge may run: not a test of another one, with an input of its
    own, no talk with a person, no lines of a longer one."""
    bare = LITERALS.sub(lambda m: "" if m[0].startswith("#") else m[0], code)
    plain = masked(code)
    tests = FEEDS.search(plain) or PATCHES.search(bare)
    tests = tests or (KEEPS.search(plain) and RESTORES.search(plain))
    return not tests and not ASKS.search(bare) and not unbound(completed(code, others))


def _steps(codes: Sequence[str], name: str | None) -> str:
    """The blocks one after another where they are a program together, step by step, and the last
    cannot stand alone; else nothing."""
    together = "\n".join(codes)
    if name is None and is_whole(together, Asked(None)) and unbound(codes[-1]):
        return "" if unbound(together) or FEEDS.search(masked(together)) else together
    return ""


def is_whole(code: str, asked: Asked) -> bool:
    """Whether a block is a program for the tests: it defines the name itself (a usage may import
    it), with a body; or it reads and prints."""
    if asked.name is None:
        return runs_on_input(code) and PRINTS.search(masked(code)) is not None
    if not defines(code, asked.name, imported=False) or is_stub(code, asked.name):
        return False
    if asked.method:
        own = rf"^[ \t]+(?:(?:async[ \t]+)?def[ \t]+{asked.method}\b|{asked.method}[ \t]*=)"
        if not re.search(own, masked(code), re.MULTILINE):
            return False
    part = _asked_part(code, asked)
    return part == code or not is_empty(part)


def _may_answer(code: str, name: str | None, body: bool) -> bool:
    """The same of a block that may only import the name, be a stub, or not print. `body`: there is
    a block that is the body of a stub."""
    if name is None:
        return runs_on_input(code)
    return defines(code, name) and not (body and is_stub(code, name))


def defines(code: str, name: str, imported: bool = True) -> bool:
    """Whether a program defines a name, maybe as a method of a class ``Solution``."""
    names = definitions(code, imported)
    if name in names and not _is_use(code, name):
        return True
    method = rf"^[ \t]+def[ \t]+{re.escape(name)}\b"
    return "Solution" in names and re.search(method, masked(code), re.MULTILINE) is not None


def _is_use(code: str, name: str) -> bool:
    """Whether a name is only given another value, a plain one or what it makes itself
    (``f = f(2)``): then it is defined elsewhere."""
    is_used = False
    for statement in statements(code):
        plain = masked(statement)
        binds = name in defined(statement)
        if DEFINITION.match(plain) or IMPORT.match(plain):
            if binds:
                return False
            continue
        target = ASSIGNMENT.match(plain) if binds else None
        value = plain[target.end() :] if target else plain
        is_used = is_used or (name in NAME.findall(value) and not (binds and "lambda" in value))
        if target:
            return is_used or VALUE.fullmatch(value) is not None
    return False


def _asked_part(code: str, asked: Asked) -> str:
    """The function or method that is asked for, where it is one; else all of the code."""
    name = asked.method or asked.name
    if name is None:
        return code
    plain = masked(code)
    header = rf"^[ \t]*(?:async[ \t]+)?def[ \t]+{re.escape(name)}\b"
    found = list(re.finditer(header, plain, re.MULTILINE))
    if not found:
        return code
    start = found[-1].start()
    indent = len(found[-1][0]) - len(found[-1][0].lstrip())
    return code[start : _end_of_suite(plain, start, indent)]


def _end_of_suite(plain: str, start: int, indent: int) -> int:
    """Where the suite ends whose header begins at a place, indented by so much."""
    depth, at = 0, start
    for line in plain[start:].splitlines(keepends=True):
        inner = len(line) - len(line.lstrip())
        if at > start and depth <= 0 and line.strip() and inner <= indent:
            return at
        depth += sum(map(line.count, "([{")) - sum(map(line.count, ")]}"))
        at += len(line)
    return at
