"""The same value and gradient as TRL's own code on the same tensors, in float64.

TRL's floor under the standard deviation is 1e-4, ours 1e-6; the losses are compared at the same
advantages, and the advantages with that factor. `make test-trl` installs what this needs.
"""

from __future__ import annotations

from math import sqrt
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from trl import GRPOTrainer, RLOOTrainer
from trl.experimental.gmpo import GMPOTrainer
from trl.experimental.gspo_token import GRPOTrainer as TokenTrainer
from trl.experimental.ppo.ppo_trainer import PPOTrainer
from trl_code import loss as trl_loss
from trl_code import section

from evenflow.objectives import PRESETS, Answers, Correction, Surrogate
from evenflow.objectives.advantages import gae, whiten
from evenflow.objectives.correction import Kind
from evenflow.objectives.objective import Scores

# TRL's G/(G − 1) is a quotient in float32: 5/4 is exact.
QUESTIONS, G, T = 3, 5, 7
N = QUESTIONS * G


def batch(spread: float = 0.4) -> tuple[Tensor, Answers]:
    """Random answers of 1 to T tokens; log-ratios of that spread, so that every clip acts."""
    generator = torch.Generator().manual_seed(11)
    lengths = torch.randint(1, T + 1, (N,), generator=generator)
    mask = torch.arange(T) < lengths[:, None]
    logprobs = -2 * torch.rand(N, T, generator=generator, dtype=torch.float64)
    noise = torch.randn(3, N, T, generator=generator, dtype=torch.float64)
    rewards = torch.rand(N, generator=generator, dtype=torch.float64)
    groups = torch.arange(QUESTIONS).repeat_interleave(G)
    answers = Answers(
        mask, rewards, groups, logprobs - spread * noise[0], logprobs + 0.3 * noise[1]
    )
    return logprobs, answers.replace(values=noise[2])


def same(ours: Tensor, theirs: Tensor, leaf: Tensor, factor: float = 1.0) -> None:
    """Equal in value, and in gradient by `leaf`, up to a factor of ours."""
    torch.testing.assert_close(ours, factor * theirs, rtol=1e-12, atol=1e-14)
    one, two = (torch.autograd.grad(value, leaf)[0] for value in (ours, theirs))
    assert one.abs().sum() > 0
    torch.testing.assert_close(one, factor * two, rtol=1e-12, atol=1e-14)


def row(name: str, **changes: object) -> Surrogate:
    objective = PRESETS[name].objective
    assert isinstance(objective, Surrogate)
    return objective.model_copy(update=changes)


