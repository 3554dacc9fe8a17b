"""A process that asks math-verify, one comparison a line: JSON in, JSON out.

Run by `workers.py` as ``python -m flowbalance.rewards.math.worker SECONDS``. It may be killed at
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
    from math_verify import LatexExtractionConfig, parse, verify

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
        # An inequality may answer where an interval is asked.
        mixed = {} if whole else {"allow_set_relation_comp": True}
        return bool(verify(left, right, timeout_seconds=None, **mixed))
    except (MemoryError, RecursionError) as error:
        return f"math-verify: {type(error).__name__}"


if __name__ == "__main__":
    main()
