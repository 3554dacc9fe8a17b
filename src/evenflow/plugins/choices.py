"""What another trainer's configuration chooses: an objective of the balance family, and a head."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from evenflow.bounds import BelowOne, LearningRate
from evenflow.errors import UserError
from evenflow.objectives import Balance, Preset, Setting, preset


@dataclass(frozen=True, config=ConfigDict(strict=True, allow_inf_nan=False))
class Head:
    """The head of a learned log Zφ(x), with the defaults of a recipe's section `head`."""

    layers: Annotated[int, Field(ge=1, le=8)] = 3
    """Linear layers of the MLP."""
    dropout: BelowOne = 0.0
    """Between them."""
    pooling: Literal["mean", "last", "max"] = "mean"
    """Of the prompt's last hidden states."""
    drop_last_token: bool = False
    """Leave the prompt's last token out of the pooling."""
    trunk_gradient: bool = False
    """Let the head's gradient into the model's trunk."""
    learning_rate: LearningRate | None = 1e-3
    """The head's own; None: the policy's."""


def head_of(row: Preset) -> Head:
    """The head as a preset has it."""
    own = {f"head.{field.name}": field.name for field in fields(Head)}
    return replace(Head(), **{own[k]: v for k, v in row.settings.items() if k in own})


def choose(
    name: str,
    objective: Mapping[str, Any],
    head: Mapping[str, Any],
    setting: Setting,
    log_z: Collection[str],
) -> tuple[Balance, Head]:
    """The preset `name` with changes to its objective and its head.

    `log_z` are those that the trainer at hand can compute. UserError, with the name of the field,
    for what is no preset of the balance family, no field, no value, or cannot be; a warning for
    what changes nothing.
    """
    row = preset(name)
    if not isinstance(row.objective, Balance):
        raise UserError(
            f"algorithm: {name} is not of the balance family; the trainer has surrogates of its own"
        )
    try:
        choices = Balance(**row.objective.model_dump() | dict(objective))
    except ValidationError as error:
        raise _of_field("objective", error) from error
    choices = choices.settle(frozenset(objective), setting)
    if choices.log_z not in log_z:
        raise UserError(
            f"objective.log_z: {choices.log_z} is not to be had here; there are {', '.join(log_z)}"
        )
    if choices.guidance > 0:
        raise UserError(
            "objective.guidance: above 0 asks the reference once more, with the gold answer in the "
            "prompt, which is not done here; set it to 0"
        )
    for problem in choices.problems(setting):
        raise UserError(problem)
    known = {field.name for field in fields(Head)}
    if unknown := set(head) - known:
        raise UserError(f"head.{min(unknown)}: no such field; there are {', '.join(sorted(known))}")
    try:
        chosen = replace(head_of(row), **head)
    except ValidationError as error:
        raise _of_field("head", error) from error
    idle = choices.without_effect(objective, setting, row.objective)
    sentences = [f"objective.{name}: {why}" for name, why in idle.items()]
    if head and not choices.needs.head:
        sentences.append("head: only log_z: head has a head")
    for sentence in sentences:
        warnings.warn(f"no effect: {sentence}", stacklevel=2)
    return choices, chosen


def _of_field(section: str, error: ValidationError) -> UserError:
    first = error.errors()[0]
    return UserError(f"{'.'.join(map(str, (section, *first['loc'])))}: {first['msg']}")
