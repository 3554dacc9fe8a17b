"""`evenflow compare`: from the words on the command line to the table."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from evenflow.errors import UserError
from evenflow.machine import cores

if TYPE_CHECKING:
    from evenflow.studies.compare.plan import Request

HELP = "algorithms × seeds with an equal budget of answers, as one table"

WORDS = {
    "algorithms": "presets with their changes: tba,flowrl:inverse_temperature=5:importance=none",
    "seeds": "seeds, e.g. 0,1,2 (the default)",
    "baseline": "the algorithm that the others are compared with, as written in algorithms= "
    "(default: the first)",
    "search": "settings to tune first, for every algorithm alike, e.g. "
    "search=train.learning_rate=1e-4,2e-4; several words make a grid",
    "search_by": "what the search goes by (default accuracy, exact where it can be)",
    "search_answers": "sampled answers a trial (default: a quarter of a run's)",
    "ood": "questions out of distribution: names with the task's options, e.g. "
    "ood='{far: {targets: [41, 60]}}', or none (default: the task's own)",
    "ood_questions": "how many of each (default 30)",
    "output": "the folder (default runs/compare-RECIPE); the same words again go on in it",
    "jobs": "processes at a time, one thread each (default: all cores)",
}


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow compare` takes."""
    parser.add_argument("recipe", help="YAML file, e.g. recipes/countdown.yaml")
    parser.add_argument("words", nargs="*", metavar="key=value", help="see below")
    width = max(map(len, WORDS)) + 2
    lines = []
    for word, meaning in WORDS.items():
        first, *others = wrap(meaning, 78)
        lines += [f"  {word + '=':{width}}{first}", *(" " * (width + 2) + line for line in others)]
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = "\n".join(
        [
            "words:",
            *lines,
            "",
            "all others change the recipe for every run, e.g. train.answers=10240",
        ]
    )


def parse(recipe: str, words: Sequence[str]) -> Request:
    """The words that are ours; the rest are overrides of the recipe."""
    from evenflow.studies.compare.plan import Request
    from evenflow.studies.compare.tables import COLUMNS
    from evenflow.studies.compare.variants import parse_search, parse_variants

    said: dict[str, list[str]] = {}
    overrides = []
    for word in words:
        key, separator, value = word.partition("=")
        if separator and key in WORDS:
            said.setdefault(key, []).append(value)
        else:
            overrides.append(word)
    for key, values in said.items():
        if len(values) > 1 and key != "search":
            raise UserError(f"{key}=: stands there twice")
    one = {key: values[0] for key, values in said.items()}
    if "algorithms" not in one:
        raise UserError("compare needs algorithms=…, e.g. algorithms=flowrl,grpo")
    variants = parse_variants(one["algorithms"])
    labels = [variant.label for variant in variants]
    baseline = one.get("baseline", labels[0])
    if baseline not in labels:
        raise UserError(f"baseline: {baseline!r} is none of the algorithms ({', '.join(labels)})")
    by = one.get("search_by")
    allowed = [key for key, column in COLUMNS.items() if column.higher_is_better]
    if by is not None and by not in allowed:
        raise UserError(f"search_by: {by!r} cannot be searched by; choose {', '.join(allowed)}")
    return Request(
        command=shlex.join(["evenflow", "compare", recipe, *words]),
        recipe=Path(recipe),
        overrides=tuple(overrides),
        variants=tuple(variants),
        seeds=tuple(parse_seeds(one.get("seeds", "0,1,2"))),
        baseline=baseline,
        folder=Path(one.get("output", f"runs/compare-{Path(recipe).stem}")),
        jobs=whole("jobs", one["jobs"], 1) if "jobs" in one else cores(),
        grid=parse_search(said.get("search", []), variants),
        search_by=by,
        search_answers=whole("search_answers", one["search_answers"], 1)
        if "search_answers" in one
        else None,
        ood=parse_sets(one["ood"]) if "ood" in one else None,
        ood_questions=whole("ood_questions", one.get("ood_questions", "30"), 1),
    )


def parse_seeds(text: str) -> list[int]:
    """``0,1,2``."""
    seeds = [whole("seeds", part, 0) for part in text.split(",") if part.strip()]
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds: {text!r}: name different whole numbers, e.g. seeds=0,1,2")
    return seeds


def whole(word: str, text: str, least: int) -> int:
    """A whole number of at least `least`."""
    if not text.strip().isdecimal() or len(text) > 18 or int(text) < least:
        raise UserError(f"{word}: must be a whole number of at least {least}, not {text!r:.60}")
    return int(text)


def parse_sets(text: str) -> dict[str, dict[str, Any]]:
    """``{far: {targets: [41, 60]}}``, or ``none``."""
    import yaml

    from evenflow.yaml_text import parse_yaml

    if text == "none":
        return {}
    try:
        sets = parse_yaml(text)
    except yaml.YAMLError:
        sets = None
    if not isinstance(sets, dict) or not all(
        isinstance(name, str) and isinstance(options, dict) for name, options in sets.items()
    ):
        raise UserError(
            f"ood: {text!r}: write names with options of the task, e.g. "
            "ood='{far: {targets: [41, 60]}}', or ood=none"
        )
    return sets


def run(options: Namespace) -> None:
    """Check everything, run what is left, write the tables."""
    from evenflow.studies.compare.comparison import Comparison

    Comparison(parse(options.recipe, options.words)).run()