CLIP = {"epsilon_low": 0.2, "epsilon_high": 0.2}
HIGHER = {"epsilon_low": 0.2, "epsilon_high": 0.28}
NARROW = {"epsilon_low": 3e-4, "epsilon_high": 4e-4}
SEQUENCE = {"importance_sampling_level": "sequence"}
# Our choices, TRL's trainer and settings, and the spread of the log-ratios.
LOSSES = {
    "grpo": (row("grpo"), GRPOTrainer, CLIP | {"beta": 0.04}, 0.4),
    "grpo-without-kl": (row("grpo", kl_coefficient=0.0), GRPOTrainer, CLIP, 0.4),
    "dr-grpo": (
        row("dr-grpo", aggregation_length=float(T)),
        GRPOTrainer,
        CLIP | {"loss_type": "dr_grpo"},
        0.4,
    ),
    "dapo": (row("dapo"), GRPOTrainer, HIGHER | {"loss_type": "dapo"}, 0.4),
    "bnpo": (row("dapo"), GRPOTrainer, HIGHER | {"loss_type": "bnpo"}, 0.4),
    "prorl": (
        row("prorl"),
        GRPOTrainer,
        {"epsilon_low": 0.2, "epsilon_high": 0.4, "beta": 0.001},
        0.4,
    ),
    "gspo": (row("gspo"), GRPOTrainer, NARROW | SEQUENCE, 0.002),
    "gspo-wide": (
        row("gspo", epsilon=0.2, epsilon_high=0.28),
        GRPOTrainer,
        HIGHER | SEQUENCE,
        1.2,
    ),
    "gspo-token": (
        row("gspo", ratio="geometric-token"),
        TokenTrainer,
        NARROW | {"importance_sampling_level": "sequence_token"},
        0.002,
    ),
    "gmpo": (row("gmpo"), GMPOTrainer, {"epsilon_low": 0.4, "epsilon_high": 0.4}, 0.8),
    # TRL's cap is the weight itself, ours 1 + epsilon_high
    "cispo": (row("cispo"), GRPOTrainer, {"loss_type": "cispo", "epsilon_high": 5.0}, 1.5),
    "cispo-low": (
        row("cispo", epsilon_high=0.28),
        GRPOTrainer,
        {"loss_type": "cispo", "epsilon_high": 1.28},
        0.4,
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_trl_loss(name: str) -> None:
    choices, trainer, settings, spread = LOSSES[name]
    logprobs, answers = batch(spread)
    answers = choices.prepare(answers)
    leaf = logprobs.requires_grad_()
    ours, metrics = choices.loss(Scores(leaf), answers, choices.total(answers))
    assert answers.advantages is not None
    inputs = {
        "advantages": answers.advantages[:, 0],
        "old_per_token_logps": answers.old_logprobs,
        "ref_per_token_logps": answers.ref_logprobs,
    }
    assert 0 < metrics["clipped"].mean() < 1
    same(ours, trl_loss(trainer, leaf, answers.mask, inputs, **settings), leaf)


def test_trl_entropy_bonus() -> None:
    """TRL's is a mean over tokens whatever the loss: with our token mean it is the same."""
    logprobs, answers = batch()
    choices = row("dapo", entropy_bonus=0.01)
    answers = choices.prepare(answers)
    entropy = logprobs.cos().requires_grad_()
    ours, _ = choices.loss(Scores(logprobs, entropy=entropy), answers, choices.total(answers))
    inputs = {
        "advantages": answers.advantages[:, 0],
        "old_per_token_logps": answers.old_logprobs,
    }
    settings = HIGHER | {"loss_type": "dapo", "entropy_coef": 0.01}
    theirs = trl_loss(GRPOTrainer, logprobs, answers.mask, inputs, entropy, **settings)
    same(ours, theirs, entropy)


def trl_grpo_advantages(answers: Answers, scale: str) -> Tensor:
    found = section(
        GRPOTrainer._generate_and_score_completions,
        "mean_grouped_rewards = torch.nanmean(",
        "is_std_zero =",
        self=SimpleNamespace(scale_rewards=scale),
        rewards=answers.rewards,
        num_generations=G,
    )
    return found["advantages"]


def test_trl_group_advantages() -> None:
    """(r − mean)/(std + floor), std with G − 1; the floors 1e-6 and 1e-4 differ."""
    _, answers = batch()
    std = answers.rewards.view(QUESTIONS, G).std(dim=1).repeat_interleave(G)
    ours = row("grpo").prepare(answers).advantages[:, 0]
    theirs = trl_grpo_advantages(answers, "group")
    torch.testing.assert_close(ours, theirs * (std + 1e-4) / (std + 1e-6), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=0)


def test_trl_centred_advantages() -> None:
    _, answers = batch()
    choices = row("dr-grpo")
    got = choices.prepare(answers).advantages[:, 0]
    torch.testing.assert_close(got, trl_grpo_advantages(answers, "none"), rtol=1e-12, atol=1e-14)


def test_trl_rloo() -> None:
    """Its leave-one-out advantages with the KL in the reward, and its gradient on-policy.

    TRL's ratio is that of the whole answer: on-policy it is 1, with the gradient of the summed
    log π. Ours has a term A a token: its value is Σ |y|·A instead of Σ A, its gradient the same.
    """
    logprobs, answers = batch(spread=0.0)
    choices = row("rloo")
    answers = choices.prepare(answers)
    method = RLOOTrainer._generate_and_score_completions
    kl = section(
        method,
        "per_token_kl = old_per_token_logps - ref_per_token_logps",
        "kl = (per_token_kl",
        old_per_token_logps=answers.old_logprobs,
        ref_per_token_logps=answers.ref_logprobs,
        completion_mask=answers.mask,
    )["kl"]
    theirs = section(
        method,
        "grouped_rewards = rewards.view(",
        "advantages = torch.zeros_like(rewards)",
        rewards=answers.rewards - choices.kl_coefficient * kl,
        num_generations=G,
    )["advantages"]
    advantages = answers.advantages[:, 0]
    torch.testing.assert_close(advantages, theirs, rtol=1e-12, atol=1e-14)

    leaf = logprobs.requires_grad_()
    ours, _ = choices.loss(Scores(leaf), answers, choices.total(answers))
    inputs = {"advantages": theirs, "old_logps": answers.token_sum(answers.old_logprobs)}
    value = trl_loss(RLOOTrainer, leaf, answers.mask, inputs)
    torch.testing.assert_close(ours, -(answers.lengths * advantages).mean())
    torch.testing.assert_close(value, -advantages.mean(), rtol=1e-12, atol=1e-14)
    one, two = (torch.autograd.grad(loss, leaf)[0] for loss in (ours, value))
    assert one.abs().sum() > 0
    torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-14)


def trl_gae(answers: Answers, rewards: Tensor, discount: float, lam: float) -> dict[str, Tensor]:
    return section(
        PPOTrainer.train,
        "lastgaelam = 0",
        "advantages = torch.masked_fill(advantages",
        values=answers.values.masked_fill(~answers.mask, 0),
        rewards=rewards.masked_fill(~answers.mask, 0),
        args=SimpleNamespace(gamma=discount, lam=lam),
        responses=answers.mask,
        padding_mask=~answers.mask,
    )


@pytest.mark.parametrize(("discount", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0)])
def test_trl_ppo_advantages(discount: float, lam: float) -> None:
    """GAE and returns; whitened with variance/n by us and variance/(n − 1) by TRL."""
    _, answers = batch()
    rewards = torch.randn(N, T, generator=torch.Generator().manual_seed(2)).double()
    rewards = rewards.where(answers.mask, 0.0)
    found = trl_gae(answers, rewards, discount, lam)
    advantages, returns = gae(rewards, answers.values, answers.mask, discount, lam)
    torch.testing.assert_close(returns, found["returns"], rtol=1e-12, atol=1e-14)
    ours = whiten(advantages, answers.mask).where(answers.mask, 0.0)
    n = int(answers.mask.sum())
    # TRL's n/(n − 1) is rounded to float32, and the factor leaves out the floor under the variance
    torch.testing.assert_close(ours, found["advantages"] * sqrt(n / (n - 1)), rtol=1e-7, atol=0)


