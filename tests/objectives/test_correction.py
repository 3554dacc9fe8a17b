"""Corrections: numbers by hand, gradients, and where off-policy answers lead, by enumeration."""

from __future__ import annotations

import math
from functools import cache
from typing import cast

import pytest
import torch
from tiny_policy import (
    MASK,
    REWARDS,
    every_group,
    gradient,
    log_prob,
    logits_of,
    random_logits,
    token_logprobs,
)
from torch import Tensor

from evenflow.objectives import PRESETS, Answers, Balance, Correction, Scores, Surrogate
from evenflow.objectives.correction import KINDS, Kind

LOG2, LOG4, LOG8 = (math.log(n) for n in (2, 4, 8))
NAN = math.nan

# log ρ_t of three answers: a ratio of 4 over two tokens, of 1/4 over one, of 4 over three.
LOG_RATIOS = [[LOG2, LOG2, NAN], [-LOG4, NAN, NAN], [LOG8, -LOG2, 0.0]]
CUBE = 4 ** (1 / 3)
BY_HAND = {
    # kind, limit, floor: weights of the tokens, share limited, largest ratio, count
    ("token-truncate", 3.0, 0.0): ([[2, 2], [1 / 4], [3, 1 / 2, 1]], [0, 0, 1 / 3], [2, 1 / 4, 8]),
    ("token-truncate", 3.0, 0.4): ([[2, 2], [0.4], [3, 1 / 2, 1]], [0, 1, 1 / 3], [2, 1 / 4, 8]),
    ("token-mask", 3.0, 0.0): ([[2, 2], [1 / 4], [0, 1 / 2, 1]], [0, 0, 1 / 3], [2, 1 / 4, 8]),
    ("token-mask", 3.0, 0.4): ([[2, 2], [0], [0, 1 / 2, 1]], [0, 1, 1 / 3], [2, 1 / 4, 8]),
    ("sequence-truncate", 3.0, 0.0): ([[3, 3], [1 / 4], [3, 3, 3]], [1, 0, 1], [4, 1 / 4, 4]),
    ("sequence-mask", 3.0, 0.0): ([[0, 0], [1 / 4], [0, 0, 0]], [1, 0, 1], [4, 1 / 4, 4]),
    ("sequence-mask", 5.0, 0.5): ([[4, 4], [0], [4, 4, 4]], [0, 1, 0], [4, 1 / 4, 4]),
    ("geometric-truncate", 1.8, 0.0): (
        [[1.8, 1.8], [1 / 4], [CUBE] * 3],
        [1, 0, 0],
        [2, 1 / 4, CUBE],
    ),
    ("geometric-mask", 1.8, 1 / 1.8): ([[0, 0], [0], [CUBE] * 3], [1, 1, 0], [2, 1 / 4, CUBE]),
}


def answers_of(log_ratios: list[list[float]]) -> tuple[Tensor, Answers]:
    """log π_before, and answers of a sampler with these log-ratios; padding is NaN."""
    ratios = torch.tensor(log_ratios, dtype=torch.float64)
    before = torch.full_like(ratios, -1.5)
    answers = Answers(
        mask=~ratios.isnan(),
        rewards=torch.zeros(len(ratios)),
        groups=torch.zeros(len(ratios), dtype=torch.long),
        old_logprobs=before,
        sampled_logprobs=before - ratios,
    )
    return before, answers


