"""Guidance by the gold answer: what the reference finds likelier once it has read it."""

from typing import Any

import pytest
import torch
from torch import Tensor

from evenflow.objectives import PRESETS, Answers, Balance, balance_loss

CHOICES = Balance(
    log_z="group",
    scale="sum",
    reward="centred",
    importance="none",
    truncation="none",
    inverse_temperature=2.0,
    guidance=0.5,
)
REF = torch.tensor([[-1.0, -1.0], [-2.0, 0.0]], dtype=torch.float64)
GUIDE = torch.tensor([[-0.5, -0.9], [-1.2, 0.0]], dtype=torch.float64)


def given(**changes: Any) -> dict[str, Any]:
    """Two answers to one question, of two tokens and of one; the first is right."""
    return {
        "logprobs": torch.tensor([[-1.0, -0.5], [-1.5, 0.0]], dtype=torch.float64),
        "mask": torch.tensor([[1, 1], [1, 0]]),
        "rewards": torch.tensor([1.0, 0.0], dtype=torch.float64),
        "groups": torch.zeros(2).long(),
        "ref_logprobs": REF,
        "guide_logprobs": GUIDE,
        "choices": CHOICES,
    } | changes


def prepared(choices: Balance, rewards: list[float], *, guide: Tensor = GUIDE) -> Answers:
    mask = torch.tensor([[1, 1], [1, 0]])
    asked = Answers(mask, torch.tensor(rewards).double(), torch.zeros(2).long(), REF, REF, guide)
    return choices.prepare(asked)


def test_guidance_by_hand() -> None:
    """A = ½ and −½, β = 2, β_G = ½. Gold explains the first answer by (−0.5 + 1) + (−0.9 + 1) = 0.6
    nats, the second by −1.2 + 2 = 0.8: βr̃ = 1 + ½·0.6 = 1.3 and −1 − ½·0.8 = −1.4. The log-ratios
    to the reference are −1.5 + 2 = 0.5 and −1.5 + 2 = 0.5, so that log Z is the mean of 1.3 − 0.5
    and −1.4 − 0.5, −0.55, and δ = −0.55 + 0.5 − 1.3 = −1.35 and −0.55 + 0.5 + 1.4 = 1.35. The loss
    is 1.35², and its gradient δ on each token of an answer (2δ/N)."""
    leaf = given()["logprobs"].requires_grad_()
    loss, metrics = balance_loss(**given(logprobs=leaf))
    assert metrics["log_z"].tolist() == pytest.approx([-0.55, -0.55])
    assert metrics["residual"].tolist() == pytest.approx([-1.35, 1.35])
    assert loss.item() == pytest.approx(1.35**2)
    found = torch.autograd.grad(loss, leaf)[0]
    assert found.flatten().tolist() == pytest.approx([-1.35, -1.35, 1.35, 0])


def test_the_preset_by_hand() -> None:
    """A = ±½/(std + 1e-6) = ±1/√2 for rewards 1 and 0; η = 1: βr̃ = A + β_G·sgn(A)·(0.6, 0.8)."""
    row = PRESETS["flowbalance"].objective
    assert isinstance(row, Balance)
    answers = prepared(row, [1, 0])
    assert answers.signal is not None
    expected = [0.5**0.5 + row.guidance * 0.6, -(0.5**0.5) - row.guidance * 0.8]
    assert (row.inverse_temperature * answers.signal).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "first", "second"),
    [
        ({"scale": "mean"}, 0.6 / 2, 0.8 / 1),
        ({"scale": "constant", "scale_length": 4.0}, 0.6 / 4, 0.8 / 4),
        ({"guidance_clip": 0.4}, 0.4 + 0.1, 0.4),  # of 0.5 and 0.1, and of 0.8
        ({"guidance_clip": 0.4, "scale": "mean"}, (0.4 + 0.1) / 2, 0.4 / 1),
        ({"guidance_clip": 0.8}, 0.6, 0.8),
    ],
)
def test_guidance_is_scaled_as_log_probabilities_are_and_clipped_by_token(
    changes: dict[str, Any], first: float, second: float
) -> None:
    """A = ½ and −½, and βr̃ = βA + β_G·sgn(A)·s·Σ_t clip(0.5, 0.1) and (0.8), β 2, β_G ½."""
    answers = prepared(Balance(**CHOICES.model_dump() | changes), [1, 0])
    assert answers.signal is not None
    expected = [1 + 0.5 * first, -1 - 0.5 * second]
    assert (2 * answers.signal).tolist() == pytest.approx(expected)
    against = prepared(Balance(**CHOICES.model_dump() | changes), [1, 0], guide=2 * REF - GUIDE)
    assert against.signal is not None
    expected = [1 - 0.5 * first, -1 + 0.5 * second]
    assert (2 * against.signal).tolist() == pytest.approx(expected)


