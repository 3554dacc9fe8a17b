"""What learning from older answers does: lag and replay × presets × seeds on Countdown.

    python benchmarks/staleness.py                  everything, seeds 0, 1, 2
    python benchmarks/staleness.py --seeds 0        one seed
    python benchmarks/staleness.py --only-write     the table and the picture of what is finished

Runs one after another, each a `evenflow train` in runs/staleness/; what is finished is kept, and
what was interrupted goes on. Held-out scores are exact, every 10 steps. All finished runs are then
written to docs/results/staleness.csv, staleness.svg and the table of staleness.md.
"""

from __future__ import annotations

import argparse
import csv
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from rich.console import Console

from evenflow.run.files import read_jsonl

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs" / "staleness"
PAGE = ROOT / "docs" / "results" / "staleness.md"
COMMON = [
    *("objective={}", "train.steps=60", "evaluation.every=10", "evaluation.questions=100"),
    *("checkpoint.every=30", "checkpoint.keep=1", "train.correction.kind=none"),
]
PRESETS = ("tba", "flowrl", "grpo")
SETTINGS = {
    "lag 0": [],
    "lag 1": ["rollout.lag=1"],
    "lag 4": ["rollout.lag=4"],
    "lag 16": ["rollout.lag=16"],
    "replay 8": ["rollout.replay.questions=8"],
}
SCORES = ("accuracy", "effective_solutions", "distinct@16", "pass@16")
console = Console(highlight=False)


def folder_of(preset: str, setting: str, seed: int) -> Path:
    return RUNS / f"{preset}-{setting.replace(' ', '')}-{seed}"


def run(preset: str, setting: str, seed: int) -> None:
    """One run, unless it is there; an interrupted one goes on."""
    folder = folder_of(preset, setting, seed)
    if (folder / "summary.json").is_file():
        return
    arguments = ["recipes/countdown.yaml", f"algorithm={preset}", *COMMON, *SETTINGS[setting]]
    arguments += [f"seed={seed}", f"output={folder}"]
    if any(folder.glob("checkpoint-*")):
        arguments = ["--resume", str(folder)]
    console.print(f"evenflow train {' '.join(arguments)}")
    subprocess.run(
        [sys.executable, "-m", "evenflow", "train", *arguments],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def curves(seeds: list[int]) -> Iterator[dict]:
    """Held-out scores along the finished runs, with the step's numbers of staleness."""
    for preset in PRESETS:
        for setting in SETTINGS:
            for seed in seeds:
                folder = folder_of(preset, setting, seed)
                if not (folder / "summary.json").is_file():
                    continue
                for row in read_jsonl(folder / "metrics.jsonl"):
                    if "test/accuracy" not in row:
                        continue
                    scores = {name: round(row[f"test/{name}"], 5) for name in SCORES}
                    more = {name: row.get(name, "") for name in ("staleness/mean", "weight/p99")}
                    yield {
                        "preset": preset,
                        "setting": setting,
                        "seed": seed,
                        "step": row["step"],
                        **scores,
                        **more,
                    }


def written() -> Iterator[dict]:
    """The rows of the CSV."""
    if not PAGE.with_suffix(".csv").is_file():
        return
    with PAGE.with_suffix(".csv").open(newline="") as file:
        for row in csv.DictReader(file):
            of_text = {key: row.pop(key) for key in ("preset", "setting")}
            numbers = {key: float(value) if value else "" for key, value in row.items()}
            yield of_text | numbers | {"seed": int(row["seed"]), "step": int(row["step"])}


def write(seeds: list[int]) -> None:
    """The CSV, the table and the picture, of the finished runs and of those that the CSV knows and
    whose folders are gone."""
    found = list(curves(seeds))
    known = {(row["preset"], row["setting"], row["seed"]) for row in found}
    rows = found + [r for r in written() if (r["preset"], r["setting"], r["seed"]) not in known]
    rows.sort(
        key=lambda r: (r["seed"], PRESETS.index(r["preset"]), [*SETTINGS].index(r["setting"]))
    )
    if not rows:
        raise SystemExit("no run is finished yet")
    with PAGE.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    table = [
        "| preset | setting | seeds | accuracy (lowest – highest) | effective solutions "
        "| distinct@16 | staleness |",
        "|---|---|---|---|---|---|---|",
        *(line(preset, setting, rows) for preset in PRESETS for setting in SETTINGS),
    ]
    text = re.sub(
        r"(?s)<!-- table -->.*<!-- end -->",
        "\n".join(["<!-- table -->", *filter(None, table), "<!-- end -->"]),
        PAGE.read_text(),
    )
    PAGE.write_text(text)
    draw(rows)


def line(preset: str, setting: str, rows: list[dict]) -> str:
    """Means over the seeds at the runs' ends."""
    mine = [r for r in rows if (r["preset"], r["setting"]) == (preset, setting)]
    last = [r for r in mine if r["step"] == 60]
    if not last:
        return ""
    means = {name: fmean(r[name] for r in last) for name in SCORES}
    accuracies = [r["accuracy"] for r in last]
    stale = fmean(r["staleness/mean"] for r in last)
    return (
        f"| {preset} | {setting} | {len(last)} | {means['accuracy']:.1%} ({min(accuracies):.1%} – "
        f"{max(accuracies):.1%}) | {means['effective_solutions']:.2f} | {means['distinct@16']:.2f} "
        f"| {stale:.1f} |"
    )


def draw(rows: list[dict]) -> None:
    """Accuracy against effective solutions along training, a panel a preset, a line a run."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained", sharey=True)
    for panel, preset in zip(panels, PRESETS, strict=True):
        for color, setting in enumerate(SETTINGS):
            mine = [r for r in rows if (r["preset"], r["setting"]) == (preset, setting)]
            for number, seed in enumerate(sorted({r["seed"] for r in mine})):
                points = [r for r in mine if r["seed"] == seed]
                panel.plot(
                    [100 * r["accuracy"] for r in points],
                    [r["effective_solutions"] for r in points],
                    color=f"C{color}",
                    label=None if number else setting,
                    marker=".",
                    alpha=0.8,
                )
        panel.set_title(preset)
        panel.set_xlabel("accuracy on held-out questions (%, exact)")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("effective solutions")
    panels[0].legend(frameon=False)
    figure.savefig(PAGE.with_suffix(".svg"), metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--only-write", action="store_true")
    options = parser.parse_args()
    if not options.only_write:
        for seed in options.seeds:
            for preset in PRESETS:
                for setting in SETTINGS:
                    run(preset, setting, seed)
    write(options.seeds)


if __name__ == "__main__":
    main()
