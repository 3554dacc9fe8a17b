"""Listed problems: their answers, rewards and targets, and a policy's distribution over them."""

import math
from itertools import product

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from evenflow.policy.policy import Policy
from evenflow.studies.exact.experiments import full_problems
from evenflow.studies.exact.listing import Listing
from evenflow.studies.exact.measures import kl, measures
from evenflow.studies.exact.problems import MODES_APART, Problem, centres_of, differ

SINGLE = Problem("single", 3, 3, False, "unimodal", True, 2.0)
MIXED = Problem("mixed", 2, 3, True, "plateau", True, 2.0)


def random_model(problem: Problem, seed: int = 0) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=problem.vocabulary,
            n_positions=problem.limit + 2,
            n_embd=16,
            n_layer=1,
            n_head=2,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


def test_all_answers_are_listed() -> None:
    assert SINGLE.answers == list(product(range(3), repeat=3))
    # One letter is 1, the other 2; the end token is 0; after three letters an answer is cut off.
    ended = {(0,), *((a, 0) for a in (1, 2)), *((a, b, 0) for a in (1, 2) for b in (1, 2))}
    assert set(MIXED.answers) == ended | set(product((1, 2), repeat=3))
    assert len(MIXED.answers) == 1 + 2 + 4 + 8
    assert sorted(MIXED.lengths.tolist()) == [1, 2, 2] + [3] * 12


@pytest.mark.parametrize("problem", [SINGLE, MIXED], ids=lambda p: p.name)
def test_the_listing_is_the_policys_own_distribution(problem: Problem) -> None:
    model = random_model(problem)
    log_pi = Listing.of(problem).logprobs(model)
    torch.testing.assert_close(log_pi.exp().sum(-1), torch.ones(3).double(), rtol=0, atol=1e-12)
    policy = Policy(model)
    for q, prompt in enumerate(problem.prompts):
        scored = policy.score([prompt] * len(problem.answers), problem.answers)
        torch.testing.assert_close(scored.sum(1), log_pi[q].float(), rtol=0, atol=1e-5)


def test_listing_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model, listing = random_model(MIXED), Listing.of(MIXED)
    whole = listing.token_logprobs(model)
    monkeypatch.setattr("evenflow.studies.exact.listing.CHUNK", 5)
    torch.testing.assert_close(listing.token_logprobs(model), whole, rtol=0, atol=1e-6)


def test_unimodal_rewards_by_hand() -> None:
    problem = Problem("u", 4, 4, False, "unimodal", False, 1.0)
    for q in range(problem.questions):
        (centre,) = centres_of(problem, q, 1)
        other = ((centre[0] + 1) % 4, (centre[1] + 1) % 4, *centre[2:])
        assert problem.rewards[q, problem.index[centre]] == 1
        assert problem.rewards[q, problem.index[other]] == 0.5
        assert problem.modes[q].nonzero().flatten().tolist() == [problem.index[centre]]


def test_multimodal_rewards_by_hand() -> None:
    problem = Problem("m", 4, 4, False, "multimodal", False, 1.0)
    centres = centres_of(problem, 0, 4)
    assert all(differ(a, b) >= MODES_APART for i, a in enumerate(centres) for b in centres[:i])
    at_centres = problem.rewards[0, [problem.index[c] for c in centres]]
    torch.testing.assert_close(at_centres, torch.tensor([1.0, 0.9, 0.8, 0.7]).double())
    near = (*centres[0][:3], (centres[0][3] + 1) % 4)
    assert differ(near, centres[0]) == 1
    one_off = max(
        h * math.exp(-(differ(near, c) ** 2) / 1.5)
        for h, c in zip((1.0, 0.9, 0.8, 0.7), centres, strict=True)
    )
    assert problem.rewards[0, problem.index[near]].item() == pytest.approx(one_off)


def test_plateau_rewards_by_counting() -> None:
    """Sorted strings are multisets: C(V + k − 1, k) of k letters."""
    single = Problem("s", 4, 3, False, "plateau", False, 1.0)
    assert single.rewards.sum(-1).tolist() == [math.comb(6, 3)] * 3
    ended = sum(math.comb(2 + k - 1, k) for k in (1, 2))  # at most two letters before the end
    assert MIXED.rewards.sum(-1).tolist() == [ended] * 3
    assert MIXED.rewards[:, MIXED.index[(0,)]].sum() == 0


def test_target_by_hand() -> None:
    log_ref = torch.randn(3, 27, dtype=torch.float64).log_softmax(-1)
    log_target, log_z = SINGLE.target(log_ref)
    weights = log_ref.exp() * (2.0 * SINGLE.rewards).exp()
    torch.testing.assert_close(log_z.exp(), weights.sum(-1))
    torch.testing.assert_close(log_target.exp(), weights / weights.sum(-1, keepdim=True))


def test_measures_by_hand() -> None:
    log_pi = torch.tensor([[0.5, 0.5, 1e-300]], dtype=torch.float64).log()
    log_target = torch.tensor([[0.25, 0.25, 0.5]], dtype=torch.float64).log()
    rewards = torch.tensor([[0.0, 1.0, 1.0]], dtype=torch.float64)
    got = measures(log_pi, log_target, rewards, rewards == 1)
    log2 = math.log(2)
    assert got["kl"] == pytest.approx(log2)
    assert got["forward_kl"] == pytest.approx(0.5 * math.log(0.5) + 0.5 * math.log(0.5e300))
    assert got["total_variation"] == pytest.approx(0.5)
    assert got["modes_covered"] == pytest.approx(0.5)
    assert got["entropy"] == pytest.approx(log2)
    assert got["reward"] == pytest.approx(0.5)
    assert kl(log_pi, log_pi).item() == 0


def test_the_problems_cover_every_combination() -> None:
    problems = full_problems()
    small, large = problems[:12], problems[12:]
    assert len({(p.mixed, p.shape, p.prior) for p in small}) == 12
    assert len({p.name for p in problems}) == len(problems)
    sizes = [
        sum(p.letters**k for k in range(p.limit + 1)) if p.mixed else p.letters**p.limit
        for p in large
    ]
    assert [f"{n:,} answers" for n in sizes] == [p.name for p in large]


def test_modes_that_cannot_be_apart_are_refused() -> None:
    """Three letters have three strings of length 3 that differ everywhere, not four."""
    with pytest.raises(ValueError, match="no 4 answers differ in 3 positions"):
        _ = Problem("small", 3, 3, False, "multimodal", True, 2.0).rewards