@pytest.mark.parametrize("case", BY_HAND)
def test_weights_by_hand(case: tuple[Kind, float, float]) -> None:
    weights, limited, largest = BY_HAND[case]
    before, answers = answers_of(LOG_RATIOS)
    answers, said = Correction(*case).weigh(before, answers)
    assert answers.correction is not None
    found = [row[mask].tolist() for row, mask in zip(answers.correction, answers.mask, strict=True)]
    for got, expected in zip(found, weights, strict=True):
        assert got == pytest.approx(expected)
    assert (answers.correction[~answers.mask] == 1).all()  # padding is finite
    assert said["correction_limited"].tolist() == pytest.approx(limited)
    assert said["correction_log_ratio"].exp().tolist() == pytest.approx(largest)
    assert said["correction"].tolist() == pytest.approx([sum(w) / len(w) for w in weights])
    of_tokens = case[0].startswith("token")
    assert said["correction_count"].tolist() == ([2, 1, 3] if of_tokens else [1, 1, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_sampler_that_is_the_policy_needs_no_correction(kind: Kind) -> None:
    before, answers = answers_of([[0.0, 0.0], [0.0, NAN]])
    answers, said = Correction(kind).weigh(before, answers)
    assert answers.correction is not None
    assert (answers.correction == 1).all()
    assert (said["correction_limited"] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("far", [1e3, -1e3, math.inf, -math.inf])
def test_ratios_of_any_size_stay_finite(kind: Kind, far: float) -> None:
    before, answers = answers_of([[far, 0.0]])
    answers, _ = Correction(kind, limit=1e6).weigh(before, answers)
    assert answers.correction is not None
    assert answers.correction.isfinite().all()


def random_batch() -> tuple[Tensor, Answers]:
    """Two groups of four answers of 1 to 5 tokens, old log-probs near and sampled ones further."""
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    n, width = 8, 5
    logprobs = -random(n, width).abs()
    before = logprobs + 0.1 * random(n, width)
    answers = Answers(
        mask=torch.arange(width) < torch.tensor([5, 2, 3, 1, 4, 5, 2, 3])[:, None],
        rewards=random(n),
        groups=torch.arange(2).repeat_interleave(4),
        old_logprobs=before,
        ref_logprobs=logprobs + 0.3 * random(n, width),
        sampled_logprobs=before + 0.5 * random(n, width),
        values=random(n, width),
    )
    return logprobs, answers


NAMES = ("grpo", "dapo", "dr-grpo", "gspo", "gmpo", "ppo", "rtb", "flowrl", "tba")
FAMILIES = {name: cast(Balance | Surrogate, PRESETS[name].objective) for name in NAMES}
FAMILIES["dr-grpo"] = FAMILIES["dr-grpo"].model_copy(update={"aggregation_length": 5.0})


def row_gradients(name: str, logprobs: Tensor, answers: Answers, total: Tensor | float) -> Tensor:
    """(N, T) of the loss by each log-prob."""
    objective = FAMILIES[name]
    leaf = logprobs.clone().requires_grad_()
    log_z = torch.full((len(answers),), 0.3, dtype=torch.float64)
    head = log_z if objective.needs.head else None
    values = None if answers.values is None else answers.values + 0.1
    loss, _ = objective.loss(Scores(leaf, head, values), answers, total)
    return torch.autograd.grad(loss, leaf)[0]


def prepared(name: str) -> tuple[Tensor, Answers, Tensor | float]:
    objective = FAMILIES[name]
    logprobs, answers = random_batch()
    answers = objective.estimate(logprobs, objective.prepare(answers))
    return logprobs, answers, objective.total(answers)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_mask_drops_an_answer_from_all_but_the_denominator(name: str) -> None:
    """Its KL, its critic's error and its group's advantages: as the batch without its row, divided
    by the whole batch's total."""
    logprobs, answers, total = prepared(name)
    _, said = Correction("sequence-mask", 1.5).weigh(answers.old_logprobs, answers)
    kept = said["correction_limited"] == 0
    assert 2 < kept.sum() < 7
    ones = torch.where(kept[:, None], 1.0, 0.0).expand_as(logprobs)
    got = row_gradients(name, logprobs, answers.replace(correction=ones), total)
    alone = row_gradients(name, logprobs[kept], answers[kept], total)
    assert (got[~kept] == 0).all()
    torch.testing.assert_close(got[kept], alone)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("kind", ["sequence-truncate", "sequence-mask", "geometric-truncate"])
def test_an_answers_weight_multiplies_its_gradient(name: str, kind: Kind) -> None:
    logprobs, answers, total = prepared(name)
    corrected, said = Correction(kind, 1.5).weigh(answers.old_logprobs, answers)
    plain = row_gradients(name, logprobs, answers, total)
    got = row_gradients(name, logprobs, corrected, total)
    torch.testing.assert_close(got, said["correction"][:, None] * plain)


@pytest.mark.parametrize("name", ["grpo", "dapo", "ppo"])
def test_a_tokens_weight_multiplies_its_gradient(name: str) -> None:
    logprobs, answers, total = prepared(name)
    corrected, _ = Correction("token-truncate", 1.5).weigh(answers.old_logprobs, answers)
    plain = row_gradients(name, logprobs, answers, total)
    assert corrected.correction is not None
    got = row_gradients(name, logprobs, corrected, total)
    torch.testing.assert_close(got, corrected.correction * plain)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_correction_of_one_is_none(name: str) -> None:
    logprobs, answers, total = prepared(name)
    ones = torch.ones_like(logprobs)
    assert torch.equal(
        row_gradients(name, logprobs, answers.replace(correction=ones), total),
        row_gradients(name, logprobs, answers, total),
    )


@pytest.mark.parametrize("name", ["tba", "rtb"])
def test_a_group_that_is_masked_whole_stays_finite(name: str) -> None:
    logprobs, answers, total = prepared(name)
    zeros = torch.zeros_like(logprobs)
    assert (row_gradients(name, logprobs, answers.replace(correction=zeros), total) == 0).all()


# --- off-policy, all answers enumerated ----------------------------------------------------------

REFERENCE, SAMPLER = random_logits(1), random_logits(7)
REF_TOKENS, SAMPLER_TOKENS = token_logprobs(REFERENCE), token_logprobs(SAMPLER)
PAIRS = torch.tensor(every_group(2)).flatten()  # (98,)
BETA = 1.7
TBA = Balance(log_z="group", scale="sum", reward="raw", importance="none", inverse_temperature=BETA)
KL_IN_LOSS = Surrogate(
    advantage="leave-one-out",
    clip="none",
    aggregation="constant",
    aggregation_length=1.0,
    kl_coefficient=0.5,
)
FULL = Correction("sequence-truncate", limit=1e6)


def expected_gradient(
    objective: Balance | Surrogate,
    logits: Tensor,
    sampler: Tensor | None = None,
    correction: Correction | None = None,
) -> Tensor:
    """(9,) E over all groups of two answers of the sampler, without one the policy itself, of the
    gradient of the group's loss; nothing but the correction knows who sampled them."""
    logits = logits.detach().clone().requires_grad_()
    tokens = token_logprobs(logits)
    sampled = (tokens if sampler is None else token_logprobs(sampler)).detach()
    leaf = tokens[PAIRS].detach().requires_grad_()
    answers = Answers(
        mask=MASK[PAIRS],
        rewards=REWARDS[PAIRS],
        groups=torch.arange(49).repeat_interleave(2),
        old_logprobs=leaf.detach(),
        ref_logprobs=REF_TOKENS[PAIRS],
        sampled_logprobs=sampled[PAIRS],
    )
    if correction is not None:
        answers, _ = correction.weigh(leaf.detach(), answers)
    answers = objective.estimate(leaf.detach(), objective.prepare(answers))
    loss, _ = objective.loss(Scores(leaf), answers, 2.0)
    rows = torch.autograd.grad(loss, leaf)[0]
    chance = sampled.sum(-1).exp()[PAIRS].view(49, 2).prod(1).repeat_interleave(2)
    return gradient((chance[:, None] * rows * tokens[PAIRS]).sum(), logits)


def descend(objective: Balance | Surrogate, sampler: Tensor | None) -> Tensor:
    """Where the policy rests."""
    logits = random_logits(0)
    for _ in range(3000):
        step = expected_gradient(objective, logits, sampler)
        if step.norm() < 1e-9:
            break
        logits = logits - 0.5 * step.view(3, 3)
    assert step.norm() < 1e-7
    return logits


@cache
def target() -> Tensor:
    """(7,) π* ∝ π_ref·e^{βr}."""
    return (REF_TOKENS.sum(-1) + BETA * REWARDS).softmax(-1)


@pytest.mark.parametrize("correction", [None, Correction(), Correction("sequence-truncate", 1.2)])
def test_the_balance_familys_fixed_point_is_there_whoever_samples(
    correction: Correction | None,
) -> None:
    rest = logits_of(target())
    for sampler in (SAMPLER, REFERENCE, random_logits(11)):
        assert expected_gradient(TBA, rest, sampler, correction).norm() < 1e-12


def test_the_balance_family_gets_there_from_answers_of_another_policy_alone() -> None:
    """w = 1: the sampler never changes, and the end is the target."""
    assert (log_prob(SAMPLER).exp() - target()).abs().max() > 0.1
    rest = descend(TBA, SAMPLER)
    torch.testing.assert_close(log_prob(rest).exp(), target(), atol=1e-5, rtol=0)


def test_a_surrogate_rests_elsewhere_on_answers_of_another_policy() -> None:
    """At its own fixed point it is driven away, unless each answer is weighed by the full ratio;
    a limited one leaves a part of the bias."""
    rest = descend(KL_IN_LOSS, None)
    away = expected_gradient(KL_IN_LOSS, rest, SAMPLER).norm()
    limited = expected_gradient(
        KL_IN_LOSS, rest, SAMPLER, Correction("sequence-truncate", 1.5)
    ).norm()
    assert away > 0.05
    assert 1e-3 * away < limited < 0.8 * away
    assert expected_gradient(KL_IN_LOSS, rest, SAMPLER, FULL).norm() < 1e-6


@pytest.mark.parametrize("seed", [0, 3])
def test_full_weights_make_every_loss_that_of_the_policys_own_answers(seed: int) -> None:
    """Its KL term included, for all of the loss is multiplied."""
    policy = random_logits(seed)
    own = expected_gradient(KL_IN_LOSS, policy)
    torch.testing.assert_close(expected_gradient(KL_IN_LOSS, policy, SAMPLER, FULL), own)
    assert (expected_gradient(KL_IN_LOSS, policy, SAMPLER) - own).norm() > 0.1 * own.norm()
