"""Time and memory of each phase of a training step.

    python benchmarks/step.py                        the built-in recipe on this machine
    python benchmarks/step.py recipes/gsm8k.yaml model.path=MODEL data.train=FILE
    python benchmarks/step.py --against trl          in turns with TRL's GRPOTrainer, one thread

Phases run as in `evenflow train`; the first step (allocation, warm caches) is left out. Memory
is the largest resident size of the process so far (CPU) or the peak allocation of the phase (GPU).
Against TRL (in its environment, `make bench-trl`) both take steps of as many answers to the same
questions with the same model and a reference model; what counts is the process's CPU time.
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
from typing import Any

import torch
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer

from evenflow.config import TrainConfig, load
from evenflow.policy.loading import resolve
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
    parser.add_argument("--against", choices=["trl"], help="measure in turns with it")
    parser.add_argument(
        "--peer-batch",
        type=int,
        default=64,
        help="answers the peer learns from at once (%(default)s)",
    )
    options = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as scratch:
        config = load(
            TrainConfig,
            options.recipe,
            [*options.overrides, f"output={scratch}", "evaluation.every=0"],
        )
        ours = Ours(config, Path(scratch), options.steps)
        if options.against:
            against_trl(ours, options.steps, options.peer_batch, Path(scratch))
        else:
            for _ in range(options.steps + 1):
                ours.take()
            ours.print_phases()


class Ours:
    """Steps of the recipe, the first of which is not counted."""

    def __init__(self, config: TrainConfig, folder: Path, steps: int) -> None:
        self.config = config
        self.trainer = MeasuredTrainer(config, folder)
        self.trainer.peaks = {}
        self.display = Display("step", steps + 1)
        self.phases: dict[str, list[float]] = {}
        self.totals: list[float] = []
        self.tokens: list[float] = []

    def take(self) -> float:
        """One step; its CPU seconds."""
        trainer, began, busy = self.trainer, time.perf_counter(), time.process_time()
        trainer.seconds = {}
        phase = functools.partial(trainer._phase, display=self.display)
        metrics = trainer.stepper.take(trainer.step, phase)
        elapsed = time.perf_counter() - began
        trainer.step += 1
        if trainer.step > 1:
            self.totals.append(elapsed)
            self.tokens.append(metrics["tokens_per_second"] * elapsed)
            for name, value in trainer.seconds.items():
                self.phases.setdefault(name, []).append(value)
        return time.process_time() - busy

    def print_phases(self) -> None:
        total, per_step = statistics.median(self.totals), statistics.median(self.tokens)
        config, trainer = self.config, self.trainer
        table = Table(title=f"{config.algorithm}, {config.model.path}, {trainer.device}")
        for heading in ("phase", "seconds", "share", "tokens/s", "peak MiB"):
            table.add_column(heading, justify="left" if heading == "phase" else "right")
        for phase, values in self.phases.items():
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
            f"medians of {len(self.totals)} steps, {torch.get_num_threads()} threads; tokens of "
            "answers"
        )


def against_trl(ours: Ours, steps: int, batch: int, folder: Path) -> None:
    """A step of ours before each of TRL's GRPOTrainer; prints both and their ratio."""
    # TRL has an environment of its own, and nothing else here needs it.
    import trl
    from datasets import Dataset
    from transformers import TrainerCallback

    torch.set_num_threads(1)
    config, reward = ours.config, ours.trainer.questions.task.reward
    answers = config.rollout.questions * config.rollout.num_generations
    seconds: dict[str, list[float]] = {"evenflow": [], "trl": []}

    class InTurns(TrainerCallback):
        began = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            seconds["evenflow"].append(ours.take())
            self.began = time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds["trl"].append(time.process_time() - self.began)

    prompts = ours.trainer.questions.train
    model = resolve(config.model.path)
    peer = trl.GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        processing_class=AutoTokenizer.from_pretrained(model),
        reward_funcs=reward,
        train_dataset=Dataset.from_list([{**p.columns, "prompt": p.text} for p in prompts]),
        args=trl.GRPOConfig(
            output_dir=str(folder / "trl"),
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=answers // batch,
            num_generations=config.rollout.num_generations,
            max_completion_length=config.rollout.max_completion_length,
            temperature=config.rollout.temperature,
            learning_rate=config.train.learning_rate,
            beta=0.01,  # so that it, too, has a reference model
            max_steps=steps + 1,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        ),
        callbacks=[InTurns()],
    )
    peer.train()
    ours.print_phases()
    ratios = [b / a for a, b in zip(*seconds.values(), strict=True)][1:]
    console.print(
        f"{model.rsplit('/', 1)[-1]}, {config.rollout.questions} × {config.rollout.num_generations}"
        f" answers a step, one thread, medians of {steps} steps in turns, CPU seconds"
    )
    for name, values in seconds.items():
        version = f" {trl.__version__}" if name == "trl" else ""
        console.print(f"{name + version:14}{statistics.median(values[1:]):8.3f}")
    low, high = min(ratios), max(ratios)
    console.print(
        f"ratio of each turn: median {statistics.median(ratios):.2f}, {low:.2f} – {high:.2f}"
    )


if __name__ == "__main__":
    main()
