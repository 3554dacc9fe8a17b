"""From YAML and ``key=value`` to a checked recipe, and back."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from evenflow.config.explain import TEXT, explain, fields, type_of
from evenflow.config.recipe import TrainConfig
from evenflow.config.sections import Section
from evenflow.errors import UserError
from evenflow.inputs import is_text, read_text
from evenflow.installation import recipe_file
from evenflow.objectives import PRESETS
from evenflow.yaml_text import dump_yaml, parse_value, parse_yaml

LOG = logging.getLogger(__name__)
DEFAULT = TrainConfig.model_fields["algorithm"].default

OLD_NAME = "".join(("flow", "balance"))
"""What the package was called."""
OLD_PATH = re.compile(rf"(?:^|(?<=\.)){OLD_NAME}(?:\.\w+)+:\w+$")
"""An import path of those days."""

MARKS = {"train": "rollout", "compare": "algorithms", "pretrain": "batch"}
"""Command → a field of its recipes that those of no other have."""

AnyRecipe = TypeVar("AnyRecipe", bound=Section)
Change = tuple[str, Any]
"""A field's dotted name, and its value."""


def load(kind: type[AnyRecipe], recipe: str | Path | None, overrides: Sequence[str]) -> AnyRecipe:
    """Read a recipe, apply the preset's settings and ``key=value`` overrides, check everything."""
    values = {} if recipe is None else read_yaml(Path(recipe))
    for command, own in MARKS.items():
        if own in values and own not in kind.model_fields:
            raise UserError(f"{recipe}: is a recipe of `evenflow {command}`")
    return resolve(kind, values, [parse_setting(override, kind) for override in overrides])


def resolve(
    kind: type[AnyRecipe], recipe: Mapping[str, Any], changes: Sequence[Change]
) -> AnyRecipe:
    """The values of a recipe with changes, and with what its preset brings, checked.

    A change of `algorithm` leaves out what belongs to the recipe's own algorithm: its
    `objective`, and settings that its preset brings.
    """
    values = copy.deepcopy(dict(recipe))
    own = str(values.get("algorithm", DEFAULT))
    asked = str(dict(changes).get("algorithm", own))
    if asked != own:
        if values.pop("objective", None):
            # Its β, or its clip, would be another algorithm's, or mean nothing to this one.
            LOG.warning(
                "the recipe: its objective settings belong to %s; left out for %s", own, asked
            )
        for key, value in settings_of(own).items():
            _discard(values, key, value)
    apply(values, changes)
    if kind is TrainConfig:
        for key, value in settings_of(asked).items():
            _set(values, key, value, overwrite=False)
    return check(kind, values)


def apply(values: dict[str, Any], changes: Iterable[Change]) -> None:
    """Put changes into the values of a recipe, one after the other."""
    for key, value in changes:
        _set(values, key, copy.deepcopy(value), overwrite=True)  # later ones may go into it


def settings_of(algorithm: str) -> Mapping[str, object]:
    """What a preset brings beside its objective, by dotted key."""
    return PRESETS[algorithm].settings if algorithm in PRESETS else {}


def check(kind: type[AnyRecipe], values: Mapping[str, Any]) -> AnyRecipe:
    """Validated configuration, or a UserError that names the field and what is allowed."""
    leaves = list(_leaves(values))
    if missing := [name for name, value in leaves if value == "???"]:
        raise UserError(
            "the recipe leaves open what only you can say: " + ", ".join(f"{m}=…" for m in missing)
        )
    for name, value in leaves:
        for text in (name, value):
            if isinstance(text, str) and ("\0" in text or not is_text(text)):
                raise UserError(f"{ascii(name)[1:-1]}: has a character that no file can hold")
            if isinstance(text, str) and (old := OLD_PATH.search(text)):
                new = old.group().replace(OLD_NAME, "evenflow", 1)
                raise UserError(f"{name}: the package has another name; write {new}")
    forms = {name: form.split(" | ") for name, form, *_ in fields(kind)}
    for name, value in leaves:
        form = forms.get(name, [])
        named_none = isinstance(value, str) and value.lower() == "none" and "none" not in form
        if named_none and "null" in form:
            raise UserError(f"{name}: {value} is a text in YAML; write null for nothing")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UserError(explain(error, kind)) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; one that is shipped is found by its name."""
    path = recipe_file(path)
    try:
        values = parse_yaml(read_text(path))
    except yaml.YAMLError as error:
        said = " ".join(str(error).split()).replace(' in "<unicode string>",', ",")
        raise UserError(f"{path}: not a YAML file: {said}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: a recipe is a mapping of field: value")
    return values


def dump(config: BaseModel) -> str:
    """A configuration as YAML that `load` reads back."""
    return dump_yaml(config.model_dump(mode="json"))


def parse_setting(override: str, *kinds: type[BaseModel]) -> Change:
    """``key=value`` as a change of a recipe of one of these kinds."""
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"{override!r}: an override is written key=value, e.g. seed=1")
    forms = (type_of(kind, key) for kind in kinds)
    return key, parse_value(text, wants_text=next(filter(None, forms), "") in TEXT)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is neither a mapping nor a list, with the dotted name of its field."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner, name)
    else:
        yield name, value


def _set(values: dict[str, Any], dotted: str, value: Any, *, overwrite: bool) -> None:
    *sections, field = dotted.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            if not overwrite:  # a preset's setting does not paint over the recipe's mistake
                return
            inner = values[section] = {}
        values = inner
    if overwrite or field not in values:
        values[field] = value


def _discard(values: dict[str, Any], dotted: str, value: object) -> None:
    """Remove a field that has this value."""
    *sections, field = dotted.split(".")
    for section in sections:
        inner = values.get(section)
        if not isinstance(inner, dict):
            return
        values = inner
    if field in values and values[field] == value:
        del values[field]
