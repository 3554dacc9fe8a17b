"""The critic, the exact entropy, and what their gradients may touch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import make, make_rows

from evenflow.config import CriticConfig
from evenflow.policy.critic import Critic
from evenflow.policy.loading import CRITIC_FILE, load_part, save_parts
from evenflow.policy.logprobs import Projection, token_logprobs
from evenflow.policy.policy import Policy
from evenflow.policy.tokens import collate

PROMPTS, ANSWERS = make_rows()


def with_critic(trunk: str = "shared", seed: int = 0) -> Policy:
    model = make("llama")
    own = make("llama").base_model if trunk == "own" else None
    torch.manual_seed(seed)
    critic = Critic(model.config.hidden_size, CriticConfig(trunk=trunk), own)  # type: ignore[arg-type]
    torch.nn.init.normal_(critic.mlp[-1].weight)  # 0 at first: make it say something
    return Policy(model, critic=critic)


def test_starts_at_zero() -> None:
    model = make("llama")
    policy = Policy(model, critic=Critic(model.config.hidden_size, CriticConfig()))
    values = policy(collate(PROMPTS, ANSWERS)).values
    assert values is not None
    assert values.abs().max() == 0


@pytest.mark.parametrize("trunk", ["shared", "own"])
def test_a_value_reads_what_stands_before_its_token_and_nothing_after(trunk: str) -> None:
    policy = with_critic(trunk)
    values = policy.score_values(PROMPTS, ANSWERS)
    for row, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        for t in range(len(answer)):
            # Token t itself and all after it are replaced: the value before it stays.
            other = [*answer[:t], *[(a + 1) % 7 + 1 for a in answer[t:]]]
            again = policy.score_values([prompt], [other])[0, t]
            assert again.item() == pytest.approx(values[row, t].item(), abs=1e-5)
        assert values[row, len(answer) :].abs().sum() == 0
    assert values[0, : len(ANSWERS[0])].unique().numel() == len(ANSWERS[0])


@pytest.mark.parametrize("trunk", ["shared", "own"])
def test_its_gradient_stays_out_of_the_policy(trunk: str) -> None:
    policy = with_critic(trunk)
    values = policy(collate(PROMPTS, ANSWERS)).values
    assert values is not None
    values.sum().backward()
    assert all(p.grad is None for p in policy.model.parameters())
    assert policy.critic is not None
    own = policy.critic.trunk
    if own is not None:
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in own.parameters())
    assert policy.critic.mlp[0].weight.grad.abs().sum() > 0


def test_forward_and_score_agree_whatever_the_micro_batches() -> None:
    policy = with_critic("own")
    values = policy(collate(PROMPTS, ANSWERS)).values
    for budget in (1, 10_000):
        torch.testing.assert_close(policy.score_values(PROMPTS, ANSWERS, budget=budget), values)


@pytest.mark.parametrize("trunk", ["shared", "own"])
def test_round_trip(tmp_path: Path, trunk: str) -> None:
    policy, other = with_critic(trunk), with_critic(trunk, seed=1)
    before = policy.score_values(PROMPTS, ANSWERS)
    assert not torch.equal(other.score_values(PROMPTS, ANSWERS), before)
    save_parts(policy, tmp_path, reference=False)
    assert other.critic is not None
    load_part(other.critic, tmp_path / CRITIC_FILE)
    other.model.load_state_dict(policy.model.state_dict())
    assert torch.equal(other.score_values(PROMPTS, ANSWERS), before)


def test_entropy_is_that_of_the_tempered_policy() -> None:
    """−Σ p log p from the model's own logits, at T = 0.7, in chunks of three tokens."""
    policy = Policy(make("llama"), temperature=0.7, chunk=3)
    tokens = collate(PROMPTS, ANSWERS)
    entropy = policy(tokens, entropy=True).entropy
    assert entropy is not None
    table = (policy.model(input_ids=tokens.ids).logits / 0.7).log_softmax(-1)
    expected = -(table.exp() * table).sum(-1)
    for row, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        start = len(prompt) - 1
        torch.testing.assert_close(
            entropy[row, : len(answer)], expected[row, start : start + len(answer)]
        )
        assert entropy[row, len(answer) :].abs().sum() == 0
    gradient = torch.autograd.grad(entropy.sum(), policy.model.lm_head.weight)[0]
    assert gradient.abs().sum() > 0
    assert policy(tokens).entropy is None


def test_entropy_has_a_gradient_where_probabilities_underflow() -> None:
    """A gap of 200 nats, and a word that cannot come: H = 0 and its gradient is 0, not NaN."""
    hidden = torch.tensor([[1.0]], requires_grad=True)
    rows = torch.tensor([[200.0], [0.0], [-torch.inf]])

    class Output(torch.nn.Module):
        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return torch.cat([states * rows[0], states * rows[1], states.detach() * rows[2]], -1)

    both = token_logprobs(hidden, torch.tensor([0]), Projection(Output()), entropy=True)
    assert both.tolist() == [[0.0, 0.0]]
    assert torch.autograd.grad(both[0, 1], hidden)[0].tolist() == [[0.0]]
