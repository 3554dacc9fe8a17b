"""Verdicts a second of the math reward, and what a hostile expression costs the others.

    python benchmarks/grading.py                    made-up numbers and expressions
    python benchmarks/grading.py math500.jsonl      also this file's golds (the field `answer`)

Each response is a paragraph that ends in a box, half of them with the right answer in another
spelling, half with another question's. Caches are emptied before each line that is printed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

from evenflow.machine import cores
from evenflow.rewards.math import grade_rows
from evenflow.rewards.math.workers import TIMEOUT, shared

SAID = "We set up the equations and solve them step by step. " * 20
HOSTILE = (r"9^{9^{9^9}}", r"\int_0^1 9^{9^{9^9}} dx", r"\log 9^{9^{9^9}}")
NESTED = "{" * 100_000


def empty_caches() -> None:
    """Those of every function of the reward."""
    for name, module in [*sys.modules.items()]:
        if name.startswith("evenflow.rewards.math"):
            for function in vars(module).values():
                if hasattr(function, "cache_clear"):
                    function.cache_clear()


def respelled(gold: str) -> str:
    """The same answer, written otherwise."""
    for old, new in (("\\frac", "\\dfrac "), (",", ",\\ "), ("+", " + "), ("=", " = ")):
        gold = gold.replace(old, new)
    return f" {gold} "


def rows_of(golds: list[str], draw: random.Random) -> list[dict[str, str]]:
    """Every gold twice: with itself respelled, and with another."""
    others = draw.sample(golds, len(golds))
    answers = [*map(respelled, golds), *others]
    return [
        {"response": f"{SAID}So the answer is $\\boxed{{{answer}}}$.", "gold": gold}
        for gold, answer in zip([*golds, *golds], answers, strict=True)
    ]


def timed(name: str, rows: list[dict[str, str]]) -> None:
    """Grade the rows; print the pace."""
    empty_caches()
    began = time.perf_counter()
    found = list(grade_rows(rows))
    seconds = time.perf_counter() - began
    counts = ", ".join(f"{n} {verdict}" for verdict, n in Counter(v for v, _ in found).items())
    asked = sum(reason == "math-verify" for _, reason in found)
    print(f"{name:18} {len(rows) / seconds:9,.0f} verdicts/s   {counts}; {asked} by math-verify")


def hostile(draw: random.Random) -> None:
    """How long 300 comparisons wait behind expressions that hang."""
    easy = [(str(n), rf"\log 10^{{{n}}}") for n in (draw.randrange(2, 400) for _ in range(300))]
    for name, attacks in (
        ("alone", ()),
        ("behind one that hangs", HOSTILE[:1]),
        ("three", HOSTILE),
    ):
        workers = shared()
        began = time.perf_counter()
        hanging = [workers.ask("5", attack) for attack in attacks]
        right = [workers.ask(gold, said) for gold, said in easy]
        assert all(answer.result() is True for answer in right)
        waited = time.perf_counter() - began
        assert all(isinstance(answer.result(), str) for answer in hanging)
        print(f"300 easy comparisons, {name}: {waited:.1f} s (limit of each {TIMEOUT:g} s)")
    began = time.perf_counter()
    found = list(grade_rows([{"response": f"\\boxed{{{NESTED}}}", "gold": "5"}]))
    print(f"100,000 nested braces: {found[0][0]} after {time.perf_counter() - began:.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, help="JSONL with the field `answer`")
    options = parser.parse_args()
    draw = random.Random(0)
    shared().ask("2", r"\log 100").result()  # the processes have started
    print(f"{cores()} cores")
    numbers = [str(draw.randrange(-(10**6), 10**6)) for _ in range(10_000)]
    timed("integers", rows_of(numbers, draw))
    timed("decimals", rows_of([f"{int(n) / 1000}" for n in numbers], draw))
    roots = [rf"\frac{{{n}+\sqrt{{{abs(int(n))}}}}}{{3}}" for n in numbers[:2000]]
    timed("roots", rows_of(roots, draw))
    for file in options.files:
        timed(file.name, rows_of([json.loads(line)["answer"] for line in file.open()], draw))
    hostile(draw)


if __name__ == "__main__":
    main()
