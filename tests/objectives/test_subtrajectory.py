"""Sub-trajectory balance: by hand, against all pairs, and where it comes to rest."""

import pytest
import torch
from tiny_policy import ANSWERS, MASK, REWARDS, gradient, logits_of, random_logits, token_logprobs
from torch import Tensor

from evenflow.objectives import Answers, Balance, Scores, balance_loss
from evenflow.objectives.subtrajectory import balance, potentials

BETA = 1.7
REFERENCE = token_logprobs(random_logits(1))
CHOICES = Balance(
    log_z="flow", scale="sum", reward="raw", importance="none", inverse_temperature=BETA
)


def loss_of(logits: Tensor, flows: Tensor, choices: Balance = CHOICES, **given: Tensor):
    return balance_loss(
        token_logprobs(logits),
        MASK,
        REWARDS,
        torch.zeros(7).long(),
        ref_logprobs=REFERENCE,
        flows=flows,
        choices=choices,
        **given,
    )


def true_flows(choices: Balance = CHOICES) -> Tensor:
    """(7, 2) log Σ π_ref^γ·e^{βr/s} over the answers that begin as this one does before each token,
    less γ·log π_ref of that beginning: what is still to come."""
    s = 1 / (choices.scale_length or 1.0)
    gamma = choices.reference_weight
    whole = gamma * REFERENCE.sum(1) + choices.inverse_temperature * REWARDS / s
    first = whole.logsumexp(0).expand(7)
    second = []
    for place, answer in enumerate(ANSWERS):
        alike = [k for k, other in enumerate(ANSWERS) if other[0] == answer[0]]
        second.append(whole[alike].logsumexp(0) - gamma * REFERENCE[place, 0])
    return s * torch.stack([first, torch.stack(second)], 1)


def test_one_answer_by_hand() -> None:
    """Two tokens, λ = ½: B = (1, 2 − 0.5, 3 − 0.5 − 0.25); stretches of one token twice, of two
    once at half the weight."""
    logprobs = torch.tensor([[0.5, 0.25]], dtype=torch.float64)
    choices = Balance(
        log_z="flow",
        scale="sum",
        reward="raw",
        importance="none",
        reference_weight=0,
        inverse_temperature=3.0,
        flow_decay=0.5,
    )
    loss, metrics = balance_loss(
        logprobs,
        torch.ones(1, 2),
        torch.ones(1).double(),
        torch.zeros(1).long(),
        flows=torch.tensor([[1.0, 2.0]], dtype=torch.float64),
        choices=choices,
    )
    b = (1.0, 1.5, 2.25)
    pairs = (b[0] - b[1]) ** 2 + (b[1] - b[2]) ** 2 + 0.5 * (b[0] - b[2]) ** 2
    assert loss.item() == pytest.approx(pairs / 2.5)
    assert metrics["residual"].tolist() == pytest.approx([b[0] - b[2]])
    assert metrics["log_z"].tolist() == [1.0]


def test_flows_on_the_groups_log_z_by_hand() -> None:
    """Two answers of one and two tokens, γ = 0, β = 2, λ = 1: log Z is the mean of 2r − log π, that
    is of 2 + 0.5 and 0 + 1.5; log F_1 = 2 + 2·0.25, and what the critic says of the first token is
    not read."""
    logprobs = torch.tensor([[-0.5, 0.0], [-0.5, -1.0]], dtype=torch.float64)
    values = torch.tensor([[9.0, 9.0], [9.0, 0.25]], dtype=torch.float64, requires_grad=True)
    choices = Balance(
        log_z="flow",
        flow_base="group",
        flow_decay=1.0,
        scale="sum",
        reward="raw",
        importance="none",
        reference_weight=0,
        inverse_temperature=2.0,
    )
    loss, metrics = balance_loss(
        logprobs,
        torch.tensor([[1.0, 0.0], [1.0, 1.0]]),
        torch.tensor([1.0, 0.0]).double(),
        torch.zeros(2).long(),
        flows=values,
        choices=choices,
    )
    z = ((2 + 0.5) + (0 + 1.5)) / 2
    first = (z - (2 + 0.5)) ** 2
    b = (z, z + 2 * 0.25 + 0.5, 0 + 1.5)
    second = ((b[0] - b[1]) ** 2 + (b[1] - b[2]) ** 2 + (b[0] - b[2]) ** 2) / 3
    assert loss.item() == pytest.approx((first + second) / 2)
    assert metrics["log_z"].tolist() == pytest.approx([z, z])
    found = torch.autograd.grad(loss, values)[0]
    # d/dv of ((b_0 − b_1)² + (b_1 − b_2)²)/3/2 with db_1/dv = β.
    slope = 2 * (2 * (b[1] - b[0]) + 2 * (b[1] - b[2])) / 6
    assert found.flatten().tolist() == pytest.approx([0, 0, 0, slope])


