"""``flowrl:importance=none:head.pooling=last``: an algorithm, and what it changes in the recipe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.objectives import PRESETS

SETTING = re.compile(r"[A-Za-z_][\w.]*=")

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
    """As the user wrote it."""
    algorithm: str
    overrides: tuple[str, ...]
    """``key=value``, with dotted keys of a recipe."""

    @property
    def keys(self) -> list[str]:
        return [override.partition("=")[0] for override in self.overrides]

    @property
    def slug(self) -> str:
        """The label as a part of a folder's name; different labels have different ones."""
        return quote(self.label.replace(":", ","), safe="=+.,")


def parse_variants(text: str) -> list[Variant]:
    """``tba,flowrl:inverse_temperature=5``: variants are separated by commas, settings by colons;
    neither counts inside brackets."""
    variants = [parse_variant(part) for part in split(text, ",")]
    labels = [variant.label for variant in variants]
    if not labels:
        raise UserError("algorithms: name at least one, e.g. algorithms=flowrl,grpo")
    if twice := {label for label in labels if labels.count(label) > 1}:
        raise UserError(f"algorithms: {', '.join(sorted(twice))} stands there twice")
    return variants


def parse_variant(label: str) -> Variant:
    """An algorithm and its settings."""
    algorithm, *settings = split(label, ":")
    if algorithm not in PRESETS:
        raise UserError(
            f"algorithms: there is no preset {algorithm!r}; there are {', '.join(PRESETS)}"
        )
    overrides = tuple(recipe_setting(setting, algorithm, label) for setting in settings)
    for key in (override.partition("=")[0] for override in overrides):
        refuse_common(key, f"algorithms: {label}")
    return Variant(label, algorithm, overrides)


def recipe_setting(setting: str, algorithm: str, where: str) -> str:
    """The override that a setting of a variant stands for.

    A name without a dot is a field of the algorithm's objective, where there is no section of the
    recipe's that has it for its own name; ``reward`` is both, and means the objective's.
    """
    if not SETTING.match(setting):
        raise UserError(
            f"{where}: {setting!r} is no setting; write name=value, several with a colon between "
            "them, e.g. flowrl:importance=none:head.pooling=last"
        )
    key = setting.partition("=")[0]
    own = type(PRESETS[algorithm].objective).model_fields
    bare = "." not in key and (key in own or key not in TrainConfig.model_fields)
    return f"objective.{setting}" if bare else setting


def refuse_common(key: str, where: str) -> None:
    """Refuse a setting in which the runs of a comparison cannot differ."""
    for common, why in COMMON.items():
        if key == common or key.startswith(common + ".") or common.startswith(key + "."):
            raise UserError(f"{where}: {key} cannot differ between the runs: {why}")


def split(text: str, separator: str) -> list[str]:
    """Parts between separators outside of brackets; a colon separates only before ``name=``."""
    parts, depth = [""], 0
    for place, character in enumerate(text):
        depth += (character in "{[(") - (character in "}])")
        after = text[place + 1 :]
        if character == separator and depth == 0 and (separator != ":" or SETTING.match(after)):
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def parse_search(words: Sequence[str], variants: Sequence[Variant]) -> dict[str, list[str]]:
    """``train.learning_rate=1e-4,2e-4`` → the values to try, by name; several words are a grid."""
    grid: dict[str, list[str]] = {}
    for setting in (part for word in words for part in split(word, ":")):
        key, _, values = setting.partition("=")
        if not SETTING.match(setting) or not split(values, ","):
            raise UserError(
                f"search: {setting!r}: write name=value,value, e.g. "
                "search=train.learning_rate=1e-4,2e-4"
            )
        if key in grid:
            raise UserError(f"search: {key} stands there twice")
        grid[key] = split(values, ",")
        for variant in variants:
            dotted = recipe_setting(setting, variant.algorithm, "search").partition("=")[0]
            refuse_common(dotted, "search")
            if dotted in variant.keys:
                raise UserError(f"search: {key} is set by {variant.label}; leave one of them out")
    return grid
