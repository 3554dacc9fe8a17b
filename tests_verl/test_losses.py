"""verl's own GRPO, GSPO and DAPO beside our Surrogate on the same tensors, in float64: equal, but
for what verl limits besides. The table of docs/baselines.md says the same in words."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from verl.trainer.ppo.core_algos import (
    agg_loss,
    compute_grpo_outcome_advantage,
    compute_value_loss,
    get_policy_loss_fn,
    kl_penalty_forward,
)
from verl.workers.config import FSDPActorConfig

from evenflow.objectives import PRESETS, Answers, Surrogate
from evenflow.objectives.clipping import value_loss
from evenflow.objectives.objective import Scores

QUESTIONS, G, T = 3, 5, 7
N = QUESTIONS * G
ROWS = {
    "grpo": ("vanilla", "seq-mean-token-mean"),
    "gspo": ("gspo", "seq-mean-token-mean"),
    "dapo": ("vanilla", "token-mean"),
    "dr-grpo": ("vanilla", "seq-mean-token-sum-norm"),
}


def batch(spread: float) -> tuple[Tensor, Answers]:
    """Random answers of 1 to T tokens; log-ratios of that spread."""
    generator = torch.Generator().manual_seed(11)
    lengths = torch.randint(1, T + 1, (N,), generator=generator)
    mask = torch.arange(T) < lengths[:, None]
    logprobs = -2 * torch.rand(N, T, generator=generator, dtype=torch.float64)
    noise = torch.randn(2, N, T, generator=generator, dtype=torch.float64)
    rewards = torch.rand(N, generator=generator, dtype=torch.float64)
    groups = torch.arange(QUESTIONS).repeat_interleave(G)
    old = logprobs - spread * noise[0]
    return logprobs.requires_grad_(), Answers(
        mask, rewards, groups, old, ref_logprobs=logprobs.detach() + 0.3 * noise[1]
    )


def ours(name: str, logprobs: Tensor, answers: Answers) -> Tensor:
    objective = PRESETS[name].objective
    assert isinstance(objective, Surrogate)
    if objective.aggregation == "constant":
        objective = objective.model_copy(update={"aggregation_length": float(T)})
    answers = objective.prepare(answers)
    loss, _ = objective.loss(Scores(logprobs), answers, objective.total(answers))
    return loss


def theirs(name: str, logprobs: Tensor, answers: Answers, dual_clip: float) -> Tensor:
    objective = PRESETS[name].objective
    assert isinstance(objective, Surrogate)
    loss_mode, aggregation = ROWS[name]
    config = FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=G,
        ppo_micro_batch_size_per_gpu=N,
        clip_ratio_low=objective.epsilon,
        clip_ratio_high=objective.upper,
        clip_ratio_c=dual_clip,
    )
    mask = answers.mask.double()
    rewards = torch.zeros(N, T, dtype=torch.float64)
    rewards[:, 0] = answers.rewards
    advantages, _ = compute_grpo_outcome_advantage(
        rewards,
        mask,
        answers.groups.numpy(),
        norm_adv_by_std_in_grpo=objective.advantage == "group",
    )
    loss, _ = get_policy_loss_fn(loss_mode)(
        answers.old_logprobs,
        logprobs,
        advantages,
        mask,
        loss_agg_mode=aggregation,
        config=config,
    )
    if objective.kl_coefficient:
        kl = kl_penalty_forward(logprobs, answers.ref_logprobs, "k3")
        loss = loss + objective.kl_coefficient * agg_loss(kl, mask, aggregation)
    return loss


def same(one: Tensor, two: Tensor, leaf: Tensor) -> None:
    """Equal in value and gradient; verl divides by a length plus 1e-8."""
    torch.testing.assert_close(one, two, rtol=1e-7, atol=1e-9)
    gradients = [torch.autograd.grad(value, leaf, retain_graph=True)[0] for value in (one, two)]
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ROWS)
def test_the_loss_is_the_same_where_the_dual_clip_does_not_act(name) -> None:
    logprobs, answers = batch(0.2)
    same(ours(name, logprobs, answers), theirs(name, logprobs, answers, 3.0), logprobs)


def test_beyond_its_dual_clip_verl_learns_less_from_wrong_answers() -> None:
    logprobs, answers = batch(1.5)
    mine = ours("grpo", logprobs, answers)
    same(mine, theirs("grpo", logprobs, answers, 1e6), logprobs)
    # A ratio above 3 with A < 0 counts as 3, and has no gradient.
    assert theirs("grpo", logprobs, answers, 3.0) < mine


def test_verl_limits_k3_to_ten_where_ours_goes_on() -> None:
    far = torch.tensor([[0.5, 2.0, 3.0]], dtype=torch.float64)  # log π_ref − log π
    logprobs = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    limited = kl_penalty_forward(logprobs, far, "k3")
    k3 = far.exp() - far - 1
    torch.testing.assert_close(limited.detach()[0, :2], k3[0, :2])
    assert limited[0, 2] == 10 < k3[0, 2]
    (gradient,) = torch.autograd.grad(limited.sum(), logprobs)
    assert gradient[0, 2] == 0


def test_the_value_loss_is_the_same_at_the_same_clip_which_is_wider_in_verl() -> None:
    generator = torch.Generator().manual_seed(2)
    old, values, returns = torch.randn(3, N, T, generator=generator, dtype=torch.float64)
    _, answers = batch(0.2)
    answers = answers.replace(values=old, returns=returns)
    mask = answers.mask.double()
    mine = (value_loss(values, answers, 0.2) * mask).sum() / mask.sum()
    for width, equal in ((0.2, True), (0.5, False)):
        verls, _ = compute_value_loss(values, returns, old, mask, width)
        assert torch.allclose(mine, verls) == equal
