"""The results of a comparison as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evenflow.evaluation.columns import COLUMNS, Column, written
from evenflow.evaluation.exact import KS, exact_pass_at_ks
from evenflow.evaluation.statistics import Estimate, estimate, estimate_of_share, paired
from evenflow.studies.compare.measure import TEST
from evenflow.yaml_text import write_value

BASE = "base model"
COSTS = ("answers", "sampled_tokens", "gradient_steps", "cpu_seconds")


SECTIONS = {
    "Accuracy and diversity": (
        "accuracy",
        "accuracy_sampled",
        "distinct@16",
        "effective_solutions",
    ),
    "pass@k": tuple(f"pass@{k}" for k in KS),
    "The policy": ("entropy", "kl_reference", "residual"),
    "What it took": COSTS,
}
COMPARED = (
    "accuracy",
    "accuracy_sampled",
    *(f"pass@{k}" for k in KS[1:]),
    "distinct@16",
    "effective_solutions",
    "kl_reference",
)


@dataclass
class Results:
    """Scores by label, set of questions, measure and seed; the base model's have no seed."""

    labels: Sequence[str]
    baseline: str
    seeds: dict[str, list[int]] = field(default_factory=dict)
    scores: dict[tuple[str, str], dict[str, dict[int, float]]] = field(default_factory=dict)
    """(label, set) → measure → seed → value."""
    masses: dict[tuple[str, str], dict[int, list[list[float]]]] = field(default_factory=dict)
    base: dict[str, dict[str, float]] = field(default_factory=dict)
    """Set → measure → value."""
    questions: dict[str, int] = field(default_factory=dict)
    """How many each set has."""

    def add(self, label: str, seed: int, measured: dict, summary: dict) -> None:
        """A run's measurement and summary."""
        self.seeds.setdefault(label, []).append(seed)
        costs = {
            "answers": summary["answers"],
            "sampled_tokens": summary["sampled_tokens"],
            "gradient_steps": summary["optimizer_steps"],
            "cpu_seconds": summary["cpu_seconds"],
        }
        for name, of_set in measured["sets"].items():
            values = of_set["scores"] | (costs if name == TEST else {})
            table = self.scores.setdefault((label, name), {})
            for key, value in values.items():
                if value is not None:
                    table.setdefault(key, {})[seed] = float(value)
            if of_set["masses"] is not None:
                self.masses.setdefault((label, name), {})[seed] = of_set["masses"]

    def add_base(self, measured: dict) -> None:
        """The base model's measurement."""
        for name, of_set in measured["sets"].items():
            self.questions[name] = of_set["questions"]
            self.base[name] = {k: v for k, v in of_set["scores"].items() if v is not None}

    def values(self, label: str, name: str, key: str) -> dict[int, float]:
        """Seed → value."""
        return self.scores.get((label, name), {}).get(key, {})

    def mean(self, label: str, name: str, key: str) -> Estimate | None:
        """Over seeds."""
        values = list(self.values(label, name, key).values())
        exact = key.startswith("pass@") and (label, name) in self.masses
        if key == "accuracy_sampled" or (key.startswith("pass@") and not exact):
            return estimate_of_share(values, self.questions.get(name, 0))
        return estimate(values)

    def difference(self, label: str, name: str, key: str) -> Estimate | None:
        """To the baseline, seed by seed."""
        found = paired(self.values(label, name, key), self.values(self.baseline, name, key))
        both = [self.mean(each, name, key) for each in (label, self.baseline)]
        if found is None or found.half != 0 or None in both:
            return found
        # All seeds alike on both sides, shares of 0 or 1: their spread says nothing.
        return replace(found, half=sum(each.half or 0.0 for each in both if each))

    def known(self, name: str, keys: Sequence[str]) -> list[Column]:
        """Those columns of which any value is known."""
        tables = [self.base.get(name, {}), *(self.scores.get((x, name), {}) for x in self.labels)]
        return [COLUMNS[key] for key in keys if any(key in table for table in tables)]


# --- CSV --------------------------------------------------------------------------------------


def to_csv(results: Results) -> str:
    """A line a run, and for each label the mean over seeds, the half-width of its 95 % interval,
    and the same of the differences to the baseline. Empty: not known, or of no meaning."""
    keys = list(COLUMNS)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["questions", "algorithm", "seed", *keys])
    for name in results.base:
        base = results.base[name]
        writer.writerow([name, BASE, "", *(number(base.get(key)) for key in keys)])
        for label in results.labels:
            for seed in sorted(results.seeds.get(label, [])):
                row = [results.values(label, name, key).get(seed) for key in keys]
                writer.writerow([name, label, seed, *map(number, row)])
            summaries: list[tuple[str, Callable[[str], Estimate | None]]] = [
                ("mean", lambda key, x=label, of=name: results.mean(x, of, key))
            ]
            if label != results.baseline:
                title = f"difference to {results.baseline}"
                summaries.append(
                    (title, lambda key, x=label, of=name: results.difference(x, of, key))
                )
            for title, of in summaries:
                found = [of(key) for key in keys]
                writer.writerow([name, label, title, *(number(e and e.mean) for e in found)])
                writer.writerow([name, label, f"{title} ±", *(number(e and e.half) for e in found)])
    return file.getvalue()


