"""A process that asks math-verify, one comparison a line: JSON in, JSON out.

Run by `workers.py` as ``python -m evenflow.rewards.math.worker SECONDS``. It may be killed at
any moment, and kills itself (SIGALRM, at its default action, which also stops C code) where nobody
is left to do it.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
from typing import Any

PLACES = 60
MEMORY = 4 << 30
"""Bytes of address space; a power of powers asks for all there is."""


def main() -> None:
    """Answer lines until standard input ends."""
    seconds = float(sys.argv[1])
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        import math_verify  # noqa: F401

        ready = ""
    except Exception as error:
        ready = f"importing math-verify failed: {error}"
    print(json.dumps(ready), file=answers, flush=True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        answer = compare(**json.loads(line))
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(answer), file=answers, flush=True)


def compare(gold: str, said: str, whole: bool) -> bool | str:
    """Whether math-verify finds them equal, or why it cannot tell.

    `whole`: `said` is a whole response, from which math-verify takes the answer itself, as it does
    by default; else both are LaTeX. Its own limits of time are off: they are ours.
    """
    from math_verify import LatexExtractionConfig, grader, parse, verify

    def parsed(text: str, **options: Any) -> list:
        return parse(text, parsing_timeout=None, **options)  # type: ignore[arg-type]

    latex: dict[str, Any] = {
        "extraction_config": [LatexExtractionConfig()],
        "fallback_mode": "no_fallback",
    }
    try:
        if whole:
            left, right = parsed(f"\\boxed{{{gold}}}"), parsed(said)
        else:
            left, right = parsed(f"${gold}$", **latex), parsed(f"${said}$", **latex)
        if not left:
            return "math-verify cannot read the gold"
        # By itself it rounds to six decimals, and holds 1/2004! for 1/2006!.
        grader.sympy_numeric_eq = grader_of.setdefault("its own", grader.sympy_numeric_eq)
        if not whole:
            grader.sympy_numeric_eq = same_number
        # An inequality may answer where an interval is asked.
        mixed = {} if whole else {"allow_set_relation_comp": True}
        return bool(verify(left, right, timeout_seconds=None, **mixed))
    except (MemoryError, RecursionError) as error:
        return f"math-verify: {type(error).__name__}"


grader_of: dict[str, Any] = {}


def same_number(a: Any, b: Any, *_: int) -> bool:
    """Whether two of SymPy's numbers, or matrices of them, agree in all of `PLACES` digits; in six
    where one is a decimal."""
    if hasattr(a, "shape") or hasattr(b, "shape"):
        a, b = a.doit(), b.doit()
        if getattr(a, "shape", None) != getattr(b, "shape", None):
            return False
        return all(same_number(x, y) for x, y in zip(a.flat(), b.flat(), strict=True))
    a, b = a.doit(), b.doit()
    if a == b:
        return True
    if a.free_symbols or b.free_symbols:
        return False  # left to its algebra
    from sympy import Float

    digits = 6 if a.has(Float) or b.has(Float) else PLACES
    if not (a.is_finite and b.is_finite):
        return False
    size = max(abs(a.evalf(PLACES)), abs(b.evalf(PLACES)))
    gap = abs((a - b).evalf(PLACES, maxn=20 * PLACES))
    return bool(gap <= size * Float(10, PLACES) ** -digits)


if __name__ == "__main__":
    main()
