"""docs/related.md: its settings exist, its links resolve, and the identities it states hold."""

from __future__ import annotations

import re
from math import exp, log
from pathlib import Path

import pytest
import torch
from torch import Tensor

from evenflow.config import TrainConfig, load
from evenflow.objectives import PRESETS, Balance, balance_loss, offline_log_z
from evenflow.objectives.residual import regress

PAGE = Path(__file__).parents[1] / "docs" / "related.md"
TEXT = PAGE.read_text(encoding="utf-8")
CODE = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", TEXT)]
SETTINGS = sorted({span for span in CODE if "=" in span})

# Four answers of one token to one question.
LOG_PI = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log()
LOG_REF = torch.tensor([0.1, 0.5, 0.2, 0.2], dtype=torch.float64).log()
REWARDS = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
BETA = 3.0


def loss(
    choices: Balance,
    rewards: Tensor = REWARDS,
    log_pi: Tensor = LOG_PI,
    log_ref: Tensor = LOG_REF,
    log_z: Tensor | None = None,
) -> tuple[float, dict[str, Tensor]]:
    ones = torch.ones(4, 1)
    value, metrics = balance_loss(
        log_pi[:, None],
        ones,
        rewards,
        torch.zeros(4, dtype=torch.long),
        ref_logprobs=log_ref[:, None],
        log_z=log_z,
        choices=choices,
    )
    return value.item(), metrics


def tba(**changes: object) -> Balance:
    row = PRESETS["tba"].objective.model_dump()
    return Balance(**{**row, "inverse_temperature": BETA, **changes})


# --- the page --------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings_are_read(settings: str) -> None:
    config = load(TrainConfig, None, ["data.task=countdown", *settings.split()])
    objective = config.build_objective()
    for key, value in (setting.split("=") for setting in settings.split()):
        if key.startswith("objective."):
            assert str(getattr(objective, key.removeprefix("objective."))) in (value, f"{value}.0")


def test_names_and_links_resolve() -> None:
    named = [span for span in CODE if span.startswith("test_")]
    assert len(named) >= 6
    assert [name for name in named if name not in globals()] == []
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in link]
    assert links
    assert [link for link in links if not (PAGE.parent / link).is_file()] == []
    for label, address in re.findall(r"\[([0-9.]+)\]\(([^)]+)\)", TEXT):
        assert address == f"https://arxiv.org/abs/{label}"


# --- the identities --------------------------------------------------------------------------


def test_vargrad_is_the_group_variance() -> None:
    log_ratio = LOG_PI - LOG_REF - BETA * REWARDS
    assert loss(tba())[0] == pytest.approx(log_ratio.var(correction=0).item())


def test_a_star_po_is_an_offline_log_z() -> None:
    kappa = 0.25
    choices = tba(
        log_z="offline", scale="constant", scale_length=1 / kappa, inverse_temperature=1.0
    )
    value, _ = offline_log_z(REWARDS, LOG_REF, 1.0, kappa, 1.0)
    v_star = kappa * log((2 * exp(1 / kappa) + 2) / 4)
    assert value.item() == pytest.approx(v_star)
    errors = kappa * (LOG_PI - LOG_REF) - REWARDS + v_star
    assert loss(choices, log_z=value.expand(4))[0] == pytest.approx(errors.square().mean().item())


@pytest.mark.parametrize(
    ("changes", "f"),
    [  # f(u) = u·∫₁ᵘ g'(log v)/v² dv, g of −δ, integrated by hand
        ({"regression": "square"}, lambda u: 2 * (u - 1 - u.log())),
        ({"regression": "linex", "linex_alpha": -1}, lambda u: 2 * (u * u.log() - u + 1)),
        ({"regression": "linex", "linex_alpha": -0.5}, lambda u: 4 * (u.sqrt() - 1) ** 2),
        ({"regression": "cosh"}, lambda u: u * u.log() + 1 / (2 * u) - u / 2),
    ],
)
def test_regressions_descend_their_divergence(changes, f) -> None:
    logits = LOG_PI.clone().requires_grad_()
    log_pi = logits.log_softmax(0)
    log_target = (LOG_REF + REWARDS).log_softmax(0)
    choices = tba(**changes)
    losses = regress(log_pi - log_target, choices.regression, choices.linex_alpha)
    (regression,) = torch.autograd.grad(
        (log_pi.exp().detach() * losses).sum(), logits, retain_graph=True
    )
    divergence = (log_pi.exp() * f((log_target - log_pi).exp())).sum()
    (expected,) = torch.autograd.grad(divergence, logits)
    assert expected.abs().max() > 0.01
    assert regression.tolist() == pytest.approx(expected.tolist(), abs=1e-12)


@pytest.mark.parametrize("alpha", [-0.5, 0.0, 0.5, 2.0])
def test_f_tb_alpha_divergence_is_linex(alpha: float) -> None:
    """f'(u) = (u^{α−1} − 1)/(α − 1); the integral by the trapezoidal rule."""
    for delta in (-1.5, 0.7):
        t = torch.linspace(0, delta, 20001, dtype=torch.float64)
        integral = torch.trapezoid(((t * (alpha - 1)).exp() - 1) / (alpha - 1), t)
        ours = regress(torch.tensor(delta, dtype=torch.float64), "linex", alpha - 1)
        assert ours.item() == pytest.approx(2 * integral.item(), rel=1e-6)


def test_mara_is_prior_lift_one() -> None:
    right = REWARDS == 1
    best = LOG_REF[right].max()
    augmented = REWARDS + torch.where(right, best - LOG_REF, 0.0) / BETA
    lifted = loss(tba(prior_lift=1.0))[1]["residual"]
    assert lifted.tolist() == pytest.approx(loss(tba(), augmented)[1]["residual"].tolist())
    assert lifted.tolist() != pytest.approx(loss(tba())[1]["residual"].tolist())


def test_paced_rl_log_z_is_accuracy() -> None:
    """Answers a, a, b, c stand for π_old = ½, ¼, ¼; a is right."""
    old = torch.tensor([0.5, 0.5, 0.25, 0.25], dtype=torch.float64).log()
    new = torch.tensor([0.6, 0.6, 0.3, 0.1], dtype=torch.float64).log()
    kl = (old - new).mean().item()
    assert kl > 0.05
    for log_pi, distance in ((old, 0.0), (new, kl)):
        log_z = loss(tba(), log_pi=log_pi, log_ref=old)[1]["log_z"]
        assert (log_z - distance).tolist() == pytest.approx([BETA * 0.5] * 4)
