"""Loss and gradient do not depend on padding, order, micro-batches or the numbers of groups."""

import pytest
import torch
from torch import Tensor

from flowbalance.objectives import Answers, Balance, Surrogate

N, T = 12, 5


def batch() -> tuple[Tensor, Answers]:
    generator = torch.Generator().manual_seed(3)
    logprobs, old, ref = -torch.rand(3, N, T, generator=generator, dtype=torch.float64)
    lengths = torch.randint(1, T + 1, (N,), generator=generator)
    mask = torch.arange(T) < lengths[:, None]
    groups = torch.tensor([5, 0, 5, 0, 9, 9, 5, 0, 9, 9, 5, 0])
    rewards = torch.rand(N, generator=generator, dtype=torch.float64)
    share = torch.where(torch.arange(N) % 3 == 0, 0.5, 1.0).double()
    return logprobs, Answers(mask, rewards, groups, old, ref, share=share)


def result(choices, logprobs: Tensor, answers: Answers, parts: list[Tensor]) -> tuple:
    """Loss, (N, T) gradient and metrics, summed over micro-batches of the given rows."""
    leaf = logprobs.clone().requires_grad_()
    answers = choices.estimate(leaf.detach(), choices.prepare(answers))
    total = choices.total(answers)
    loss, metrics = 0.0, {}
    for rows in parts:
        value, found = choices.loss(leaf[rows], answers[rows], total, head(choices, rows))
        value.backward()
        loss += value.item()
        for key, values in found.items():
            metrics.setdefault(key, torch.zeros(N).double())[rows] = values.double()
    return loss, leaf.grad, metrics


def head(choices, rows: Tensor) -> Tensor | None:
    return torch.sin(rows.double()) if choices.needs.log_z == "head" else None


CHOICES = [
    Balance(),
    Balance(log_z="group", duplicates="once"),
    Balance(log_z="leave-one-out", scale="sum", importance="geometric", duplicates="once"),
    Balance(log_z="group", importance="token", regression="cosh"),
    Balance(log_z="group", regression="linex", reward="raw", scale="constant", scale_length=4),
    Balance(log_z="group", prior_lift=0.8, right_reward=0.5, truncation="upper"),
    Surrogate(kl_coefficient=0.1),
    Surrogate(ratio="geometric", advantage="leave-one-out", epsilon_high=0.3),
    Surrogate(aggregation="token-mean", advantage="centred", kl_coefficient=0.1, kl_estimator="k2"),
    Surrogate(aggregation="constant", aggregation_length=8),
]
ids = range(len(CHOICES))
everything = [torch.arange(N)]


@pytest.mark.parametrize("choices", CHOICES, ids=ids)
def test_micro_batches_add_up(choices) -> None:
    """Even where they split groups and differ in size."""
    whole = result(choices, *batch(), everything)
    parts = [torch.tensor([0]), torch.tensor([11, 3, 4, 5, 1]), torch.tensor([2, 6, 7, 8, 9, 10])]
    torch.testing.assert_close(result(choices, *batch(), parts), whole)


@pytest.mark.parametrize("choices", CHOICES, ids=ids)
def test_padding_is_never_read(choices) -> None:
    logprobs, answers = batch()
    loss, gradient, metrics = result(choices, logprobs, answers, everything)

    def pad(x: Tensor, value: float) -> Tensor:
        filled = torch.where(answers.mask, x, value)
        return torch.cat([filled, torch.full((N, 2), value, dtype=x.dtype)], 1)

    padded = answers.replace(
        mask=torch.cat([answers.mask, torch.zeros(N, 2, dtype=torch.bool)], 1),
        old_logprobs=pad(answers.old_logprobs, float("nan")),
        ref_logprobs=pad(answers.ref_logprobs, -float("inf")),
    )
    other = result(choices, pad(logprobs, 1e30), padded, everything)
    torch.testing.assert_close(other, (loss, pad(gradient, 0.0), metrics))


@pytest.mark.parametrize("choices", CHOICES, ids=ids)
def test_order_and_group_numbers_do_not_matter(choices) -> None:
    logprobs, answers = batch()
    loss, gradient, metrics = result(choices, logprobs, answers, everything)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    shuffled = answers[order].replace(groups=100 - 3 * answers.groups[order])
    leaf = logprobs[order].requires_grad_()
    shuffled = choices.estimate(leaf.detach(), choices.prepare(shuffled))
    value, found = choices.loss(leaf, shuffled, choices.total(shuffled), head(choices, order))
    value.backward()
    torch.testing.assert_close(value.item(), loss)
    torch.testing.assert_close(leaf.grad, gradient[order])
    torch.testing.assert_close(found, {key: values[order] for key, values in metrics.items()})


@pytest.mark.parametrize("reward", ["group", "centred", "raw"])
@pytest.mark.parametrize("log_z", ["group", "leave-one-out"])
def test_a_shifted_reward_changes_nothing(reward: str, log_z: str) -> None:
    choices = Balance(log_z=log_z, reward=reward)
    logprobs, answers = batch()
    shifted = answers.replace(rewards=answers.rewards + 4)
    got, expected = (result(choices, logprobs, a, everything)[:2] for a in (shifted, answers))
    torch.testing.assert_close(got, expected)


def test_trajectory_balance_is_rloo() -> None:
    """s = γ = w = 1, leave-one-out Z: 2β × RLOO with the KL at coefficient 1/β in the reward."""
    beta = 5.0
    logprobs, answers = batch()
    choices = Balance(
        log_z="leave-one-out",
        scale="sum",
        reward="raw",
        importance="none",
        inverse_temperature=beta,
    )
    _, balance, _ = result(choices, logprobs, answers, everything)
    rloo = torch.zeros_like(balance)
    kl = ((logprobs - answers.ref_logprobs) * answers.mask).sum(-1)
    reward = answers.rewards - kl / beta
    for i in range(N):
        others = [j for j in range(N) if j != i and answers.groups[j] == answers.groups[i]]
        advantage = reward[i] - reward[others].mean()
        rloo[i] = -advantage * answers.mask[i] / N  # ∇ of −A·Σ_t log π_t, mean over answers
    torch.testing.assert_close(balance, 2 * beta * rloo)
