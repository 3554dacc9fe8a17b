"""Accuracy against diversity as curves: what docs/results/frontiers.md shows of the studies.

    evenflow compare benchmarks/frontiers/countdown_long.yaml    the runs, study by study
    python benchmarks/limits.py countdown                        teachers that know the answers
    python benchmarks/frontiers.py                               the page's tables and picture

A study's folder is runs/frontiers-<study>. What its frontier.csv holds is put among the rows of
docs/results/frontiers_<study>.csv, of which tables and picture are made: a study may grow run by
run and machine by machine. Scores out of distribution are those of comparison.csv in
runs/frontiers-<task>_long_ood.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from statistics import fmean

import yaml

from evenflow.evaluation.columns import COLUMNS, written
from evenflow.evaluation.frontier import Frontiers, Point, read_csv, stops
from evenflow.evaluation.statistics import estimate, paired
from evenflow.studies.compare.frontier import to_markdown
from evenflow.studies.compare.tables import code

ROOT = Path(__file__).parent.parent
STUDIES = ROOT / "benchmarks" / "frontiers"
RESULTS = ROOT / "docs" / "results"
PAGE = RESULTS / "frontiers.md"
TASKS = ("countdown", "programs")
SHORT, LONG = "160", "480"
"""Steps; LONG those of the studies whose names end in _long."""
DIALS = {"kl_coefficient": "KL", "inverse_temperature": "β"}
SHOWN = {
    "effective_solutions": "effective solutions",
    "distinct@16": "distinct right answers of 16",
    "pass@16": "pass@16 (%)",
}
LIFTED = "prior_lift=1:duplicates=once"
NAMES = {
    f"tba:{LIFTED}": "tba, lift, once",
    f"tba:{LIFTED}:question_weight=inverse": "tba, lift, once, 1/p̂",
    f"tba:{LIFTED}:question_weight=root": "tba, lift, once, 1/√p̂",
    f"subtb:flow_base=group:flow_decay=0.95:{LIFTED}:question_weight=inverse": (
        "subtb, lift, once, 1/p̂"
    ),
}
"""Labels that are too long for a table."""


def collect(study: str) -> Frontiers:
    """The points of the finished runs among those that are known."""
    new = ROOT / "runs" / f"frontiers-{study}" / "frontier.csv"
    path = RESULTS / f"frontiers_{study}.csv"
    if new.is_file():
        path.write_text(merged(path.read_text() if path.is_file() else "", new.read_text()))
    return read_csv(path)


def field(*studies: Frontiers, seeds: Sequence[int] = (0,)) -> str:
    """A row a curve, means over these seeds: effective solutions at equal accuracy in the first's
    range, what it has more there than the first's baseline, seed by seed, and how far it goes.
    A curve that ends before the accuracy of the differences has those at the one before."""
    shared = studies[0].shared("effective_solutions")
    if shared is None:
        raise SystemExit("no accuracy above the base model's is reached by all curves")
    accuracies = stops(shared)
    early, late = accuracies[1:3]
    heads = [f"at {100 * accuracy:.1f} %" for accuracy in accuracies]
    heads += [f"Δ {words}, {100 * late:.1f} %" for words in SHOWN.values()]
    lines = [["algorithm", "values", "seeds", *heads, "highest accuracy"]]
    lines.append(["---"] + ["---:"] * (len(lines[0]) - 1))
    baseline, *_ = kept = [of_seeds(found, seeds) for found in studies]
    for found in kept:
        for label, points in found.points.items():
            ends = {s: max(p.accuracy for p in points if p.seed == s) for s in found.seeds(label)}
            cells = []
            for accuracy in accuracies:
                there = found.at(label, "effective_solutions", accuracy)
                cells.append(f"{fmean(there.values()):.2f}" if len(there) == len(ends) else "–")
            where = next((at for at in (late, early) if min(ends.values()) >= at), None)
            if found is baseline and label == baseline.baseline:
                where = None
            note = f" (at {100 * where:.1f} %)" if where == early else ""
            for key in SHOWN:
                if where is None:
                    cells.append("–")
                    continue
                more = paired(
                    found.at(label, key, where), baseline.at(baseline.baseline, key, where)
                )
                cells.append(written(more, COLUMNS[key].difference, COLUMNS[key]) + note)
            values = len({point.variant for point in points})
            highest = f"{100 * fmean(ends.values()):.1f} %"
            lines.append([code(label), str(values), str(len(ends)), *cells, highest])
    return table(lines)


def table(lines: Sequence[Sequence[str]]) -> str:
    """Rows of cells in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def of_seeds(found: Frontiers, seeds: Sequence[int]) -> Frontiers:
    """The points of these seeds."""
    points = {
        label: [point for point in points if point.seed in seeds]
        for label, points in found.points.items()
    }
    return replace(found, points={label: own for label, own in points.items() if own})


