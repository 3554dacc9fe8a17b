"""The partition head: poolings by hand, what its gradient reaches, and where log Z starts."""

from __future__ import annotations

import pytest
import torch
from tiny_models import gradients, make, make_rows
from torch import Tensor

from evenflow.config import HeadConfig
from evenflow.objectives.partition import PartitionHead
from evenflow.policy.policy import Policy
from evenflow.policy.tokens import collate

PROMPTS, ANSWERS = make_rows()

# Two prompts of 3 and 1 tokens in rows of 4; beyond them stand answers and padding.
HIDDEN = torch.tensor(
    [
        [[1.0, -2.0], [4.0, 0.0], [-2.0, 5.0], [90.0, 90.0]],
        [[3.0, 7.0], [80.0, 80.0], [70.0, 70.0], [0.0, 0.0]],
    ]
)
MASK = torch.tensor([[True, True, True, False], [True, False, False, False]])
POOLED = {
    ("mean", False): [[1.0, 1.0], [3.0, 7.0]],
    ("mean", True): [[2.5, -1.0], [3.0, 7.0]],  # the only token of a prompt is never dropped
    ("max", False): [[4.0, 5.0], [3.0, 7.0]],
    ("max", True): [[4.0, 0.0], [3.0, 7.0]],
    ("last", False): [[-2.0, 5.0], [3.0, 7.0]],
    ("last", True): [[4.0, 0.0], [3.0, 7.0]],
    ("separator", False): [[-2.0, 5.0], [3.0, 7.0]],  # the prompt's last token is the separator
}


def head_for(hidden_size: int, *, awake: bool = True, **config) -> PartitionHead:
    """A head; `awake`: with a last layer that no longer is zero."""
    torch.manual_seed(3)
    head = PartitionHead(hidden_size, HeadConfig(**config))
    if awake:
        torch.nn.init.normal_(head.mlp[-1].weight)
        torch.nn.init.normal_(head.mlp[-1].bias)
    return head


def log_z(policy: Policy, prompts=PROMPTS, answers=ANSWERS) -> Tensor:
    value = policy(collate(prompts, answers))[1]
    assert value is not None
    return value


@pytest.mark.parametrize(("pooling", "drop"), POOLED)
def test_poolings_by_hand(pooling, drop: bool) -> None:
    head = head_for(2, pooling=pooling, drop_last_token=drop)
    expected = torch.tensor(POOLED[pooling, drop])
    torch.testing.assert_close(head.pool(HIDDEN, MASK), expected, atol=1e-6, rtol=0)


def test_dropout_draws_for_each_answer() -> None:
    """As where every answer is read with its prompt; without dropout one value serves all."""
    prompts = torch.tensor([0, 0, 1])
    for dropout, apart in ((0.5, True), (0.0, False)):
        head = head_for(2, dropout=dropout)
        found = torch.stack([head.of_answers(HIDDEN, MASK, prompts) for _ in range(9)])
        assert (found[:, 0] != found[:, 1]).any() == apart
        head.eval()
        torch.testing.assert_close(
            head.of_answers(HIDDEN, MASK, prompts), head(HIDDEN, MASK)[prompts]
        )


def test_one_layer_by_hand() -> None:
    head = PartitionHead(2, HeadConfig(layers=1))
    head.load_state_dict({"mlp.0.weight": torch.tensor([[2.0, -1.0]]), "mlp.0.bias": torch.ones(1)})
    assert head(HIDDEN, MASK).tolist() == pytest.approx([2 * 1 - 1 + 1, 2 * 3 - 7 + 1])


@pytest.mark.parametrize("layers", [1, 3])
def test_log_z_starts_at_zero_and_moves(layers: int) -> None:
    head = head_for(16, awake=False, layers=layers)
    assert sum(isinstance(module, torch.nn.Linear) for module in head.modules()) == layers
    policy = Policy(make("llama"), head=head)
    start = log_z(policy)
    assert start.dtype == torch.float32
    assert not start.any()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.01)
    for _ in range(2):  # the first step wakes the last layer, the second reaches those before it
        optimizer.zero_grad()
        (log_z(policy) - 1).square().mean().backward()
        optimizer.step()
    assert all(grad.any() for grad in gradients(head).values())
    assert (log_z(policy) - 1).square().mean() < 1


@pytest.mark.parametrize("pooling", ["mean", "last", "max"])
def test_gradient_into_the_trunk_only_when_asked_for(pooling) -> None:
    for trunk_gradient in (False, True):
        policy = Policy(
            make("qwen2"), head=head_for(16, pooling=pooling, trunk_gradient=trunk_gradient)
        )
        log_z(policy).sum().backward()
        assert gradients(policy.head)
        reached = [name for name, grad in gradients(policy.model).items() if grad.any()]
        assert bool(reached) == trunk_gradient
        assert "lm_head.weight" not in reached


@pytest.mark.parametrize("pooling", ["mean", "last", "max"])
def test_log_z_belongs_to_the_question(pooling) -> None:
    """Padding, order, and which answer follows change nothing."""
    policy = Policy(make("llama"), head=head_for(16, pooling=pooling)).eval()
    values = log_z(policy)
    assert values.std() > 0.01
    alone = torch.cat([log_z(policy, [p], [a]) for p, a in zip(PROMPTS, ANSWERS, strict=True)])
    torch.testing.assert_close(alone, values, atol=1e-6, rtol=1e-6)
    same = log_z(policy, [PROMPTS[2]] * len(ANSWERS), ANSWERS)
    torch.testing.assert_close(same, values[2].expand(len(ANSWERS)), atol=1e-6, rtol=1e-6)


def test_dropout_only_in_training() -> None:
    policy = Policy(make("llama"), head=head_for(16, dropout=0.5))
    policy.eval()
    assert torch.equal(log_z(policy), log_z(policy))
    policy.train()
    assert not torch.equal(log_z(policy), log_z(policy))


def test_the_head_stays_float32_under_autocast() -> None:
    head = head_for(16)
    model = make("qwen2")
    exact = log_z(Policy(model, head=head))
    seen: list[torch.dtype] = []
    for module in head.mlp:
        module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    lower = log_z(Policy(model, head=head, compute_dtype=torch.bfloat16))
    assert set(seen) == {torch.float32}
    torch.testing.assert_close(lower, exact, atol=0.1, rtol=0.1)
    lower.sum().backward()
    assert {grad.dtype for grad in gradients(head).values()} == {torch.float32}
