"""The improvement table of Countdown: recipes × seeds, exact held-out numbers before and after.

    python benchmarks/countdown.py                  all recipes, seeds 0, 1, 2
    python benchmarks/countdown.py --seeds 0 --recipes countdown grpo

Runs one after another, each a `evenflow train` in runs/results/; what is finished is kept,
so that it can be stopped and started. All finished runs are then written to
docs/results/countdown.md and countdown.svg.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean

from rich.console import Console

from evenflow.config import TrainConfig, load
from evenflow.run.files import read_jsonl

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs" / "results"
RESULTS = ROOT / "docs" / "results"
COUNTDOWN = "recipes/countdown.yaml"
RECIPES = {
    "countdown": ["recipes/countdown.yaml"],
    "flowrl (paper)": ["recipes/countdown_flowrl_paper.yaml"],
    "grpo": [COUNTDOWN, "algorithm=grpo", "objective={}"],
}
METRICS = ("accuracy", "pass@16", "distinct@16", "effective_solutions")
console = Console(highlight=False)


def run(name: str, seed: int) -> None:
    """One run, unless it is there; an interrupted one goes on."""
    folder = folder_of(name, seed)
    arguments = [*RECIPES[name], f"seed={seed}", f"output={folder}"]
    if (folder / "config.yaml").is_file():
        asked = load(TrainConfig, ROOT / arguments[0], arguments[1:])
        there = load(TrainConfig, folder / "config.yaml", [])
        if there.model_copy(update={"output": asked.output}) != asked:
            raise SystemExit(f"{folder} is of another recipe; remove it")
        arguments = ["--resume", str(folder)]
    if not (folder / "summary.json").is_file():
        console.print(f"{name}, seed {seed}: evenflow train {' '.join(arguments)}")
        subprocess.run(
            [sys.executable, "-m", "evenflow", "train", *arguments], cwd=ROOT, check=True
        )


def folder_of(name: str, seed: int) -> Path:
    return RUNS / f"{name.split()[0]}-{seed}"


def result(name: str, seed: int) -> dict:
    """The summary of a finished run, with the seconds that its steps and evaluations took."""
    folder = folder_of(name, seed)
    steps = read_jsonl(folder / "metrics.jsonl")
    seconds = sum(v for step in steps for k, v in step.items() if k.startswith("seconds/"))
    return json.loads((folder / "summary.json").read_text()) | {"seconds": seconds}


def row(name: str, seeds: str, results: list[dict]) -> str:
    """A line of the table: means over the results."""
    before, after = (
        {m: fmean(r[when][m] for r in results) for m in METRICS} for when in ("before", "after")
    )
    kept = " | ".join(f"{after[m] / before[m]:.1%}" for m in METRICS[1:])
    minutes = fmean(r["seconds"] for r in results) / 60
    gain = 100 * (after["accuracy"] - before["accuracy"])
    return (
        f"| {name} | {seeds} | {before['accuracy']:.1%} → {after['accuracy']:.1%} | {gain:+.1f} "
        f"| {kept} | {minutes:.1f} |"
    )


def write_table(results: dict[str, dict[int, dict]]) -> None:
    """The generated part of docs/results/countdown.md, between its markers."""
    lines = [
        "| recipe | seed | accuracy | points | pass@16 kept | distinct@16 kept "
        "| effective solutions kept | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, by_seed in results.items():
        lines += [row(name, str(seed), [result]) for seed, result in by_seed.items()]
        lines.append(row(f"**{name}**", "mean", list(by_seed.values())))
    page = RESULTS / "countdown.md"
    head, _, rest = page.read_text().partition("<!-- table -->\n")
    tail = rest.partition("<!-- end -->\n")[2]
    table = "\n".join(lines)
    page.write_text(f"{head}<!-- table -->\n{table}\n<!-- end -->\n{tail}")


def draw(results: dict[str, dict[int, dict]]) -> None:
    """Accuracy gained against diversity kept, a point a run."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name, by_seed in results.items():
        gains, kept = [], []
        for result in by_seed.values():
            before, after = result["before"], result["after"]
            gains.append(100 * (after["accuracy"] - before["accuracy"]))
            kept.append(100 * after["effective_solutions"] / before["effective_solutions"])
        axes.scatter(gains, kept, s=60, label=name, alpha=0.85)
    axes.axhline(100, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xlabel("accuracy gained on held-out questions (points, exact)")
    axes.set_ylabel("effective solutions kept (%)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "countdown.svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", nargs="*", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    for name in options.recipes:
        for seed in options.seeds:
            run(name, seed)
    finished = {
        name: [s for s in range(100) if (folder_of(name, s) / "summary.json").is_file()]
        for name in RECIPES
    }
    results = {
        name: {seed: result(name, seed) for seed in seeds}
        for name, seeds in finished.items()
        if seeds
    }
    write_table(results)
    draw(results)
    console.print(f"wrote {RESULTS / 'countdown.md'} and countdown.svg")


if __name__ == "__main__":
    main()