def pass_at_k_csv(results: Results) -> str:
    """pass@k at every k from 1 to 256, exact: a line for each label, set and k."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["questions", "algorithm", "k", "mean", "±"])
    every = range(1, KS[-1] + 1)
    for (label, name), by_seed in results.masses.items():
        curves = [exact_pass_at_ks(masses, every) for masses in by_seed.values()]
        for k in every:
            found = estimate([curve[k] for curve in curves])
            assert found is not None
            writer.writerow([name, label, k, number(found.mean), number(found.half)])
    return file.getvalue()


def number(value: float | None) -> str:
    """Six digits that count."""
    return "" if value is None else f"{value:.6g}" if abs(value) < 1e6 else f"{value:.0f}"


# --- Markdown -----------------------------------------------------------------------------------


def to_markdown(results: Results, trials: str = "") -> str:
    """All tables, each with a line that says what it is of."""
    parts = []
    for name in results.base:
        count = results.questions[name]
        if name == TEST:
            parts.append(f"## Held-out questions ({count})")
            for title, keys in SECTIONS.items():
                parts.append(f"### {title}\n\n{means(results, name, keys)}")
            parts.append(
                f"### Paired differences to {code(results.baseline)}\n\n{differences(results)}"
            )
        else:
            keys = ("accuracy", "accuracy_sampled", "pass@16", "pass@256", "distinct@16",
                    "effective_solutions")  # fmt: skip
            parts.append(
                f"## Out of distribution: {name} ({count})\n\n{means(results, name, keys)}"
            )
    if trials:
        parts.append(f"## Search\n\n{trials}")
    return "\n\n".join(parts) + "\n"


def means(results: Results, name: str, keys: Sequence[str]) -> str:
    """Mean and 95 % interval over seeds, and the base model's own values."""
    columns = results.known(name, keys)
    base = results.base.get(name, {})
    rows = [[c.write(base[c.key]) if c.key in base else "" for c in columns]]
    for label in results.labels:
        rows.append([written(results.mean(label, name, c.key), c.write, c) for c in columns])
    return table(results, [c.heading for c in columns], rows, base=True)


def differences(results: Results) -> str:
    """Differences to the baseline, seed by seed, with the 95 % interval of their mean."""
    columns = compared(results)
    rows = [
        [written(results.difference(x, TEST, c.key), c.difference, c) for c in columns]
        for x in results.labels
        if x != results.baseline
    ]
    return table(results, [c.heading for c in columns], rows, base=False)


def compared(results: Results) -> list[Column]:
    """The measures whose differences are shown: of accuracy the exact one where it is known, of
    pass@k those at 16 and 256, or where there is none at 16 the one of most answers."""
    known = results.known(TEST, COMPARED)
    keys = [column.key for column in known]
    curve = [key for key in keys if key.startswith("pass@")]
    shown = {"pass@16", "pass@256"} if "pass@16" in curve else set(curve[-1:])
    left_out = {"accuracy_sampled"} if "accuracy" in keys else set()
    left_out |= set(curve) - shown
    return [column for column in known if column.key not in left_out]


def table(results: Results, headings: list[str], rows: list[list[str]], *, base: bool) -> str:
    """A Markdown table with a row for each label; the base model's first, or no baseline's, and of
    the seeds those that it has, too."""
    names = (
        [BASE, *results.labels] if base else [x for x in results.labels if x != results.baseline]
    )
    lines = [["algorithm", "seeds", *headings], ["---"] * 2 + ["---:"] * len(headings)]
    every = results.seeds.get
    for label, cells in zip(names, rows, strict=True):
        own = [s for s in every(label, []) if base or s in every(results.baseline, [])]
        seeds = "" if label == BASE else str(len(own))
        lines.append([label if label == BASE else code(label), seeds, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(text: str) -> str:
    """A label or a value in a cell, which a bar would end and a backtick the code in it."""
    written = f"`` {text} ``" if "`" in text else f"`{text}`"
    return written.replace("|", "\\|")


def trials_table(by: str, rows: Sequence[tuple[str, Mapping[str, Any], float | None, bool]]) -> str:
    """Every trial of the search: label, values, score, and whether it was chosen."""
    names = list(rows[0][1])
    lines = [["algorithm", *names, COLUMNS[by].heading, "chosen"], ["---"] * (len(names) + 3)]
    for label, values, score, chosen in rows:
        shown = "failed" if score is None else COLUMNS[by].write(score)
        shown = "not known" if score is not None and math.isnan(score) else shown
        tried = [write_value(value).replace("|", "\\|") for value in values.values()]
        lines.append([code(label), *tried, shown, "yes" if chosen else ""])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
