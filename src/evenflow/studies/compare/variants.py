"""``{flowrl: {importance: none, head.pooling: last}}``, in short
``flowrl:importance=none:head.pooling=last``: an algorithm, and what it changes in the recipe."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from evenflow.config import Change, TrainConfig, parse_setting
from evenflow.config.explain import section_of
from evenflow.config.study import SETTING, split
from evenflow.errors import UserError
from evenflow.objectives import preset
from evenflow.yaml_text import write_value

LONGEST = 150
"""Characters of a label in a folder's name; file systems take 255."""

COMMON = {
    "model.path": "all runs start from one base model",
    "model.reference": "all runs are measured against one reference",
    "data": "all runs have the same questions",
    "reward.functions": "all runs have the same reward",
    "reward.right": "all runs mean the same by right",
    "evaluation": "all runs are measured alike",
    "train.answers": "all runs have the same budget",
    "train.steps": "it follows from train.answers",
    "seed": "seeds=… names them",
    "output": "the comparison chooses the folders",
    "threads": "a run has one",
    "algorithm": "a variant begins with its algorithm",
}
"""What cannot differ between the runs of a comparison, and why."""


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    label: str
    """Its short form."""
    algorithm: str
    changes: tuple[Change, ...]
    """Of the recipe."""
    curve: str
    """The label of the algorithm whose curve it is a point of; without curves its own."""
    dial: str = ""
    """The field of the recipe that is turned along the curve."""

    @property
    def slug(self) -> str:
        """The label as a part of a folder's name; different labels have different ones."""
        name = quote(self.label.replace(":", ","), safe="=+.,")
        if len(name) <= LONGEST:
            return name
        return f"{name[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def build_variants(written: Sequence[str | Mapping[str, Mapping[str, Any]]]) -> list[Variant]:
    """The variants that a study names."""
    variants = [build_variant(each) for each in written]
    labels = [variant.label for variant in variants]
    if not labels:
        raise UserError("algorithms: name at least one, e.g. algorithms=flowrl,grpo")
    if twice := {label for label in labels if labels.count(label) > 1}:
        raise UserError(f"algorithms: {', '.join(sorted(twice))} stands there twice")
    return variants


def build_variant(written: str | Mapping[str, Mapping[str, Any]]) -> Variant:
    """An algorithm and its changes."""
    if isinstance(written, str):
        label = written.strip()
        algorithm, *settings = split(label, ":") or [""]
        changes = [parse_setting(setting, TrainConfig) for setting in settings]
    elif len(written) == 1:
        ((algorithm, own),) = written.items()
        changes = list(own.items())
        label = ":".join([algorithm, *(f"{key}={write_value(value)}" for key, value in changes)])
    else:
        raise UserError(
            f"algorithms: {', '.join(written) or '{}'}: a variant is one preset with its changes, "
            "e.g. [tba, {flowrl: {importance: none}}]"
        )
    where = f"algorithms: {label}"
    if not label.isprintable():
        raise UserError(f"algorithms: {label!r}: has a character that no table can show")
    preset(algorithm)  # refuses what there is not
    own = tuple(dotted((recipe_key(key, algorithm, where), value) for key, value in changes))
    keys = [key for key, _ in own]
    for key in keys:
        refuse_common(key, where)
        if keys.count(key) > 1:
            raise UserError(f"{where}: {key} stands there twice")
    return Variant(label, algorithm, own, label)


def with_dials(
    variants: Sequence[Variant], frontier: bool | Mapping[str, Mapping[str, Sequence[Any]]]
) -> list[Variant]:
    """Each variant with every value of its dial, or as it is where no curve is wanted."""
    if frontier is False:
        return list(variants)
    named = {} if frontier is True else frontier
    labels = [variant.label for variant in variants]
    if strange := sorted(named.keys() - set(labels)):
        raise UserError(f"frontier: {strange[0]!r} is none of the algorithms ({', '.join(labels)})")
    found = []
    for variant in variants:
        dial = named.get(variant.label) or preset(variant.algorithm).dial
        if len(dial) != 1 or not all(dial.values()):
            raise UserError(
                f"frontier: name one dial of {variant.label} and its values, e.g. "
                f"frontier='{{{variant.label}: {{inverse_temperature: [5, 10, 20]}}}}'"
            )
        ((name, values),) = dial.items()
        refuse_twice(values, name, "frontier")
        key = recipe_key(name, variant.algorithm, "frontier")
        if settles(variant, key):
            raise UserError(f"frontier: {name} is set by {variant.label}; leave one of them out")
        for value in values:
            point = build_variant(f"{variant.label}:{name}={write_value(value)}")
            found.append(replace(point, curve=variant.label, dial=key))
    return found


def is_preset(variant: Variant) -> bool:
    """Whether a point's dial stands where the preset has it."""
    own = getattr(
        preset(variant.algorithm).objective, variant.dial.removeprefix("objective."), None
    )
    return own is not None and own == dict(variant.changes).get(variant.dial)


def settles(variant: Variant, key: str) -> bool:
    """Whether the variant's changes set that field, by its name or inside `objective`."""
    changes = dict(variant.changes)
    whole = changes.get("objective")
    inside = whole if isinstance(whole, Mapping) else {}
    return key in changes or key.removeprefix("objective.") in inside


def recipe_key(key: str, algorithm: str, where: str) -> str:
    """The field of the recipe that a name in a variant or a search stands for.

    A name without a dot is a field of the algorithm's objective, where there is no section of the
    recipe's that has it for its own name; ``reward`` is both, and means the objective's.
    """
    if not SETTING.match(f"{key}="):
        raise UserError(f"{where}: {key!r} is no name of a field; e.g. importance, head.pooling")
    own = getattr(type(preset(algorithm).objective), "model_fields", {})
    bare = "." not in key and (key in own or key not in TrainConfig.model_fields)
    return f"objective.{key}" if bare else key


def dotted(changes: Iterable[Change]) -> Iterator[Change]:
    """The changes, a section with some of its fields as these fields: the others stay."""
    for key, value in changes:
        if isinstance(value, Mapping) and value and section_of(TrainConfig, key):
            yield from dotted((f"{key}.{name}", inner) for name, inner in value.items())
        else:
            yield key, value


def refuse_common(key: str, where: str) -> None:
    """Refuse a setting in which the runs of a comparison cannot differ."""
    for common, why in COMMON.items():
        if key == common or key.startswith(common + ".") or common.startswith(key + "."):
            raise UserError(f"{where}: {key} cannot differ between the runs: {why}")


def refuse_twice(values: Sequence[Any], name: str, where: str) -> None:
    """Refuse a value that stands twice among those of a field: it would be one run made twice."""
    if twice := [value for i, value in enumerate(values) if value in values[:i]]:
        raise UserError(
            f"{where}: {write_value(twice[0])} stands there twice among the values of {name}"
        )


def check_search(grid: Mapping[str, Sequence[Any]], variants: Sequence[Variant]) -> None:
    """Refuse a search for what must be alike, what a variant has settled, or a value twice."""
    for name, values in grid.items():
        refuse_twice(values, name, "search")
    for variant in variants:
        for name in grid:
            key = recipe_key(name, variant.algorithm, "search")
            refuse_common(key, "search")
            if settles(variant, key):
                raise UserError(f"search: {name} is set by {variant.label}; leave one of them out")
