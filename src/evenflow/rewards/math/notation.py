"""What is written like a product and is none: angles, derivatives, values of functions."""

from __future__ import annotations

import re

ANGLE = re.compile(r"(?:\\angle|∠)\s*\{?\s*([A-Z])\s*([A-Z])\s*([A-Z])(?![A-Za-z])")
LEIBNIZ = re.compile(
    r"\\[dt]?frac\s*\{\s*(?:d|\\partial)\s*(?:\^\s*\{?\s*([0-9])\s*\}?)?\s*([A-Za-z])\s*\}\s*\{\s*(?:d|\\partial)\s*([A-Za-z])\s*"
    r"(?:\^\s*\{?\s*[0-9]\s*\}?)?\s*\}"
)
PRIMED = re.compile(r"(?<![A-Za-z\\])([a-z])\s*('+|\^\s*\{?(?:\s*\\prime\s*)+\}?)(?!\s*\()")
MIXED = re.compile(r"'\s*[-+]|[-+]\s*[a-z]'")
"""A derivative among other terms."""
CONSTANT = re.compile(r"(?<![A-Za-z\\])([CcKk])(?=_\{?[1-9])")
NAME = r"(?<![A-Za-z\\])(?:[fghFG]|\\(?:varphi|phi|tau|sigma|mu|zeta|Gamma)) ?"
CALL = re.compile(rf"{NAME}\((?:[A-Za-z0-9]|[0-9]{{1,9}}|{NAME}\([A-Za-z0-9]{{1,9}}\))\)")


def apart(gold: str, said: str) -> bool:
    """Whether an answer is about another angle than the gold, another derivative, or the value of
    another function, which by their letters as factors it might equal."""
    for written in (_angles, _derivatives):
        ours, theirs = written(gold), written(said)
        if ours and theirs and not ours & theirs:
            return True
    primes = _primes(gold), _primes(said)
    if "=" in gold and "=" in said and all(primes) and primes[0] != primes[1]:
        return True
    calls = set(CALL.findall(_plain(gold)))
    bound = "=" in gold + said or "\\int" in gold or "\\sum" in gold
    return bool(calls) and not bound and calls != set(CALL.findall(_plain(said)))


def with_one_letter(gold: str, said: str) -> tuple[str, str]:
    """Both with one letter for each derivative of an equation, y'' for instance, and with the
    gold's letter for the constants C_1, C_2."""
    if (constant := CONSTANT.search(gold)) and CONSTANT.search(said):
        said = CONSTANT.sub(constant[1], said)
    primes = sorted(_primes(gold) | _primes(said))
    if len(primes) < 2 and not MIXED.search(gold):
        return gold, said
    free = [c for c in "QWVUTRSNMLJHGDB" if c not in gold + said]
    if "=" not in gold or "=" not in said or len(free) < len(primes):
        return gold, said
    letter = dict(zip(primes, free, strict=False))

    def put(text: str) -> str:
        return PRIMED.sub(lambda m: letter[m[1], _times(m[2])], text)

    return put(gold), put(said)


def _times(marks: str) -> int:
    return marks.count("'") or marks.count("prime")


def _plain(text: str) -> str:
    return re.sub(r"\\(?:left|right)(?![A-Za-z])|\s", "", text)


def _angles(text: str) -> set[str]:
    """By their vertex and their two arms, in any order."""
    return {b + "".join(sorted((a, c))) for a, b, c in ANGLE.findall(text)}


def _derivatives(text: str) -> set[tuple[str, str, str]]:
    """Of dⁿy/dxⁿ n, y and x."""
    return set(LEIBNIZ.findall(text))


def _primes(text: str) -> set[tuple[str, int]]:
    """Names with how often they are derived."""
    return {(name, _times(marks)) for name, marks in PRIMED.findall(text)}
