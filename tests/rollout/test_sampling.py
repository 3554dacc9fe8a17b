"""Filters and the draw, on distributions written by hand."""

from __future__ import annotations

import math

import pytest
import torch

from evenflow.rollout.embedded.draw import draw, first_beyond, keep_top_k, keep_top_p
from evenflow.rollout.sampling import Sampling

PROBS = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15])
LOGITS = PROBS.log()[None] + 3.0  # logits are log-probs up to a constant


def kept(logits: torch.Tensor) -> set[int]:
    return set(logits[0].isfinite().nonzero()[:, 0].tolist())


@pytest.mark.parametrize(
    ("k", "expected"), [(1, {1}), (2, {1, 3}), (5, set(range(5))), (9, set(range(5)))]
)
def test_top_k(k, expected):
    assert kept(keep_top_k(LOGITS, k)) == expected


@pytest.mark.parametrize(
    ("p", "expected"),
    [(0.01, {1}), (0.41, {1, 3}), (0.69, {1, 3}), (0.71, {1, 3, 4}), (0.96, set(range(5)))],
)
def test_top_p(p, expected):
    assert kept(keep_top_p(LOGITS, p)) == expected


def everywhere(sampling: Sampling, points: int = 20000) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws at evenly spread uniforms: frequencies are probabilities to 1 / points."""
    uniform = (torch.arange(points) + 0.5) / points
    return draw(LOGITS.expand(points, -1), sampling, uniform)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, PROBS),
        ({"temperature": 0.5}, PROBS**2 / (PROBS**2).sum()),
        ({"top_k": 2}, torch.tensor([0, 4 / 7, 0, 3 / 7, 0])),
        ({"top_p": 0.8}, torch.tensor([0, 0.4, 0, 0.3, 0.15]) / 0.85),
        # Top-k first: of 4/7 and 3/7 the larger alone reaches one half.
        ({"top_k": 2, "top_p": 0.5}, torch.tensor([0.0, 1, 0, 0, 0])),
    ],
)
def test_draw_follows_the_kept_distribution_and_reports_it(changes, expected):
    token, logprob = everywhere(Sampling(max_tokens=1, **changes))
    frequencies = token.bincount(minlength=5) / len(token)
    torch.testing.assert_close(frequencies, expected, atol=2e-4, rtol=0)
    torch.testing.assert_close(logprob, expected.log()[token], atol=1e-5, rtol=0)


def test_the_ends_of_the_unit_interval_never_leave_the_kept_set():
    logits = torch.tensor([[-math.inf, 0.3, -math.inf, 1.7, -math.inf]]).expand(2, -1)
    ends = torch.tensor([0.0, 1 - 2**-24])  # the least and the largest that torch.rand gives
    token, _ = draw(logits, Sampling(max_tokens=1), ends)
    assert token.tolist() == [1, 3]


def test_greedy_ignores_the_noise_and_reports_temperature_one():
    token, logprob = draw(LOGITS, Sampling(max_tokens=1, temperature=0), torch.tensor([0.99]))
    assert token.tolist() == [1]
    torch.testing.assert_close(logprob, PROBS[1].log()[None])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("stop_ids", (2, -1)),
    ],
)
def test_bad_fields_are_named(field, value):
    with pytest.raises(ValueError, match=f"^{field} "):
        Sampling(**({"max_tokens": 1} | {field: value}))


@pytest.mark.parametrize("size", [5, 128, 1000])
@pytest.mark.parametrize("changes", [{}, {"top_k": 3}, {"top_p": 0.5}, {"temperature": 0}], ids=str)
def test_a_draw_in_blocks_is_the_same_draw(size: int, changes: dict[str, float]) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2000, size, generator=generator)
    uniform = torch.rand(2000, generator=generator)
    sampling = Sampling(max_tokens=1, **changes)  # type: ignore[arg-type]
    token, logprob = draw(logits, sampling, uniform, in_blocks=False)
    other, other_logprob = draw(logits, sampling, uniform, in_blocks=True)
    # At a border of two tokens rounding decides.
    assert (token != other).sum() <= 1
    torch.testing.assert_close(logprob[token == other], other_logprob[token == other])


def test_a_scan_that_rounds_unevenly_never_gives_a_token_without_a_chance() -> None:
    """As parallel ones do: the mass wobbles where it should stay, and ends below the target."""
    weights = torch.tensor([[0.0, 1.0, 0.0, 0.0, 1.0, 0.0]])
    wobbling = torch.tensor([[1e-7, 1.0, 1.0 + 2e-7, 1.0 - 2e-7, 2.0, 2.0 - 2e-7]])
    for target, expected in ((0.0, 1), (0.5, 1), (1.0, 4), (1.0 + 1e-7, 4), (1.9, 4), (2.1, 4)):
        found = first_beyond(wobbling, weights, torch.tensor([[target]]))
        assert found.tolist() == [[expected]]


def test_draws_in_blocks_at_the_ends_of_the_unit_interval() -> None:
    logits = torch.full((2, 700), -math.inf)
    logits[:, 130], logits[:, 400] = 0.3, 1.7
    ends = torch.tensor([0.0, 1 - 2**-24])
    token, logprob = draw(logits, Sampling(max_tokens=1), ends, in_blocks=True)
    assert token.tolist() == [130, 400]
    assert logprob.isfinite().all()
