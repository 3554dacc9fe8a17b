"""AdamW's groups and the learning rate's course."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from evenflow.training.optim import (
    Schedule,
    adamw,
    load_moments,
    parameter_groups,
    rate_factor,
    set_rate,
)


def rates(kind: Schedule, warmup: int, total: int, floor: float = 0.0) -> list[float]:
    return [rate_factor(step, kind, warmup, total, floor) for step in range(total)]


def test_constant_after_warm_up() -> None:
    assert rates("constant", 3, 6) == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1, 1, 1])
    assert rates("constant", 0, 2) == [1, 1]


def test_linear_reaches_zero_after_the_last_step() -> None:
    assert rates("linear", 1, 5) == pytest.approx([0.5, 1, 0.75, 0.5, 0.25])


def test_cosine_falls_to_its_floor() -> None:
    seen = rates("cosine", 0, 4, floor=0.1)
    expected = [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * i / 4)) for i in range(4)]
    assert seen == pytest.approx(expected)


def test_weight_decay_on_matrices_only() -> None:
    model = nn.Linear(3, 3)
    frozen = nn.Parameter(torch.ones(3, 3), requires_grad=False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = adamw(parameter_groups([*model.parameters(), frozen], 0.1, 0.5))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(model.weight, before["weight"] * (1 - 0.1 * 0.5))
    assert torch.equal(model.bias, before["bias"])
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2


def test_groups_keep_their_own_rates() -> None:
    groups = parameter_groups([nn.Parameter(torch.ones(2, 2))], 0.1, 0.0)
    groups += parameter_groups([nn.Parameter(torch.ones(2, 2))], 0.3, 0.0)
    optimizer = adamw(groups, (0.8, 0.9))
    set_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.15])
    assert all(group["betas"] == (0.8, 0.9) for group in optimizer.param_groups)


def test_moments_go_on_on_another_device() -> None:
    """A GPU updates in one kernel, which a CPU need not; what is saved says which it was."""

    def stepped() -> AdamW:
        parameter = nn.Parameter(torch.ones(2, 2))
        optimizer = adamw(parameter_groups([parameter], 0.1, 0.0))
        parameter.grad = torch.ones(2, 2)
        optimizer.step()
        return optimizer

    saved, own = stepped().state_dict(), stepped()
    assert own.defaults["fused"] is None
    for group in saved["param_groups"]:
        group["fused"] = True
    load_moments(own, saved)
    assert {group["fused"] for group in own.param_groups} == {None}
    assert torch.equal(own.state_dict()["state"][0]["exp_avg"], saved["state"][0]["exp_avg"])
    assert saved["param_groups"][0]["fused"]  # what was read is left as it was
