"""A program whose text was cut off within its last statement."""

from __future__ import annotations

import re
from textwrap import dedent

from evenflow.rewards.code.names import (
    DEFINITION,
    IMPORT,
    LINE,
    LITERALS,
    defined,
    masked,
    mentioned,
    statements,
    unbound,
)

HEADER = re.compile(
    r"\s*(?:async[ \t]+)?(?:def|class|for|while|if|elif|else|try|except|finally|with)\b[^:]*\Z"
)
# At the end of what is left of a line; only the line's end is looked at.
DANGLING = re.compile(
    r"(?:(?<!import )\*|[-+/%@&|^=<>~!\\:]|(?<![\d.])\.|[^\W\d]\w*\."
    r"|(?<!\w)(?:and|or|not|in|is|if|else|import|from|as|lambda|del|global|nonlocal|assert"
    r"|await|async|with|for|while|def|class|elif))\Z"
)
NEEDS = ((" if ", " else "), ("lambda ", ":"))
"""What stands in a line, and what must come after it."""
OPEN_LIST = re.compile(r"\s*(?:from|import|global|nonlocal|assert)\b")
DECORATOR = re.compile(r"\s*@")
FROM = re.compile(r"\s*from\b")
WORD = re.compile(r"(?<![\w.])[^\W\d]\w*\Z")
NOTHING = re.compile(r"[\w.]+")
"""A word or a number by itself: it does nothing, or was to become something."""
DOES = ("pass", "...", "break", "continue", "return")
UNCLOSED = re.compile(r"'(?:\\.|[^'\\])*+\Z|\"(?:\\.|[^\"\\])*+\Z", re.DOTALL)
END = 80
"""Characters of a line's end that are looked at."""
ROUNDS = 2
"""Statements that may go: ``try:`` goes after the ``exc`` that was to end it."""


def without_cut_off(code: str, name: str | None, method: str | None, ends: bool) -> str:
    """The code without its last statement where the text ends within it, and it is not what
    defines the name: in a bracket, a string or after a header; or, if the text `ends` with the
    code, in any other place. Of a class that is asked for, without its last member likewise.
    """
    for _ in range(ROUNDS):
        *before, last = statements(code) or [""]
        if name and name in defined(last):
            return _without_member("".join(before), last, method, ends) if method else code
        rest = "".join(before)
        if not rest.strip():
            return code
        if not (_is_open(last) or (ends and (_breaks_off(last) or _is_begun(rest, last)))):
            return code
        code = rest
    return code


def _without_member(before: str, last: str, method: str | None, ends: bool) -> str:
    """The same of the last member of a class."""
    header, *body = LINE.findall(last)
    if not header.startswith("class") or not body:
        return before + last
    suite = dedent("".join(body))
    kept = LINE.findall(without_cut_off(suite, method, None, ends))
    return before + header + "".join(body[: len(kept)])


def _is_open(statement: str) -> bool:
    """Whether a statement ends within a bracket, a longer string, or after its header."""
    plain = masked(statement)
    header = "\n" not in plain.strip() and plain.rstrip().endswith(":")
    brackets = sum(map(plain.count, "([{")) > sum(map(plain.count, ")]}"))
    literal = _last_literal(statement)
    quotes = literal[:3] if literal[:3] in ('"""', "'''") else ""
    string = quotes and (len(literal) < 6 or not literal.endswith(quotes))
    return bool(header or brackets or string)


def _last_literal(statement: str) -> str:
    *_, literal = ["", *(found[0] for found in LITERALS.finditer(statement))]
    return literal


def _breaks_off(statement: str) -> bool:
    """Whether no statement of Python ends like this one: with an operator, a header without its
    colon, a `try` without what it is for."""
    literal = _last_literal(statement)
    if UNCLOSED.match(literal) and statement.rstrip("\n").endswith(literal):
        return True
    line, tries = "", set()
    for line in _lines(statement):
        word, indent = line.strip(), len(line) - len(line.lstrip())
        if re.match(r"try[ \t]*:", word):
            tries.add(indent)
        elif re.match(r"(?:except|finally)\b", word):
            tries.discard(indent)
    end = line[-END:]
    return bool(
        tries
        or HEADER.match(line)
        or DECORATOR.match(line)
        or DANGLING.search(end)
        or (OPEN_LIST.match(line) and end.endswith(","))
        or (FROM.match(line) and "import" not in line)
        or any(
            found and closes not in rest
            for opens, closes in NEEDS
            for _, found, rest in [line.rpartition(opens)]
        )
    )


def _with_empty_strings(code: str) -> str:
    """The code with nothing in its strings, and without comments."""
    return LITERALS.sub(lambda m: "" if m[0].startswith("#") else "''", code)


def _lines(statement: str) -> list[str]:
    """The logical lines, without what stands in brackets, strings and comments."""
    found, depth, goes_on = [""], 0, False
    for line in _with_empty_strings(statement).split("\n"):
        if not line.strip():
            continue
        kept = []
        for part in re.split(r"([(\[{)\]}])", line.rstrip()):
            closes = part in (")", "]", "}")
            depth = max(0, depth - 1) if closes else depth
            if depth == 0:
                kept.append(part)
            depth += part in ("(", "[", "{")
        text = "".join(kept)
        if goes_on:
            found[-1] += text
        else:
            found.append(text)
        goes_on = depth > 0 or text.endswith("\\")
    return found


def _is_begun(before: str, last: str) -> bool:
    """Whether a statement that is whole is hardly meant so: a word alone, one that ends with a name
    of nothing, an import of what nobody has used."""
    plain = _with_empty_strings(last).strip()
    names = defined(last) & mentioned(before)
    if DEFINITION.match(plain) or names:
        return False
    if IMPORT.match(plain):
        return "*" not in plain
    if NOTHING.fullmatch(last.strip()):
        return last.strip() not in DOES
    word = WORD.search(plain[-END:])
    return word is not None and word[0] in unbound(before + last)