def test_the_authors_settings_by_hand() -> None:
    """δ = s·log π − target with the target log π_ref·s + η·A + β_T·sgn(A)·G and the mean over the
    group of s·log π_old less it, G the mean over tokens of gains within ± 4; the loss is the mean
    of δ². Two answers, of which the first is right, of two tokens and of one; A is ±1/√2."""
    ref = torch.tensor([[-1.0, -9.0], [-6.0, 0.0]], dtype=torch.float64)
    guide = torch.tensor([[-0.5, -1.0], [-12.0, 0.0]], dtype=torch.float64)
    old = torch.tensor([[-1.2, -8.0], [-5.0, 0.0]], dtype=torch.float64)
    row = PRESETS["flowbalance"].objective.model_dump() | {
        "scale": "mean",
        "inverse_temperature": 15.0,
        "guidance": 1.0,
        "guidance_clip": 4.0,
        "log_z_policy": "old",
    }
    leaf = torch.tensor([[-1.0, -7.0], [-5.5, 0.0]], dtype=torch.float64).requires_grad_()
    loss, _ = balance_loss(
        **given(
            logprobs=leaf, ref_logprobs=ref, guide_logprobs=guide, old_logprobs=old,
            choices=Balance(**row),
        )
    )  # fmt: skip
    a = 0.5 / (0.5**0.5 + 1e-6)
    flow = [-5 + 15 * a + (0.5 + 4) / 2, -6 - 15 * a - -4]
    profiled = ((-4.6 - flow[0]) + (-5 - flow[1])) / 2
    deltas = [-4 - flow[0] - profiled, -5.5 - flow[1] - profiled]
    assert loss.item() == pytest.approx((deltas[0] ** 2 + deltas[1] ** 2) / 2)
    found = torch.autograd.grad(loss, leaf)[0]
    assert found.flatten().tolist() == pytest.approx([deltas[0] / 2, deltas[0] / 2, deltas[1], 0])


@pytest.mark.parametrize("reward", ["group", "centred"])
@pytest.mark.parametrize("alike", [1.0, 0.1, 0.0])
def test_groups_of_one_reward_are_unguided(reward: str, alike: float) -> None:
    """0.1 three times has a mean that is not 0.1: no rounding error may be taken for a sign."""
    choices = CHOICES.model_copy(update={"reward": reward})
    tokens = torch.zeros(3, 2)
    asked = Answers(
        torch.ones(3, 2), torch.full((3,), alike), torch.zeros(3).long(), tokens, tokens, tokens + 9
    )
    answers = choices.prepare(asked)
    assert answers.signal is not None
    assert answers.signal.tolist() == [0, 0, 0]


def test_right_answers_are_pulled_to_what_gold_explains_and_wrong_ones_pushed_off_it() -> None:
    plain = CHOICES.model_copy(update={"guidance": 0.0})
    guided, unguided = (prepared(c, [1, 0]).signal for c in (CHOICES, plain))
    assert guided is not None
    assert unguided is not None
    assert guided[0] > unguided[0]
    assert guided[1] < unguided[1]
    less = prepared(CHOICES, [1, 0], guide=REF - 1).signal  # gold speaks against both
    assert less is not None
    assert less[0] < unguided[0]
    assert less[1] > unguided[1]


def test_gold_that_says_nothing_changes_nothing() -> None:
    plain = CHOICES.model_copy(update={"guidance": 0.0})
    found = balance_loss(**given(guide_logprobs=REF))
    expected = balance_loss(**given(guide_logprobs=None, choices=plain))
    torch.testing.assert_close(found, expected)


def test_without_a_prior_the_reference_is_asked_for_nevertheless() -> None:
    choices = CHOICES.model_copy(update={"reference_weight": 0.0})
    assert choices.needs.reference
    assert choices.needs.guide
    _, metrics = balance_loss(**given(choices=choices))
    # −1.35 and 1.35 of the test by hand were with equal log-ratios; now both log π are −1.5.
    assert metrics["residual"].tolist() == pytest.approx([-1.35, 1.35])
    with pytest.raises(ValueError, match="guidance above 0 needs `ref_logprobs`"):
        balance_loss(**given(choices=choices, ref_logprobs=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"guide_logprobs": None}, "needs `ref_logprobs` and `guide_logprobs`"),
        ({"guide_logprobs": torch.zeros(2)}, r"guide_logprobs must be \(2, 2\)"),
        ({"guide_logprobs": GUIDE * torch.inf}, "guide_logprobs must be finite"),
        ({"choices": Balance(log_z="group")}, "guidance: 0 reads no `guide_logprobs`"),
    ],
)
def test_calls_that_cannot_be_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        balance_loss(**given(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": "raw"}, "guidance above 0 needs reward: group or centred"),
        ({"log_z": "offline", "reward": "raw"}, "log_z: offline is of; use log_z: group"),
        ({"guidance": -1.0}, "guidance"),
    ],
)
def test_what_guidance_cannot_be_combined_with_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Balance(**CHOICES.model_dump() | changes)


def test_no_resting_place_is_claimed_nor_a_residual_without_its_pass() -> None:
    ref, rewards = torch.tensor([0.5, 0.5]).double().log(), torch.tensor([1.0, 0.0]).double()
    assert CHOICES.fixed_point(ref, rewards, torch.ones(2), 4) is None
    asked = Answers(torch.ones(2, 2), rewards, torch.zeros(2).long(), REF, REF)
    assert CHOICES.residual(REF, asked, None) is None
    assert CHOICES.residual(REF, asked.replace(guide_logprobs=GUIDE), None) is not None


@pytest.mark.parametrize("reward", ["group", "centred"])
@pytest.mark.parametrize(
    "rewards", [[0.1, 0.2, 0.3], [0.7, 0.8, 0.9], [0.1, 0.4, 0.7], [1000.1, 1000.2, 1000.3]]
)
def test_an_answer_at_its_groups_mean_is_unguided(reward: str, rewards: list[float]) -> None:
    """Its normalised reward is 0 but for rounding, whose sign is no sign of the reward."""
    choices = CHOICES.model_copy(update={"reward": reward})
    tokens, plain = torch.zeros(3, 2), choices.model_copy(update={"guidance": 0.0})
    asked = Answers(
        torch.ones(3, 2), torch.tensor(rewards), torch.zeros(3).long(), tokens, tokens, tokens + 25
    )
    guided, unguided = choices.prepare(asked).signal, plain.prepare(asked).signal
    assert guided is not None
    assert unguided is not None
    more = (guided - unguided).tolist()
    assert more[0] < -1
    assert more[1] == 0
    assert more[2] > 1
