"""Every reference solution of HumanEval+ through the code reward, and "return None" instead.

    python benchmarks/code_reward.py humanevalplus.jsonl.gz

Prints verdicts, seconds on all cores, and processor seconds of this process and the sandboxes (on
a machine with other things to do, only these can be compared). The first pass also computes the
expected values, by running the same solutions. Exits with status 1 unless all of the first are
right and all of the second wrong.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import sys
import time
from collections import Counter
from pathlib import Path

from evenflow.machine import cores
from evenflow.rewards.code import grade_rows


def processor_seconds() -> float:
    """Of this process and its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="HumanEval or HumanEval+ (JSONL, also .gz)")
    path = parser.parse_args().file
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        rows = [json.loads(line) for line in file]
    none = "def {}(*arguments):\n    return None\n"
    passes = {
        "right": [{**row, "response": row["answer"]} for row in rows],
        "wrong": [{**row, "response": none.format(row["entry_point"])} for row in rows],
    }
    as_it_should = True
    for expected, graded in passes.items():
        began, worked = time.monotonic(), processor_seconds()
        verdicts = list(grade_rows(graded))
        seconds, busy = time.monotonic() - began, processor_seconds() - worked
        counts = dict(Counter(verdict for verdict, _ in verdicts))
        print(f"{len(rows)} that are {expected}: {counts} ", end="")
        print(f"in {seconds:.1f} s on {cores()} cores, {busy:.1f} s of processor time")
        for row, (verdict, reason) in zip(graded, verdicts, strict=True):
            if verdict != expected:
                print(f"  {row['entry_point']}: {verdict}, {reason}")
                as_it_should = False
    return 0 if as_it_should else 1


if __name__ == "__main__":
    sys.exit(main())
