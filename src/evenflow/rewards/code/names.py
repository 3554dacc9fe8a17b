"""What a text of Python defines and uses, read off its lines.

Untrusted code is not even parsed here: Python's parser prints warnings, and has been made to crash.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Sequence
from importlib import import_module

# Comments, too. A string that is not closed ends with its line: else each of its quotes would be
# looked for once more from the next.
LITERAL = (
    r"('''|\"\"\").*?(?:\1|\Z)|'(?:\\.|[^'\\\n])*+(?:'|(?=\n|\Z)|\\\Z)"
    r"|\"(?:\\.|[^\"\\\n])*+(?:\"|(?=\n|\Z)|\\\Z)|#[^\n]*"
)
LITERALS = re.compile(LITERAL, re.DOTALL)
ODD = re.compile(
    LITERAL
    + "|(?P<space>[\u00a0\u2000-\u200a\u202f\u205f\u3000])"
    + "|(?P<nothing>[\u200b-\u200d\u2060\ufeff])",
    re.DOTALL,
)
LINE = re.compile(r"[^\n]*\n|[^\n]+")
NAME = re.compile(r"(?<![\w.])[^\W\d]\w*")
GOES_ON = re.compile(r"[\s)\]}]|(?:elif|else|except|finally)\b")
DEFINITION = re.compile(r"(?:@.*?\n)?(?:async[ \t]+)?(?:def|class)[ \t]+(?P<name>\w+)", re.DOTALL)
IMPORT = re.compile(
    r"import[ \t]+(?P<modules>[^\n;]+)|from[ \t]+[\w.]+[ \t]+import\b(?P<names>[^;]+)"
)
ASSIGNMENT = re.compile(r"(?P<names>\w+(?:[ \t]*[,=][ \t]*\w+)*)[ \t]*(?::[^=\n]+)?=(?!=)")
CALL = re.compile(r"(\w+)[ \t]*\(")
HARMLESS = {"float", "set", "dict", "list", "tuple", "range", "frozenset", "defaultdict", "deque"}
READS = re.compile(
    r"\binput\s*\(|=\s*input\b|\biter\s*\(\s*input\b|\bstdin\b(?!\s*=[^=])|\bopen\s*\(\s*(?:0\b|['\"]/dev/stdin)|\bread\s*\(\s*0\s*,"
)
BUILT_IN = set(dir(builtins))
FORMATTED = re.compile(r"[fF][rR]?$|[rR][fF]$")
BOUND = re.compile(
    r"^[ \t]*(?P<names>[\w*]+(?:[ \t]*[,=][ \t]*[\w*]+)*)[ \t]*(?::[^=\n]+)?=(?!=)"
    r"|\bfor\b(?P<targets>[^:\n]{0,200}?)\bin\b|\bas[ \t]+(?P<alias>\w+)"
    r"|(?<!\w)(?P<walrus>\w+)[ \t]*:="
    r"|\bdef[ \t]+\w+[ \t]*\((?P<parameters>[^()]{0,2000}(?:\([^()]{0,200}\)[^()]{0,200}){0,20})\)"
    r"|\blambda\b(?P<of>[^:\n]{0,200}):",
    re.MULTILINE,
)
PARAMETER = re.compile(r"(?:^|,)\s*\**(\w+)")
AFTER_SIGNATURE = re.compile(r"\s*(?:(?:->[^:\n]*)?:\s*(?:\.\.\.|pass)?\s*)?")
HEADER = re.compile(r"\s*(?:@|(?:async[ \t]+)?(?:def|class)\b[^\n]*:\s*(?:\.\.\.|pass)?\s*$)")
EMPTY = re.compile(
    r"\.\.\.|pass|raise[ \t]+NotImplementedError\b.*|(?:(?:async[ \t]+)?def|class)[ \t]+\w+[^:]*"
)
# What LiveCodeBench's own harness puts before every answer, a method's and a program's alike.
MODULES = (
    "string, re, datetime, collections, heapq, bisect, copy, math, random, statistics, itertools, "
    "functools, operator, io, sys, json, builtins, typing"
)
NO_NAMES = {*keyword.kwlist, *keyword.softkwlist, *BUILT_IN, "__name__", "__file__"}
THERE = {*MODULES.split(", "), *(n for m in MODULES.split(", ") for n in dir(import_module(m)))}
"""What may be there before an answer: some tests bring these modules and what is in them."""
PREFIX = re.compile(r"\b[rRbBuUfF]{1,2}(?=['\"])")
HIDES_NAMES = re.compile(r"\bimport[ \t]*\*|\b(?:exec|globals|locals|vars)[ \t]*\(")
NAMED_AFTER = re.compile(
    r"\b(?:def|class|from|import|global|nonlocal|case|except|as)\b([^\n;:(]*(?:\([^;:()]{0,2000}\))?)"
)
GIVEN = re.compile(r"(?<!\w)(\w+)[ \t]*=(?!=)|^[ \t]*(\w+)[ \t]*:", re.MULTILINE)
"""Arguments by their names, too, and what is annotated."""
IN_BRACKETS = re.compile(r"^[ \t]*[(\[]([\w\s,*()\[\]]{0,500})[)\]][ \t]*=(?!=)", re.MULTILINE)
SETS = re.compile(r"(?<![=!<>+\-*/%&|^@])=(?!=)")
PRINTS = re.compile(r"\bprint\b|\bwrite(?:lines)?\s*\(|\bstdout\b")


def tidied(code: str) -> str:
    """The code with plain spaces outside its strings, and without characters that nobody sees."""
    return ODD.sub(lambda m: " " if m["space"] else "" if m["nothing"] else m[0], code)


def masked(code: str) -> str:
    """The code with spaces for the characters of strings and comments."""
    return LITERALS.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), code)


def statements(code: str) -> list[str]:
    """The statements that are not within others, whole."""
    found: list[str] = []
    depth, decorated = 0, False  # of brackets; by what stands before
    for line, plain in zip(LINE.findall(code), LINE.findall(masked(code)), strict=True):
        goes_on = depth > 0 or GOES_ON.match(plain) is not None
        if found and (goes_on or decorated):
            found[-1] += line
        else:
            found.append(line)
        if not goes_on:
            decorated = plain.startswith("@")
        depth += sum(map(plain.count, "([{")) - sum(map(plain.count, ")]}"))
    return found


def defined(statement: str) -> set[str]:
    """The names that a statement defines by itself: of a function, a class, modules, variables."""
    plain = masked(statement)
    if found := DEFINITION.match(plain):
        return {found["name"]}
    if found := IMPORT.match(plain):
        parts = (found["modules"] or found["names"]).strip(" \t\n()").split(",")
        words = [part.split() for part in parts if part.strip()]
        return {words[-1] if "as" in words else words[0].partition(".")[0] for words in words}
    if found := ASSIGNMENT.match(plain):
        return set(re.split(r"[\s,=]+", found["names"]))
    return set()


def definitions(code: str, imported: bool = True) -> set[str]:
    """The names that a program defines outside functions and classes, or only those not
    `imported`."""
    return {
        name
        for statement in statements(code)
        if imported or not IMPORT.match(statement)
        for name in defined(statement)
    }


def mentioned(code: str) -> set[str]:
    """The names that stand in a program, and in its f-strings."""
    plain = LITERALS.sub(
        lambda m: (
            m[0]
            if FORMATTED.search(code[max(0, m.start() - 2) : m.start()])
            else re.sub(r"[^\n]", " ", m[0])
        ),
        code,
    )
    return set(NAME.findall(plain))


def used(code: str) -> set[str]:
    """The names that stand in a program, and that nothing in it binds."""
    bound: set[str] = set()
    for found in BOUND.finditer(masked(code)):
        for key in ("names", "targets", "alias", "walrus"):
            bound.update(re.findall(r"\w+", found[key] or ""))
        for key in ("parameters", "of"):
            bound.update(PARAMETER.findall(found[key] or ""))
    return mentioned(code) - BUILT_IN - bound


def unbound(code: str) -> set[str]:
    """The names in a program that nothing in it binds, wherever: it cannot run by itself. Rather
    too few than too many; those in f-strings do not count."""
    plain = masked(PREFIX.sub(lambda m: " " * len(m[0]), code)).replace("\\\n", " ")
    if HIDES_NAMES.search(plain):
        return set()
    bound = {word for found in NAMED_AFTER.finditer(plain) for word in NAME.findall(found[1])}
    for part in re.split(r"[\n;:]", plain):
        target = part[: found.start()] if (found := SETS.search(part)) else ""
        if target.count("(") <= target.count(")"):
            bound.update(NAME.findall(target))
    for each in (*GIVEN.finditer(plain), *IN_BRACKETS.finditer(plain)):
        bound.update(NAME.findall(each[0]))
    return used(plain) - bound - NO_NAMES - THERE


def does_nothing_else(statement: str) -> bool:
    """Whether a statement defines something and that is all."""
    plain = masked(statement)
    if DEFINITION.match(plain) or IMPORT.match(plain):
        return True
    return bool(ASSIGNMENT.match(plain)) and set(CALL.findall(plain)) <= HARMLESS


def is_stub(code: str, name: str) -> bool:
    """Whether a name's definition in a program has no body: a header, whole or cut off, a
    docstring, ``...``."""
    for statement in statements(code):
        if name in defined(statement) and DEFINITION.match(masked(statement)):
            return is_empty(statement)
    return False


def is_empty(definition: str) -> bool:
    """Whether a definition is but headers, docstrings and ``...``."""
    plain = masked(definition)
    depth = 0
    for line in filter(str.strip, plain.splitlines()):
        inside = depth > 0
        depth += sum(map(line.count, "([{")) - sum(map(line.count, ")]}"))
        if inside:  # of a signature, for no other line with an open bracket comes before
            if depth <= 0 and not AFTER_SIGNATURE.fullmatch(line.rpartition(")")[2]):
                return False
        elif not (EMPTY.fullmatch(line.strip()) or HEADER.match(line)):
            return plain.count("(") > plain.count(")")  # cut off
    return True


def without_stubs(code: str, sources: Sequence[str]) -> str:
    """The code without its stubs of what sources define in full: they would hide it."""
    parts = statements(code)
    stubs = {at: defined(part) for at, part in enumerate(parts) if _is_definition(part, False)}
    if not stubs:
        return code
    full = {
        name
        for source in sources
        for part in statements(source)
        if _is_definition(part, True)
        for name in defined(part)
    }
    return "".join(part for at, part in enumerate(parts) if not stubs.get(at, set()) & full)


def _is_definition(statement: str, full: bool) -> bool:
    """Whether a statement defines a function or a class, in full or as a stub."""
    return DEFINITION.match(masked(statement)) is not None and is_empty(statement) != full


def runs_on_input(code: str) -> bool:
    """Whether it is a program that reads standard input, and not only functions that would."""
    plain = masked(code)
    reads = any(not plain[found.start()].isspace() for found in READS.finditer(code))
    return reads and any(
        masked(statement).strip() and not does_nothing_else(statement)
        for statement in statements(code)
    )


def completed(code: str, others: Sequence[str]) -> str:
    """The code after the definitions that it uses and lacks: of the last of others that has one."""
    code = without_stubs(code, others)
    known = definitions(code)
    wanted = used(code) - known
    taken: list[str] = []
    there = known.union(*map(definitions, others))
    for block in reversed(others):
        for statement in reversed(statements(block)):
            names = defined(statement) & wanted
            runs_now = not re.match(r"(?:async|def|class|import|from)\b", statement)
            if runs_now and used(statement) - there - names:
                continue  # of an explanation: it would not run here
            if names and does_nothing_else(statement):
                taken.insert(0, statement if statement.endswith("\n") else f"{statement}\n")
                known |= names
                wanted = (wanted | used(statement)) - known
    return "".join(taken) + code
