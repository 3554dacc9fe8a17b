"""Time and memory of each phase of a training step.

    python benchmarks/step.py                        the built-in recipe on this machine
    python benchmarks/step.py recipes/gsm8k.yaml model.path=MODEL data.train=FILE

Phases run as in `evenflow train`; the first step (allocation, warm caches) is left out. Memory
is the largest resident size of the process so far (CPU) or the peak allocation of the phase (GPU).
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.table import Table

from evenflow.config import TrainConfig, load
from evenflow.run.console import Display, console
from evenflow.training.trainer import Trainer

RECIPE = Path(__file__).parent.parent / "recipes" / "countdown.yaml"
MIB = 2**20


class MeasuredTrainer(Trainer):
    """A trainer whose phases also note the memory they reach."""

    peaks: dict[str, list[float]]

    @contextlib.contextmanager
    def _phase(self, name: str, display: Display) -> Iterator[None]:
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        with super()._phase(name, display):
            yield
            if cuda:
                torch.cuda.synchronize()
        peak = (
            torch.cuda.max_memory_allocated()
            if cuda
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        )
        self.peaks.setdefault(name.replace(" ", "_"), []).append(peak / MIB)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", nargs="?", default=str(RECIPE), help="default: countdown.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--steps", type=int, default=5, help="steps measured (default 5)")
    options = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as scratch:
        config = load(
            TrainConfig,
            options.recipe,
            [*options.overrides, f"output={scratch}", "evaluation.every=0"],
        )
        trainer = MeasuredTrainer(config, Path(scratch))
        trainer.peaks = {}
        seconds: dict[str, list[float]] = {}
        totals, tokens = [], []
        display = Display("step", options.steps + 1)
        for step in range(options.steps + 1):
            began = time.perf_counter()
            trainer.seconds = {}
            phase = functools.partial(trainer._phase, display=display)
            metrics = trainer.stepper.take(trainer.step, phase)
            elapsed = time.perf_counter() - began
            trainer.step += 1
            if step:
                totals.append(elapsed)
                tokens.append(metrics["tokens_per_second"] * elapsed)
                for phase, value in trainer.seconds.items():
                    seconds.setdefault(phase, []).append(value)
    total = statistics.median(totals)
    table = Table(title=f"{config.algorithm}, {config.model.path}, {trainer.device}")
    for heading in ("phase", "seconds", "share", "tokens/s", "peak MiB"):
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    per_step = statistics.median(tokens)
    for phase, values in seconds.items():
        median = statistics.median(values)
        table.add_row(
            phase,
            f"{median:.3f}",
            f"{median / total:.0%}",
            f"{per_step / median:,.0f}",
            f"{max(trainer.peaks[phase]):,.0f}",
        )
    table.add_row("step", f"{total:.3f}", "100%", f"{per_step / total:,.0f}", "")
    console.print(table)
    console.print(
        f"medians of {options.steps} steps, {torch.get_num_threads()} threads; tokens of answers"
    )


if __name__ == "__main__":
    main()