def others(own: str = "best") -> str:
    """What `own` has more than each further curve of the long runs, seed by seed, in the middle of
    the range that both reach and at its end."""
    shown = [COLUMNS[key] for key in SHOWN]
    lines = [["task", "against", "values", "seeds", "at", *(each.heading for each in shown)]]
    lines.append(["---"] * 2 + ["---:"] * (len(lines[0]) - 2))
    for task in TASKS:
        found = read_csv(RESULTS / f"frontiers_{task}_long.csv")
        for label, points in found.points.items():
            if label == own:
                continue
            seeds = found.seeds(label)
            alike = [point for point in found.points[own] if point.seed in seeds]
            both = replace(found, baseline=label, points={label: points, own: alike})
            shared = both.shared("effective_solutions")
            if shared is None:
                continue
            values = len({point.variant for point in points})
            for accuracy in stops(shared)[1::2]:
                cells = [
                    written(
                        paired(both.at(own, c.key, accuracy), both.at(label, c.key, accuracy)),
                        c.difference,
                        c,
                    )
                    for c in shown
                ]
                first = [task, code(label), str(values), str(len(seeds))]
                lines.append([*first, f"{100 * accuracy:.1f} %", *cells])
    return table(lines)


def ends(studies: Mapping[str, Frontiers]) -> str:
    """A row a value of a dial: where its runs end, means over seeds."""
    shown = [COLUMNS[key] for key in ("accuracy", *SHOWN)]
    lines = [["task", "steps", "algorithm", "dial", "seeds", *(each.heading for each in shown)]]
    lines.append(["---"] * 3 + ["---:"] * (len(lines[0]) - 3))
    for study, found in studies.items():
        task, _, long = study.partition("_")
        for label, points in found.points.items():
            last: dict[float, dict[int, Point]] = {}
            for point in sorted(points, key=lambda point: point.step):
                dial, _, value = point.variant.removeprefix(label).lstrip(":").partition("=")
                last.setdefault(float(value), {})[point.seed] = point
            for value, of_seed in sorted(last.items()):
                scores = [{"accuracy": p.accuracy, **p.scores} for p in of_seed.values()]
                cells = [
                    written(estimate([each[c.key] for each in scores]), c.write, c) for c in shown
                ]
                first = [task, LONG if long else SHORT, code(label), f"{DIALS[dial]} {value:g}"]
                lines.append([*first, str(len(of_seed)), *cells])
    return table(lines)