@pytest.mark.parametrize("decay", [0.4, 1.0])
def test_a_token_learns_from_the_stretches_that_hold_it(decay: float) -> None:
    """∂/∂log π_t = Σ_{i ≤ t < j} λ^{j−i}·2·(B_i − B_j)·s / Σ λ^{j−i}, answer by answer."""
    torch.manual_seed(0)
    lengths, gamma = [1, 3, 4], 0.7
    mask = torch.arange(4) < torch.tensor(lengths)[:, None]
    shape = {"size": (3, 4), "dtype": torch.float64}
    now = torch.randn(**shape).requires_grad_()
    flows, ref = torch.randn(**shape), torch.randn(**shape)
    rewards = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    choices = CHOICES.model_copy(update={"flow_decay": decay, "reference_weight": gamma})
    loss, _ = balance_loss(
        now,
        mask,
        rewards,
        torch.zeros(3).long(),
        ref_logprobs=ref,
        flows=flows,
        choices=choices,
    )
    expected = torch.zeros_like(now)
    for row, length in enumerate(lengths):
        steps = (now - gamma * ref)[row].tolist()
        b = [flows[row, i].item() - sum(steps[:i]) for i in range(length)]
        b.append(BETA * rewards[row].item() - sum(steps[:length]))
        pairs = [(i, j) for i in range(length) for j in range(i + 1, length + 1)]
        total = sum(decay ** (j - i) for i, j in pairs)
        for i, j in pairs:
            expected[row, i:j] += decay ** (j - i) * 2 * (b[i] - b[j]) / total / len(lengths)
    torch.testing.assert_close(torch.autograd.grad(loss, now)[0], expected)


@pytest.mark.parametrize("decay", [0.3, 0.9, 1.0])
def test_it_is_the_weighted_mean_over_all_pairs(decay: float) -> None:
    generator = torch.Generator().manual_seed(0)
    potential = torch.randn(3, 8, generator=generator, dtype=torch.float64)
    mask = torch.arange(7) < torch.tensor([7, 1, 4])[:, None]
    expected = []
    for row, length in zip(potential, mask.sum(1).tolist(), strict=True):
        pairs = [(i, j) for j in range(length + 1) for i in range(j)]
        weights = [decay ** (j - i) for i, j in pairs]
        gaps = [w * (row[i] - row[j]).item() ** 2 for (i, j), w in zip(pairs, weights, strict=True)]
        expected.append(sum(gaps) / sum(weights))
    assert balance(potential, mask, decay).tolist() == pytest.approx(expected)


def test_long_answers_look_at_stretches_that_count() -> None:
    """λ^{j−i} below 1e-6 of the nearest is left out; nothing else is."""
    potential = torch.arange(400, dtype=torch.float64)[None].sin()
    mask = torch.ones(1, 399)
    near = balance(potential, mask, 0.5)
    pairs = [(i, j) for j in range(400) for i in range(max(0, j - 60), j)]
    weights = torch.tensor([0.5 ** (j - i) for i, j in pairs], dtype=torch.float64)
    gaps = torch.tensor([(potential[0, i] - potential[0, j]) ** 2 for i, j in pairs]).double()
    torch.testing.assert_close(near[0], (weights * gaps).sum() / weights.sum(), rtol=1e-5, atol=0)


