"""Loss and gradient do not depend on padding, order, micro-batches or the numbers of groups."""

import pytest
import torch
from surrogate_rows import SURROGATES
from torch import Tensor

from evenflow.objectives import Answers, Balance, Surrogate
from evenflow.objectives.objective import Scores

N, T = 12, 5


def batch() -> tuple[Tensor, Answers]:
    generator = torch.Generator().manual_seed(3)
    logprobs, old, ref, values = -torch.rand(4, N, T, generator=generator, dtype=torch.float64)
    lengths = torch.randint(1, T + 1, (N,), generator=generator)
    mask = torch.arange(T) < lengths[:, None]
    groups = torch.tensor([5, 0, 5, 0, 9, 9, 5, 0, 9, 9, 5, 0])
    rewards = torch.rand(N, generator=generator, dtype=torch.float64)
    share = torch.where(torch.arange(N) % 3 == 0, 0.5, 1.0).double()
    guide = 0.7 * ref.roll(1, 0)
    answers = Answers(mask, rewards, groups, old, ref, guide, share=share, values=values)
    return logprobs, answers


def result(choices, logprobs: Tensor, answers: Answers, parts: list[Tensor]) -> tuple:
    """Loss, gradients and metrics, summed over micro-batches of the given rows.

    The gradients, each (N, T), are those of the log-probs and, where the choices ask for them, of
    the critic's values and the entropies, both made from the log-probs.
    """
    given = {"logprobs": logprobs, "values": logprobs.sin(), "entropy": logprobs.cos()}
    wanted = ["logprobs"] + [
        k
        for k in ("values", "entropy")
        if getattr(choices.needs, k) or (k == "values" and choices.needs.flows)
    ]
    leaves = {name: given[name].clone().requires_grad_() for name in wanted}
    answers = choices.estimate(logprobs, choices.prepare(answers))
    total = choices.total(answers)
    loss, metrics = 0.0, {}
    for rows in parts:
        part = {name: leaf[rows] for name, leaf in leaves.items()}
        if choices.needs.head:
            part["log_z"] = torch.sin(answers.rewards[rows])
        value, found = choices.loss(Scores(**part), answers[rows], total)
        value.backward()
        loss += value.item()
        for key, values in found.items():
            metrics.setdefault(key, torch.zeros(N).double())[rows] = values.double()
    return loss, [leaf.grad for leaf in leaves.values()], metrics


CHOICES = [
    Balance(),
    Balance(log_z="group", duplicates="once"),
    Balance(log_z="leave-one-out", scale="sum", importance="geometric", duplicates="once"),
    Balance(log_z="group", importance="token", regression="cosh"),
    Balance(log_z="group", regression="linex", reward="raw", scale="constant", scale_length=4),
    Balance(log_z="group", prior_lift=0.8, right_reward=0.5, truncation="upper"),
    Balance(log_z="group", log_z_policy="old", question_weight="inverse", duplicates="once"),
    Balance(log_z="leave-one-out", rarity=0.5, right_reward=0.5, question_weight="root"),
    Balance(log_z="group", residual_low=0.5, residual_high=1, truncation="upper"),
    Balance(right_reference_weight=0.5, right_reward=0.5, residual_low=2),
    Balance(log_z="flow", scale="sum", reward="raw", flow_decay=0.7, duplicates="once"),
    Balance(log_z="flow", scale="constant", scale_length=3, prior_lift=1, right_reward=0.5),
    Balance(
        log_z="flow", flow_base="group", scale="sum", duplicates="once", question_weight="root"
    ),
    Balance(log_z="group", scale="sum", guidance=0.3),
    Balance(log_z="flow", scale="sum", reward="centred", guidance=0.3, reference_weight=0),
    Balance(log_z="group", reward="relative", prior_lift=1.0, duplicates="once", right_reward=0.5),
    *SURROGATES.values(),
    Surrogate(ratio="geometric", advantage="leave-one-out", epsilon_high=0.3),
    Surrogate(ratio="geometric-token", advantage="gae", gae_lambda=0.9, value_epsilon=None),
    Surrogate(aggregation="token-mean", advantage="centred", kl_coefficient=0.1, kl_estimator="k2"),
    Surrogate(advantage="best-of-k", best_of=2, rarity=0.3, right_reward=0.5),
    Surrogate(advantage="relative", smoothing=0.1, smoothing_wrong=0.2, right_reward=0.5),
    Surrogate(advantage="global", clip="log-token", ratio="geometric", entropy_bonus=0.1),
    Surrogate(smoothing=0.1, smoothing_wrong=0.2, smoothing_in="advantage", right_reward=0.5),
    Balance(log_z="group", log_z_policy="old", guidance=0.3, guidance_clip=0.1),
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
    loss, gradients, metrics = result(choices, logprobs, answers, everything)

    def pad(x: Tensor, value: float) -> Tensor:
        filled = torch.where(answers.mask, x, value)
        return torch.cat([filled, torch.full((N, 2), value, dtype=x.dtype)], 1)

    padded = answers.replace(
        mask=torch.cat([answers.mask, torch.zeros(N, 2, dtype=torch.bool)], 1),
        old_logprobs=pad(answers.old_logprobs, float("nan")),
        ref_logprobs=pad(answers.ref_logprobs, -float("inf")),
        guide_logprobs=pad(answers.guide_logprobs, -float("inf")),
        values=pad(answers.values, float("nan")),
    )
    for value in (float("nan"), float("inf"), 1e30):
        other = result(choices, pad(logprobs, value), padded, everything)
        torch.testing.assert_close(other, (loss, [pad(g, 0.0) for g in gradients], metrics))


@pytest.mark.parametrize("choices", CHOICES, ids=ids)
def test_order_and_group_numbers_do_not_matter(choices) -> None:
    logprobs, answers = batch()
    loss, gradients, metrics = result(choices, logprobs, answers, everything)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    shuffled = answers[order].replace(groups=100 - 3 * answers.groups[order])
    expected = (loss, [g[order] for g in gradients], {k: v[order] for k, v in metrics.items()})
    torch.testing.assert_close(result(choices, logprobs[order], shuffled, everything), expected)


@pytest.mark.parametrize("reward", ["group", "centred", "raw"])
@pytest.mark.parametrize("log_z", ["group", "leave-one-out"])
def test_a_shifted_reward_changes_nothing(reward: str, log_z: str) -> None:
    choices = Balance(log_z=log_z, reward=reward)
    logprobs, answers = batch()
    shifted = answers.replace(rewards=answers.rewards + 4)
    got, expected = (result(choices, logprobs, a, everything)[:2] for a in (shifted, answers))
    torch.testing.assert_close(got, expected)
