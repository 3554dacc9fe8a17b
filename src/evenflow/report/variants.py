"""Runs that differ in nothing but their seed: one colour, one mean; and what tells them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from evenflow.inputs import is_number
from evenflow.report.reading import Run

SEED = ("seed", "output", "device", "threads")
"""Settings in which the seeds of one algorithm may differ."""
ASIDE = ("log.", "checkpoint.", "evaluation.")
"""Sections that do not change what is learned."""


@dataclass
class Variant:
    """An algorithm with its settings, and the runs that have them."""

    label: str
    algorithm: str
    settings: dict[str, Any]
    """Those that decide what is learned."""
    runs: list[int]
    """Places of its runs, one a seed."""


def variants(runs: Sequence[Run]) -> list[Variant]:
    """The variants in order. An evaluation, and a run whose settings are not known, is its own."""
    found: dict[Any, Variant] = {}
    for index, run in enumerate(runs):
        settings = {
            name: value
            for name, value in run.config.items()
            if name not in SEED and not name.startswith(ASIDE)
        }
        key: Any = index
        if run.kind == "training" and settings:
            key = tuple(sorted((name, str(value)) for name, value in settings.items()))
        variant = found.setdefault(key, Variant(run.name, run.algorithm, settings, []))
        variant.runs.append(index)
    every = [*found.values()]
    for variant in every:
        if len(variant.runs) > 1:
            variant.label = told_apart(variant, every)
    return every


def told_apart(variant: Variant, every: Sequence[Variant]) -> str:
    """The algorithm, and the settings in which others of it differ."""
    peers = [other for other in every if other.algorithm == variant.algorithm]
    names = [
        name
        for name, value in variant.settings.items()
        if any(str(peer.settings.get(name)) != str(value) for peer in peers)
    ]
    facts = (f"{name.rpartition('.')[2]} {variant.settings[name]}" for name in names)
    return ", ".join([variant.algorithm or "runs", *facts])


def dials(every: Sequence[Variant]) -> list[dict[str, Any]]:
    """Variants of one algorithm that differ in one number alone, in its order:
    {algorithm, setting, variants: [their places], values}."""
    found: dict[tuple[Any, ...], set[int]] = {}
    for (i, left), (j, right) in combinations(enumerate(every), 2):
        if not left.algorithm or left.algorithm != right.algorithm:
            continue
        names = left.settings.keys() | right.settings.keys()
        apart = [n for n in names if left.settings.get(n) != right.settings.get(n)]
        pair = [each.settings.get(apart[0]) for each in (left, right)] if len(apart) == 1 else []
        if pair and all(map(is_number, pair)):
            rest = tuple(sorted((n, str(left.settings.get(n))) for n in names - {apart[0]}))
            found.setdefault((left.algorithm, apart[0], rest), set()).update((i, j))
    turned = []
    for (algorithm, setting, _), places in found.items():
        ordered = sorted(places, key=lambda place: every[place].settings[setting])
        values = [every[place].settings[setting] for place in ordered]
        turned.append(
            {"algorithm": algorithm, "setting": setting, "variants": ordered, "values": values}
        )
    return turned
