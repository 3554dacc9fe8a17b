"""What a text of Python defines and uses, read off its lines.

Untrusted code is not even parsed here: Python's parser prints warnings, and has been made to crash.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Sequence

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
    r"\binput\s*\(|\bstdin\b|\bopen\s*\(\s*(?:0\b|['\"]/dev/stdin)|\bread\s*\(\s*0\s*,"
)
BUILT_IN = set(dir(builtins))


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


def used(code: str) -> set[str]:
    """The names that stand in a program; those in strings, too, for f-strings use them."""
    return set(NAME.findall(code)) - BUILT_IN


def does_nothing_else(statement: str) -> bool:
    """Whether a statement defines something and that is all."""
    plain = masked(statement)
    if DEFINITION.match(plain) or IMPORT.match(plain):
        return True
    return bool(ASSIGNMENT.match(plain)) and set(CALL.findall(plain)) <= HARMLESS


def runs_on_input(code: str) -> bool:
    """Whether it is a program that reads standard input, and not only functions that would."""
    return READS.search(code) is not None and any(
        masked(statement).strip() and not does_nothing_else(statement)
        for statement in statements(code)
    )


def completed(code: str, others: Sequence[str]) -> str:
    """The code after the definitions that it uses and lacks: of the last of others that has one."""
    known = definitions(code)
    wanted = used(code) - known
    taken: list[str] = []
    for block in reversed(others):
        for statement in reversed(statements(block)):
            names = defined(statement) & wanted
            if names and does_nothing_else(statement):
                taken.insert(0, statement if statement.endswith("\n") else f"{statement}\n")
                known |= names
                wanted = (wanted | used(statement)) - known
    return "".join(taken) + code
