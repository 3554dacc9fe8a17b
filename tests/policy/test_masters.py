"""Weights in bfloat16 and their float32 masters: what is learned is what is kept."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from building import ANSWERS, PROMPTS, build, saved
from safetensors.torch import load_file
from torch import nn

from evenflow.config import CriticConfig, HeadConfig, ModelConfig
from evenflow.policy.loading import build_policy, load_tokenizer
from evenflow.policy.masters import Masters
from evenflow.policy.tokens import collate


def pair(seed: int = 0) -> tuple[nn.Linear, nn.Linear]:
    """A layer in bfloat16 and the same in float32."""
    torch.manual_seed(seed)
    exact = nn.Linear(8, 8)
    return copy.deepcopy(exact).bfloat16(), exact


def test_steps_below_the_resolution_add_up() -> None:
    """A weight near 1 has neighbours 1/128 apart; steps of 1e-4 move it after forty or so."""
    held, exact = pair()
    with torch.no_grad():
        exact.weight.fill_(1.0)
    masters = Masters([(held, exact)])
    optimizer = torch.optim.SGD(masters.of(held.parameters()), lr=1e-4)
    moved = []
    for _ in range(60):
        (-held.weight.sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
        masters.round()
        moved.append(held.weight[0, 0].item())
    assert moved[0] == moved[30] == 1.0
    assert moved[-1] == 1 + 1 / 128
    torch.testing.assert_close(exact.weight, torch.full((8, 8), 1.006), rtol=0, atol=1e-5)


def test_the_gradient_of_micro_batches_is_their_sum_in_float32() -> None:
    """The second and third vanish beside the first in bfloat16."""
    held, exact = pair()
    masters = Masters([(held, exact)])
    states = [torch.randn(4, 8).bfloat16() * scale for scale in (1.0, 1e-3, 1e-3)]
    alone = []
    for state in states:
        twin = copy.deepcopy(held)
        twin(state).sum().backward()
        alone.append(twin.weight.grad)
        held(state).sum().backward()
        assert held.weight.grad is None  # no more than one of them is held
    expected = alone[0].float() + alone[1].float() + alone[2].float()
    found = masters.values[held.weight].grad
    assert found is not None
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    assert not torch.equal(found, (alone[0] + alone[1] + alone[2]).float())


def test_what_is_in_float32_needs_no_master() -> None:
    layer = nn.Linear(8, 8)
    masters = Masters([(layer, copy.deepcopy(layer))])
    assert not masters.values
    assert masters.of(layer.parameters()) == list(layer.parameters())
    layer(torch.ones(1, 8)).sum().backward()
    assert layer.weight.grad is not None


def test_exposed_parameters_come_back_where_they_were() -> None:
    held, exact = pair()
    masters = Masters([(held, exact)])
    place = held.weight.data_ptr()
    with masters.exposed():
        assert torch.equal(held.weight, exact.weight)
        held.weight.data.mul_(2)
    assert held.weight.data_ptr() == place
    assert torch.equal(held.weight, masters.values[held.weight].bfloat16())


def test_a_checkpoint_holds_the_masters(folders: dict[str, Path], tmp_path: Path) -> None:
    """So that a run goes on bit for bit, the critic's own trunk included; and in float32 where it
    goes on without bfloat16."""

    def policy_of(checkpoint: Path | None = None, dtype: str = "bfloat16"):  # type: ignore[no-untyped-def]
        return build_policy(
            ModelConfig(path=str(folders["llama-tied"]), dtype=dtype),  # type: ignore[arg-type]
            HeadConfig(),
            critic=CriticConfig(trunk="own"),
            reference=True,
            temperature=1.0,
            device=torch.device("cpu"),
            tokenizer=load_tokenizer(str(folders["llama-tied"])),
            checkpoint=checkpoint,
        )

    policy = policy_of()
    parameters = policy.masters.of(p for p in policy.parameters() if p.requires_grad)
    optimizer = torch.optim.SGD(parameters, lr=0.01)
    scores = policy(collate(PROMPTS, ANSWERS))
    assert scores.log_z is not None
    assert scores.values is not None
    (-scores.logprobs.mean() + (scores.log_z - 1).square().mean()).backward()
    (policy.critic.trunk.embed_tokens.weight.sum() * 0.1).backward()  # type: ignore[union-attr]
    optimizer.step()
    policy.masters.round()
    with policy.masters.exposed():
        folder = saved(policy, folders["llama-tied"], tmp_path / "checkpoint")
    assert {t.dtype for t in load_file(folder / "model.safetensors").values()} == {torch.float32}
    again = policy_of(folder)
    for mine, theirs in zip(policy.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    exact = [m for p in (policy, again) for m in p.masters.values.values()]
    half = len(exact) // 2
    assert half == len(list(policy.model.parameters())) + len(
        list(policy.critic.trunk.parameters())  # type: ignore[union-attr]
    )
    assert all(torch.equal(a, b) for a, b in zip(exact[:half], exact[half:], strict=True))
    single = policy_of(folder, "float32")
    assert not single.masters.values
    for mine, theirs in zip(single.model.parameters(), policy.model.parameters(), strict=True):
        assert torch.equal(mine, policy.masters.values[theirs])


@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_nothing_is_cast_where_all_is_held_in_one_type(folders: dict[str, Path], lora) -> None:
    policy = build(folders["llama"], dtype="bfloat16", lora=lora)
    with policy.autocast():
        assert torch.is_autocast_enabled("cpu") == (lora is not None)
    assert bool(policy.masters.values) == (lora is None)
