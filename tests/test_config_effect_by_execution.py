"""Every field of an objective under every choice: named as idle exactly where it changes nothing.

What a field does is found by execution, in float64: the loss and its gradients on random answers
that are off-policy, of several lengths, with copies, and with rewards on both sides of right; with
a running log Z also how it is moved.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from torch import Tensor

from evenflow.config import TrainConfig, load
from evenflow.config.effect import without_effect
from evenflow.errors import UserError
from evenflow.objectives import PRESETS, Answers, Balance, RunningLogZ, Scores, Surrogate

N, T = 12, 4
Objective = Balance | Surrogate

NUMBERS: dict[str, tuple[Any, ...]] = {
    "scale_length": (3.0,),
    "epsilon": (0.1, 0.5),
    "cap": (0.5, 1.5),
    "linex_alpha": (0.5,),
    "inverse_temperature": (3.0,),
    "reference_weight": (0.0, 0.5),
    "running_rate": (0.7,),
    "prior_lift": (0.6,),
    "guidance": (0.4,),
    "guidance_clip": (0.05,),
    "discount": (0.8,),
    "gae_lambda": (0.7,),
    "value_epsilon": (None, 0.01),
    "epsilon_high": (0.07, 0.6),
    "aggregation_length": (3.0,),
    "kl_coefficient": (0.0, 0.3),
    "entropy_bonus": (0.3,),
}
"""Other values of the fields that hold a number; `right_reward` follows reward.right."""

SETTINGS: dict[type, list[dict[str, Any]]] = {
    Balance: [
        {},
        {"importance": "none"},
        {"importance": "token"},
        {"importance": "geometric", "truncation": "upper", "cap": 1.2},
        {"importance": "sequence", "truncation": "symmetric"},
        {"importance": "sequence", "truncation": "none"},
        {"log_z": "group", "reward": "centred"},
        {"log_z": "group", "regression": "linex", "importance": "sequence"},
        {"log_z": "leave-one-out", "importance": "sequence", "truncation": "none"},
        {"log_z": "running", "regression": "cosh"},
        {"log_z": "none", "scale": "sum"},
        {"log_z": "offline", "scale": "sum", "reward": "raw"},
        {"prior_lift": 0.5},
        {"guidance": 0.4},
        {"duplicates": "once"},
        {"reference_weight": 0.0},
    ],
    Surrogate: [
        {},
        {"advantage": "global"},
        {"advantage": "leave-one-out", "whiten": True},
        {"smoothing": 0.1},
        {"smoothing_wrong": 0.1, "smoothing_in": "advantage"},
        {"advantage": "gae"},
        {"advantage": "gae", "kl_in": "reward", "kl_estimator": "k1", "kl_coefficient": 0.2},
        {"kl_in": "reward", "kl_estimator": "k1", "kl_coefficient": 0.2},
        {"kl_in": "loss", "kl_estimator": "k2", "kl_coefficient": 0.2},
        {"kl_coefficient": 0.0},
        {"clip": "none"},
        {"clip": "none", "ratio": "none"},
        {"clip": "weight", "ratio": "token"},
        {"clip": "weight", "ratio": "token", "epsilon_high": None},
        {"clip": "log-token", "ratio": "geometric"},
        {"clip": "ratio", "ratio": "geometric-token"},
        {"aggregation": "constant"},
    ],
}
"""Choices that make other fields idle, on top of a preset's."""


@cache
def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    lengths = torch.tensor([4, 2, 2, 3, 1, 4, 3, 3, 2, 4, 1, 2])
    found = {
        "mask": torch.arange(T) < lengths[:, None],
        "groups": torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2]),  # as where one is unknown
        "rewards": torch.tensor([0.2, 1, 1, 1.5, 0, 0, 1, 0.9, 1, 0.3, 2, 0.1]).double(),
        "logprobs": -random(N, T).abs(),
        "ref_logprobs": -random(N, T).abs(),
        "values": random(N, T),
        "old_values": random(N, T),
        "entropy": random(N, T).abs(),
        "log_z": random(3)[[0] * 5 + [1] * 4 + [2] * 3],
        "share": torch.ones(N, dtype=torch.float64),
    }
    # Near and far from the policy, so that every limit of a ratio acts on some and not on others.
    distance = torch.tensor([0.3, 0.5, 0.5, 2, 5, 0.1, 0.2, 0.6, 4, 0.4, 6, 1])[:, None]
    found["old_logprobs"] = found["logprobs"] + distance * random(N, T)
    found["old_logprobs"][3] = found["logprobs"][3] - 0.9  # a good one, beyond every upper limit
    for name in ("logprobs", "old_logprobs", "ref_logprobs"):  # the third answer is the second
        found[name][2] = found[name][1]
    found["share"][[1, 2]] = 0.5
    found["guide_logprobs"] = 0.8 * found["ref_logprobs"]
    return found