def test_the_ends_differ_by_the_residual_of_the_whole_answer() -> None:
    logprobs, flows = token_logprobs(random_logits(0)), torch.full((7, 2), 0.3).double()
    answers = Answers(MASK, REWARDS, torch.zeros(7).long(), logprobs, REFERENCE)
    found = potentials(flows, logprobs - REFERENCE, BETA * REWARDS, answers)
    ends = found.gather(1, MASK.sum(1, keepdim=True))[:, 0]
    delta = 0.3 + (logprobs - REFERENCE).sum(1) - BETA * REWARDS
    torch.testing.assert_close(found[:, 0] - ends, delta)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"flow_decay": 0.5},
        {"flow_decay": 1.0},
        {"reference_weight": 0.4},
        {"reference_weight": 0.0},
        {"scale": "constant", "scale_length": 3.0},
        {"importance": "sequence"},
        {"question_weight": "inverse"},
        {"rarity": 0.5},
        {"flow_base": "group"},
        {"flow_base": "group", "reference_weight": 0.4, "scale": "constant", "scale_length": 3.0},
        {"flow_base": "group", "question_weight": "inverse"},
    ],
    ids=str,
)
@pytest.mark.parametrize("off_policy", [False, True])
def test_all_residuals_vanish_at_the_target_with_its_true_flows(changes, off_policy: bool) -> None:
    """On and off policy, answer by answer: loss and gradients are 0."""
    choices = CHOICES.model_copy(update=changes)
    s = 1 / (choices.scale_length or 1.0)
    log_target = choices.reference_weight * REFERENCE.sum(1) + BETA * REWARDS / s
    logits = logits_of(log_target.softmax(0)).requires_grad_()
    flows = true_flows(choices)
    if choices.flow_base == "group":
        flows = (flows - flows[:, :1]) / BETA
    flows.requires_grad_()
    old = {"old_logprobs": token_logprobs(random_logits(5))} if off_policy else {}
    loss, metrics = loss_of(logits, flows, choices, **old)
    assert metrics["residual"].abs().max() < 1e-10
    assert loss.item() < 1e-20
    assert gradient(loss, logits).norm() < 1e-9
    assert torch.autograd.grad(loss, flows)[0].norm() < 1e-9
    moved, _ = loss_of(random_logits(0).requires_grad_(), flows.detach(), choices, **old)
    assert moved.item() > 1e-3


def test_credit_falls_where_the_mistake_is() -> None:
    """A policy that is the target but for the second token after "0": with true flows the first
    token's balance is 0 and learns nothing as λ → 0, while one residual for the whole answer
    blames both alike."""
    log_target = REFERENCE.sum(1) + BETA * REWARDS
    logits = logits_of(log_target.softmax(0))
    logits[1, 0] += 0.7  # the state "0"
    wrong = [k for k, answer in enumerate(ANSWERS) if answer[0] == "0"]

    def blame(decay: float) -> Tensor:
        """(2,) |∂loss/∂log π| of the first and the second tokens of the answers that err."""
        tokens = token_logprobs(logits).requires_grad_()
        loss, _ = balance_loss(
            tokens,
            MASK,
            REWARDS,
            torch.zeros(7).long(),
            ref_logprobs=REFERENCE,
            flows=true_flows(),
            choices=CHOICES.model_copy(update={"flow_decay": decay}),
        )
        return torch.autograd.grad(loss, tokens)[0][wrong].abs().sum(0)

    first, second = blame(1e-4)
    assert first < 1e-3 * second
    first, second = blame(1.0)
    assert first > 0.3 * second


def test_a_lifted_prior_is_paid_at_the_end() -> None:
    """The last stretch, and no other, sees by how much the prior of a right answer was lifted."""
    plain, lifted = (CHOICES.model_copy(update={"prior_lift": lift}) for lift in (0.0, 1.0))
    logits, flows = random_logits(0), torch.zeros(7, 2).double()
    for choices in (plain, lifted):
        _, metrics = loss_of(logits, flows, choices)
        prior = REFERENCE.sum(1)
        right = REWARDS >= 1
        if choices is lifted:
            prior = torch.where(right, prior[right].max(), prior)
        delta = token_logprobs(logits).sum(1) - prior - BETA * REWARDS
        torch.testing.assert_close(metrics["residual"], delta)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"scale": "mean"}, "scale: sum or constant"),
        ({"regression": "cosh"}, "regression: square"),
        ({"importance": "token"}, "importance: none, sequence or geometric"),
        ({"residual_low": 1.0}, "no residual_low"),
    ],
)
def test_what_flows_cannot_be_combined_with_is_refused(changes: dict, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        Balance(**CHOICES.model_dump() | changes)


def test_flows_on_the_groups_log_z_need_it() -> None:
    tokens = token_logprobs(random_logits(0))
    answers = Answers(MASK, REWARDS, torch.zeros(7).long(), tokens, REFERENCE)
    choices = CHOICES.model_copy(update={"flow_base": "group"})
    assert choices.needs.whole_groups
    prepared = choices.prepare(answers)
    with pytest.raises(ValueError, match="estimate"):
        choices.loss(Scores(tokens, values=tokens), prepared, 7.0)


def test_flows_are_asked_for_and_refused_where_nothing_reads_them() -> None:
    tokens, mask = token_logprobs(random_logits(0)), MASK
    given = {"ref_logprobs": REFERENCE}
    with pytest.raises(ValueError, match="needs `flows`"):
        balance_loss(tokens, mask, REWARDS, torch.zeros(7).long(), choices=CHOICES, **given)
    with pytest.raises(ValueError, match="no other reads it"):
        balance_loss(
            tokens,
            mask,
            REWARDS,
            torch.zeros(7).long(),
            flows=tokens,
            choices=Balance(log_z="group"),
            **given,
        )