def unlike(task: str) -> list[dict[str, str]]:
    """The ends of runs on questions unlike those of their training, a row a seed; none of a task
    that was not measured."""
    new = ROOT / "runs" / f"frontiers-{task}_long_ood" / "comparison.csv"
    path = RESULTS / f"frontiers_{task}_long_ood.csv"
    if new.is_file():
        with new.open(newline="") as file:
            rows = [
                row
                for row in csv.DictReader(file)
                if row["questions"] != "test" and (row["seed"].isdigit() or not row["seed"])
            ]
        with path.open("w", newline="") as file:
            kept = ("questions", "algorithm", "seed", "accuracy", *SHOWN)
            writer = csv.DictWriter(file, kept, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def out_of_distribution() -> str:
    """A row a value of a dial: where its runs end on questions unlike those of their training."""
    shown = [COLUMNS[key] for key in ("accuracy", *SHOWN)]
    lines = [["task", "questions", "algorithm", "dial", "seeds", *(c.heading for c in shown)]]
    lines.append(["---"] * 4 + ["---:"] * (len(lines[0]) - 4))
    for task in TASKS:
        alike: dict[tuple[str, str], list[dict[str, str]]] = {}
        for row in unlike(task):
            alike.setdefault((row["questions"], row["algorithm"]), []).append(row)
        for (questions, variant), rows in alike.items():
            label, _, setting = variant.rpartition(":")
            dial, _, value = setting.partition("=")
            told = [code(label), f"{DIALS[dial]} {value}"] if label else [variant, ""]
            cells = [
                written(estimate([float(row[c.key]) for row in rows]), c.write, c) for c in shown
            ]
            lines.append([task, questions, *told, str(len(rows)) if label else "", *cells])
    return table(lines)


def of_ends(rows: Sequence[Mapping[str, str]]) -> Frontiers:
    """Ends of runs on one set of questions as curves: the first is the base model's, the second of
    the baseline."""
    base, *runs = rows
    found = Frontiers(runs[0]["algorithm"].rpartition(":")[0], numbers(base))
    for row in runs:
        label = row["algorithm"].rpartition(":")[0]
        point = Point(row["algorithm"], int(row["seed"]), 0, float(row["accuracy"]), numbers(row))
        found.points.setdefault(label, []).append(point)
    return found


def numbers(row: Mapping[str, str]) -> dict[str, float]:
    """What is shown of a row."""
    return {key: float(row[key]) for key in ("accuracy", *SHOWN)}


def ahead(own: str = "best") -> str:
    """A row a run of `own`: where it ends on questions unlike those of its training, and what it
    has more there than the baseline of its seed at its accuracy; a dash beyond that one's end."""
    shown = [COLUMNS[key] for key in SHOWN]
    lines = [["task", "questions", "dial", "seed", "accuracy", *(c.heading for c in shown)]]
    lines.append(["---"] * 3 + ["---:"] * (len(lines[0]) - 3))
    for task in TASKS:
        rows = unlike(task)
        for questions in dict.fromkeys(row["questions"] for row in rows):
            found = of_ends([row for row in rows if row["questions"] == questions])
            for point in found.points.get(own, []):
                dial, _, value = point.variant.rpartition(":")[2].partition("=")
                told = [task, questions, f"{DIALS[dial]} {value}", str(point.seed)]
                cells = []
                for column in shown:
                    there = found.at(found.baseline, column.key, point.accuracy).get(point.seed)
                    more = None if there is None else point.scores[column.key] - there
                    cells.append("–" if more is None else column.difference(more))
                lines.append([*told, f"{100 * point.accuracy:.1f} %", *cells])
    return table(lines)


def merged(old: str, new: str) -> str:
    """The lines of two frontier.csv of the same questions; a run that both hold is the new one."""
    header, *fresh = csv.reader(new.splitlines())
    known = [*csv.reader(old.splitlines())][1:]
    again = {(variant, seed) for _, variant, seed, *_ in fresh}
    rows = [*fresh, *(row for row in known if (row[1], row[2]) not in again)]
    curves = list(dict.fromkeys(row[0] for row in [*known, *fresh]))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([header, *sorted(rows, key=lambda row: curves.index(row[0]))])
    return file.getvalue()


def put(name: str, text: str) -> None:
    """Write between the page's marks of that name, with short names."""
    for label, short in NAMES.items():
        text = text.replace(f"`{label}`", short)
    begin, end = f"<!-- {name} -->", f"<!-- end {name} -->"
    inside = re.compile(rf"(?s){begin}.*{end}")
    PAGE.write_text(inside.sub(lambda _: f"{begin}\n{text}\n{end}", PAGE.read_text()))


def taught(task: str) -> list[dict[str, str]]:
    """The rows of limits_<task>.csv."""
    with (RESULTS / f"limits_{task}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def limits() -> str:
    """Where each teacher ends, and the most effective solutions that an algorithm has there."""
    lines = [
        "| task | teacher | steps | accuracy | effective solutions | … of the best algorithm there "
        "| distinct@16 | pass@16 |",
        "| --- | --- | ---: | ---: | ---: | --- | ---: | ---: |",
    ]
    for task in TASKS:
        last = {(row["teacher"], row["steps"], row["seed"]): row for row in taught(task)}
        for (teacher, steps, _), row in last.items():
            found = read_csv(RESULTS / f"frontiers_{task}{'_long' if steps == LONG else ''}.csv")
            accuracy = float(row["accuracy"])
            there: dict[str, float] = {}
            for label in found.points if accuracy >= found.base["accuracy"] else ():
                values = found.at(label, "effective_solutions", accuracy)
                if values.keys() == set(found.seeds(label)):
                    there[NAMES.get(label, label)] = fmean(values.values())
            most = max(there, key=lambda label: there[label], default=None)
            lines.append(
                f"| {task} | {teacher} | {steps} | {100 * accuracy:.1f} % "
                f"| {float(row['effective_solutions']):.2f} "
                f"| {f'{there[most]:.2f} ({most})' if most else '–'} "
                f"| {float(row['distinct@16']):.2f} | {100 * float(row['pass@16']):.1f} % |"
            )
    return "\n".join(lines)


def of_every_seed(found: Frontiers) -> Frontiers:
    """The curves that have all seeds of the baseline's."""
    seeds = found.seeds(found.baseline)
    whole = {label: points for label, points in found.points.items() if found.seeds(label) == seeds}
    return replace(found, points=whole)


def of_algorithms(name: str, found: Frontiers) -> Frontiers:
    """The curves that the study's file names; its csv holds others that were added, which may end
    earlier."""
    with (STUDIES / f"{name}.yaml").open() as file:
        named = yaml.safe_load(file)["algorithms"]
    points = {label: points for label, points in found.points.items() if label in named}
    return replace(found, points=points)


def draw() -> None:
    """A row a task, a panel a measure: each curve of the long runs, its mean over seeds, and its
    lowest to highest; the teacher that was given as many steps."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "frontiers"  # the same picture, the same bytes
    import matplotlib.pyplot as plt

    figure, rows = plt.subplots(
        len(TASKS), len(SHOWN), figsize=(12, 3.9 * len(TASKS)), layout="constrained"
    )
    for panels, task in zip(rows, TASKS, strict=True):
        found = of_every_seed(read_csv(RESULTS / f"frontiers_{task}_long.csv"))
        rows_of = [row for row in taught(task) if row["steps"] == LONG]
        for panel, (measure, words) in zip(panels, SHOWN.items(), strict=True):
            factor = 100 if measure.startswith("pass") else 1
            for number, label in enumerate(found.points):
                line(panel, found, label, measure, factor, f"C{number}")
            teach(panel, rows_of, measure, factor)
            panel.plot(
                100 * found.base["accuracy"], factor * found.base[measure], "k*", label="base model"
            )
            panel.set_ylabel(words)
            panel.set_xlabel(f"{task}: accuracy (%)")
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].legend(frameon=False, fontsize="small")
    figure.savefig(RESULTS / "frontiers.svg", metadata={"Date": None})
    plt.close(figure)


def line(panel, found: Frontiers, label: str, measure: str, factor: float, color: str) -> None:
    """One curve with its band, as far as every seed reaches."""
    x, mean, low, high = zip(*found.band(label, measure), strict=True)
    x, mean, low, high = (
        [by * value for value in values]
        for by, values in zip((100, factor, factor, factor), (x, mean, low, high), strict=True)
    )
    panel.plot(x, mean, color=color, label=NAMES.get(label, label))
    panel.fill_between(x, low, high, color=color, alpha=0.15, lw=0)


def teach(panel, rows: list[dict[str, str]], measure: str, factor: float) -> None:
    """The teachers' ways."""
    teachers = sorted({row["teacher"] for row in rows})
    for teacher, style in zip(teachers, cycle(["--", ":"])):
        own = [row for row in rows if row["teacher"] == teacher]
        panel.plot(
            [100 * float(row["accuracy"]) for row in own],
            [factor * float(row[measure]) for row in own],
            "k",
            linestyle=style,
            linewidth=1,
            label=f"teacher: {teacher}",
        )


if __name__ == "__main__":
    studies = {name: collect(name) for task in TASKS for name in (f"{task}_long", task)}
    for name, found in studies.items():
        own = of_algorithms(name, of_every_seed(found))
        put(name, to_markdown(own).partition("\n")[2].strip())
    for task, seeds in {"countdown": (0, 1, 2, 3), "programs": (0, 1, 2, 3)}.items():
        put(f"field_{task}", field(studies[task], collect(f"field_{task}"), seeds=seeds))
    put("larger", field(collect("larger")))
    put("others", others())
    put("ends", ends(studies))
    put("ood", out_of_distribution())
    put("ahead", ahead())
    put("limits", limits())
    draw()