def outcome(objective: Objective, *, on_policy: bool) -> list[Tensor]:
    """Loss, its gradients by the policy, the head and the critic, and where log Z goes."""
    given = tensors()
    leaf, head, values = (
        given[name].clone().requires_grad_() for name in ("logprobs", "log_z", "values")
    )
    answers = Answers(
        mask=given["mask"],
        rewards=given["rewards"],
        groups=given["groups"],
        old_logprobs=leaf.detach() if on_policy else given["old_logprobs"],
        ref_logprobs=given["ref_logprobs"],
        guide_logprobs=given["guide_logprobs"],
        share=given["share"],
        values=values.detach() if on_policy else given["old_values"],
    )
    answers = objective.prepare(answers)
    moved: list[Tensor] = []
    source = objective.log_z if isinstance(objective, Balance) else None
    if source in ("running", "offline"):
        answers = answers.replace(log_z=given["log_z"])
    if isinstance(objective, Balance) and source == "running":
        keys = [str(group) for group in answers.groups.tolist()]
        running = RunningLogZ(objective.running_rate)
        running.values = dict.fromkeys(keys, 0.0)
        running.update(keys, objective.own_log_z(answers.old_logprobs, answers))
        moved = [torch.tensor(list(running.values.values())).double()]
    answers = objective.estimate(leaf.detach(), answers)
    loss, _ = objective.loss(
        Scores(leaf, head if source == "head" else None, values, given["entropy"]),
        answers,
        objective.total(answers),
    )
    parts = torch.autograd.grad(loss, [leaf, head, values], allow_unused=True)
    return [loss.detach(), *(torch.zeros(1).double() if p is None else p for p in parts), *moved]


@cache
def recipe_of(name: str, *overrides: str) -> TrainConfig:
    return load(TrainConfig, None, ["data.task=countdown", f"algorithm={name}", *overrides])


def read(name: str, objective: dict[str, Any], *overrides: str) -> TrainConfig | None:
    """A recipe with these changes to the preset; None where they are refused."""
    try:
        config = recipe_of(name, *overrides).model_copy(update={"objective": objective})
        config.build_objective()
        return None if list(config._impossible()) else config
    except UserError:
        return None


def others(family: type[Objective], field: str, own: Any) -> list[Any]:
    """Values of a field beside its own."""
    kind = family.model_fields[field].annotation
    options: tuple[Any, ...] = NUMBERS.get(field, ())
    if get_origin(kind) is Literal:
        options = get_args(kind)
    elif kind is bool:
        options = (True, False)
    return [value for value in options if value != own]


@pytest.mark.filterwarnings("ignore:log_z. none with scale. mean")
@pytest.mark.parametrize(
    ("name", "on_policy"),
    [
        ("flowrl", False),
        ("flowrl", True),
        ("grpo", False),
        ("grpo", True),
        ("ppo", False),
        ("gspo", False),
        ("cispo", True),
    ],
)
def test_a_field_is_named_exactly_where_it_changes_nothing(name: str, on_policy: bool) -> None:
    row = PRESETS[name].objective
    family = type(row)
    epochs = f"train.epochs={1 if on_policy else 2}"
    ours = read(name, {}, epochs)
    assert ours is not None
    tried = idle = 0
    wrong: list[tuple[Any, ...]] = []
    for settings in SETTINGS[family]:
        base = ours.model_copy(update={"objective": settings})
        if read(name, settings, epochs) is None:
            continue
        before = outcome(base.build_objective(), on_policy=on_policy)
        for field in family.model_fields:
            if field in settings or field == "right_reward":
                continue
            for value in others(family, field, getattr(row, field)):
                config = read(name, settings | {field: value}, epochs)
                if config is None:
                    continue
                after = outcome(config.build_objective(), on_policy=on_policy)
                same = all(
                    torch.allclose(a, b, rtol=1e-6, atol=1e-9)
                    for a, b in zip(before, after, strict=True)
                )
                named = any(
                    text.startswith(f"objective.{field}:") for text in without_effect(config)
                )
                tried, idle = tried + 1, idle + same
                if named != same:
                    wrong.append((settings, field, value, "idle" if same else "acts"))
    assert not wrong
    assert tried > 50
    assert idle > 5
