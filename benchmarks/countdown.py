"""The improvement table of Countdown: recipes × seeds, exact held-out numbers before and after.

    python benchmarks/countdown.py                  all recipes, seeds 0, 1, 2
    python benchmarks/countdown.py --seeds 0 --recipes countdown grpo

Runs one after another, each a `flowbalance train` in runs/results/; what is finished is kept,
so that it can be stopped and started. Writes docs/results/countdown.md and countdown.svg.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean

from rich.console import Console

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


def run(name: str, seed: int) -> dict[str, dict[str, float]]:
    """The summary of one run; trained only if it is not there yet."""
    folder = RUNS / f"{name.split()[0]}-{seed}"
    summary = folder / "summary.json"
    if not summary.is_file():
        command = [sys.executable, "-m", "flowbalance", "train"]
        began = time.monotonic()
        if any(folder.glob("checkpoint-*")):
            arguments = ["--resume", str(folder)]
        else:
            arguments = [*RECIPES[name], f"seed={seed}", f"output={folder}"]
        console.print(f"{name}, seed {seed}: flowbalance train {' '.join(arguments)}")
        subprocess.run([*command, *arguments], cwd=ROOT, check=True)
        (folder / "seconds.json").write_text(json.dumps(time.monotonic() - began))
    result = json.loads(summary.read_text())
    result["seconds"] = json.loads((folder / "seconds.json").read_text())
    return result


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
    results = {name: {seed: run(name, seed) for seed in options.seeds} for name in options.recipes}
    write_table(results)
    draw(results)
    console.print(f"wrote {RESULTS / 'countdown.md'} and countdown.svg")


if __name__ == "__main__":
    main()