def test_trl_ppo_loss() -> None:
    """Policy and clipped value loss, at TRL's vf_coef 1: our critic has its own optimiser."""
    choices = row("ppo")
    logprobs, answers = batch()
    answers = choices.prepare(answers)
    mask, everything = answers.mask, torch.arange(N)
    leaf = logprobs.clone().requires_grad_()
    values = (answers.values + 0.3 * logprobs.sin()).requires_grad_()
    ours, metrics = choices.loss(Scores(leaf, values=values), answers, choices.total(answers))
    found = section(
        PPOTrainer.train,
        "vpredclipped = torch.clamp(",
        "loss = pg_loss + args.vf_coef * vf_loss",
        args=SimpleNamespace(cliprange=0.2, cliprange_value=0.2, vf_coef=1.0),
        vpred=values.masked_fill(~mask, 0),
        mb_values=answers.values.masked_fill(~mask, 0),
        mb_return=answers.returns,
        mb_advantage=answers.advantages.masked_fill(~mask, 0),
        mb_logprobs=answers.old_logprobs.masked_fill(~mask, 1.0),
        new_logprobs=leaf.masked_fill(~mask, 1.0),
        padding_mask=~mask,
        padding_mask_p1=~mask,
        micro_batch_inds=everything,
    )
    assert 0 < metrics["clipped"].mean() < 1
    assert 0 < found["vf_clipfrac"] < 1
    for gradient_of in (leaf, values):
        same_gradient = torch.autograd.grad(found["loss"], gradient_of, retain_graph=True)[0]
        got = torch.autograd.grad(ours, gradient_of, retain_graph=True)[0]
        assert got.abs().sum() > 0
        torch.testing.assert_close(got, same_gradient, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(ours, found["loss"], rtol=1e-12, atol=1e-14)


def trl_correction(before: Tensor, answers: Answers, mode: str, high: float) -> Tensor:
    """(N, T) or (N, 1): TRL's ratio of the trainer's to vLLM's log-probs, limited."""
    return section(
        GRPOTrainer._generate_and_score_completions,
        "if self.use_vllm and self.vllm_importance_sampling_correction:",
        "# Compute the per-token log probabilities for the reference model",
        self=SimpleNamespace(
            use_vllm=True,
            vllm_importance_sampling_correction=True,
            vllm_importance_sampling_mode=mode,
            vllm_importance_sampling_clip_max=high,
            vllm_importance_sampling_clip_min=None,
        ),
        old_per_token_logps=before.where(answers.mask, 0.0),
        sampling_per_token_logps=answers.sampled_logprobs.where(answers.mask, 0.0),
        completion_mask=answers.mask,
        tool_mask=None,
    )["vllm_importance_sampling_ratio"]


@pytest.mark.parametrize(
    "kind", ["token-truncate", "token-mask", "sequence-truncate", "sequence-mask"]
)
@pytest.mark.parametrize("name", ["grpo-without-kl", "dr-grpo", "dapo"])
def test_trl_correction(name: str, kind: Kind) -> None:
    """Its weights and the loss with them; without the KL to the reference, which TRL leaves as it
    is and we multiply as well."""
    choices, trainer, settings, _ = LOSSES[name]
    logprobs, answers = batch()
    before = answers.old_logprobs
    answers = answers.replace(sampled_logprobs=before - 0.5 * (7 * before).cos())
    answers = choices.prepare(answers)
    corrected, said = Correction(kind, 1.3).weigh(before, answers)
    theirs = trl_correction(before, answers, kind.replace("-", "_"), 1.3)
    inside = theirs.expand_as(before)[answers.mask]
    torch.testing.assert_close(corrected.correction[answers.mask], inside, rtol=1e-12, atol=0)
    assert 0 < said["correction_limited"].mean() < 1

    leaf = logprobs.requires_grad_()
    ours, _ = choices.loss(Scores(leaf), corrected, choices.total(answers))
    inputs = {
        "advantages": answers.advantages[:, 0],
        "old_per_token_logps": before,
        "importance_sampling_ratio": theirs,
    }
    more = {"use_vllm": True, "vllm_importance_sampling_correction": True}
    same(ours, trl_loss(trainer, leaf, answers.mask, inputs, **settings, **more), leaf)
