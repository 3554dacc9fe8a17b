"""One GPU, from its ceilings to a whole step: one table, with ratios to the ceilings and the peers.

    python benchmarks/gpu.py                     Qwen2 of 0.5 B parameters, random weights
    python benchmarks/gpu.py --only sampling     some of it
    python benchmarks/gpu.py --tiny --device cpu whether all of it runs, in seconds

Peers run in the same process: Transformers' generate, with its static cache, and generate_batch;
for the update a plain loop that holds whole logits. A part that fails says so, and the rest goes
on. Tokens of an update are those of prompts and answers, the prompt counted for each answer.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers
from gpu_parts.bench import Bench, ceilings
from gpu_parts.case import TINY, Case
from gpu_parts.learning import step, update
from gpu_parts.sampling import sampling
from transformers.utils import logging

from evenflow.run.folder import choose_device
from evenflow.run.provenance import device_name

SECTIONS = {"ceilings": ceilings, "sampling": sampling, "update": update, "step": step}


def show(bench: Bench) -> None:
    """All lines, aligned."""
    case = bench.case
    print(
        f"\n{device_name(bench.device)}, torch {torch.__version__}, transformers "
        f"{transformers.__version__}; Qwen2 of {case.layers} layers × {case.hidden}, vocabulary "
        f"{case.vocabulary:,}, random weights"
    )
    for row in bench.rows:
        number = f"{row.value:,.0f}" if row.value >= 1000 else f"{row.value:.3g}"
        more = [f"{ratio:.3g} × {name}" for name, ratio in row.ratios.items()]
        more += [row.remark] if row.remark else []
        more += [] if row.gib is None else [f"peak {row.gib:.1f} GiB"]
        print(f"{row.part:16}{row.name:26}{number:>10} {row.unit:9} {', '.join(more)}".rstrip())
    for name, reason in bench.failed.items():
        print(f"{name} failed: {reason}")


def as_json(bench: Bench) -> dict[str, Any]:
    """The same for programs."""
    return {
        "device": device_name(bench.device),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "case": asdict(bench.case),
        "rows": [asdict(row) for row in bench.rows],
        "failed": bench.failed,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--device", default="auto", help="auto, cpu, cuda (default auto)")
    add("--tiny", action="store_true", help="a model and answers of a few numbers")
    add("--only", choices=SECTIONS, action="append", help="this part alone (may be repeated)")
    add("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    options = parser.parse_args(arguments)
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        device = choose_device(options.device)
        bench = Bench(TINY if options.tiny else Case(), device, Path(scratch))
        for name, section in SECTIONS.items():
            if name in (options.only or SECTIONS):
                with bench.guarded(name):
                    section(bench)
    show(bench)
    if options.json:
        options.json.write_text(json.dumps(as_json(bench), indent=1) + "\n", encoding="utf-8")
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
