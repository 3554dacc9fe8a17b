"""The engine beside the policy, against a stand-in for vLLM; `tests_vllm` has the real one."""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.rollout.vllm.fake_vllm import LLM, fake

from evenflow.config import LoraConfig
from evenflow.data import Prompt
from evenflow.errors import UserError
from evenflow.installation import how_to_install
from evenflow.policy.adapters import new_adapter
from evenflow.policy.loading import load_model, load_tokenizer
from evenflow.policy.policy import Policy
from evenflow.rollout import Sampling
from evenflow.rollout.engine import build_engine, sample
from evenflow.rollout.vllm.engine import VllmEngine

__all__ = ["fake"]
SAMPLING = Sampling(8, temperature=0.8, stop_ids=(1,))
PROMPTS = [Prompt(key=str(n), text="", ids=(5, 6, 7 + n), columns={}) for n in range(3)]


@pytest.fixture
def policy(tiny_model: Path) -> Policy:
    return Policy(load_model(str(tiny_model), torch.float32), temperature=0.8).eval()


@pytest.fixture
def engine(fake: type[LLM], tiny_model: Path) -> VllmEngine:
    return VllmEngine(load_tokenizer(str(tiny_model)), 64)


def log(fake: type[LLM]) -> list[Any]:
    """What was done since this was asked last."""
    (llm,) = fake.made
    done, llm.log = llm.log, []
    return done


def gap(engine: VllmEngine, policy: Policy) -> float:
    """The largest difference between log-probs as sampled and the policy's own."""
    found = 0.0
    for group in sample(engine, PROMPTS, 4, SAMPLING, seed=3):
        assert group.version == engine.version
        own = policy.score([group.prompt.ids] * 4, group.answers)
        for row, given in zip(own, group.logprobs, strict=True):
            found = max(found, (row[: len(given)].cpu() - torch.tensor(given)).abs().max().item())
    return found


def move(policy: Policy) -> None:
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))


def untie(policy: Policy) -> None:
    model: Any = policy.model
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    model.config.tie_word_embeddings = False


@pytest.mark.parametrize("tied", [True, False])
def test_logprobs_are_the_policys_before_and_after_an_update(
    engine: VllmEngine, policy: Policy, tied: bool
) -> None:
    if not tied:
        untie(policy)
    engine.update(policy, 0)
    assert gap(engine, policy) < 1e-4
    move(policy)
    assert gap(engine, policy) > 0.1  # it has weights of its own
    engine.update(policy, 1)
    assert gap(engine, policy) < 1e-4


def test_weights_are_brought_over_only_where_they_changed(
    engine: VllmEngine, fake: type[LLM], policy: Policy
) -> None:
    engine.update(policy, 0)
    assert log(fake) == ["weights", "prefix cache"]
    engine.update(policy, 0)
    assert log(fake) == []
    engine.update(policy, 1)
    assert log(fake) == ["weights", "prefix cache"]
    engine.update(Policy(policy.model).eval(), 1)
    assert log(fake) == ["weights", "prefix cache"]


def test_the_same_seed_gives_the_same_answers(engine: VllmEngine, policy: Policy) -> None:
    engine.update(policy, 0)
    once, again = (
        sorted(engine.groups(PROMPTS, 4, SAMPLING, seed=5), key=lambda group: group.place)
        for _ in range(2)
    )
    assert once == again
    own = list(engine.groups(PROMPTS[1:2], 4, SAMPLING, seed=[11]))
    among = engine.groups(PROMPTS, 4, SAMPLING, seed=[10, 11, 12])
    (same,) = [group for group in among if group.place == 1]
    assert own[0].answers == same.answers


def test_greedy_answers_are_alike(engine: VllmEngine, policy: Policy) -> None:
    engine.update(policy, 0)
    for group in sample(engine, PROMPTS, 3, Sampling(8, 0.0, stop_ids=(1,)), seed=0):
        assert group.answers == [group.answers[0]] * 3


def test_what_nobody_waits_for_is_dropped(
    engine: VllmEngine, fake: type[LLM], policy: Policy
) -> None:
    engine.update(policy, 0)
    log(fake)
    groups = engine.groups(PROMPTS, 2, SAMPLING, seed=0)
    next(groups)
    groups.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert log(fake) == ["abort 2"]
    assert len(list(engine.groups(PROMPTS, 2, SAMPLING, seed=0))) == 3


def test_it_asks_before_it_has_a_policy(engine: VllmEngine) -> None:
    with pytest.raises(ValueError, match="call update"):
        engine.limits(PROMPTS)


def test_limits_are_the_models_or_what_the_cache_has_room_for(
    engine: VllmEngine, fake: type[LLM], policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.update(policy, 0)
    limits = engine.limits(PROMPTS)
    assert limits.positions == policy.model.config.max_position_embeddings
    assert (limits.remark, limits.exact) == ("", False)
    monkeypatch.setattr(engine.llm.model_config, "max_model_len", 20)
    assert engine.limits(PROMPTS).positions == 20
    assert "raise rollout.gpu_share" in engine.limits(PROMPTS).remark


def test_a_start_leaves_random_numbers_and_threads_as_they_were(
    engine: VllmEngine, policy: Policy
) -> None:
    states, threads = (torch.get_rng_state(), random.getstate()), torch.set_num_threads
    engine.update(policy, 0)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert torch.set_num_threads is threads


def test_a_policy_held_in_bfloat16_is_sampled_from_as_it_is(
    engine: VllmEngine, fake: type[LLM], policy: Policy
) -> None:
    half = Policy(policy.model.bfloat16(), compute_dtype=torch.bfloat16).eval()
    engine.update(half, 0)
    assert fake.made[0].options["dtype"] == "bfloat16"
    assert next(fake.made[0].model.parameters()).dtype == torch.bfloat16


# --- rest ------------------------------------------------------------------------------------


def test_on_a_gpu_it_sleeps_until_it_is_needed(
    engine: VllmEngine, fake: type[LLM], policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.update(policy, 0)
    engine.rest()
    log(fake)
    with monkeypatch.context() as gpu:
        gpu.setattr(Policy, "device", torch.device("cuda"))
        engine.rest()
        engine.rest()
    assert log(fake) == ["sleep 2"]
    awake = ["wake weights", "weights", "wake kv_cache", "prefix cache"]
    engine.update(policy, 0)  # of the same version: its weights were given back
    assert log(fake) == awake
    with monkeypatch.context() as gpu:
        gpu.setattr(Policy, "device", torch.device("cuda"))
        engine.rest()
    assert gap(engine, policy) < 1e-4  # asked without an update
    assert log(fake) == ["sleep 2", *awake]


# --- adapters --------------------------------------------------------------------------------


def test_of_an_adapted_policy_the_adapter_alone_is_brought_over(
    engine: VllmEngine, fake: type[LLM], policy: Policy
) -> None:
    adapted = Policy(new_adapter(policy.model, LoraConfig(rank=3)), temperature=0.8).eval()
    files = ["adapter_config.json", "adapter_model.safetensors"]
    engine.update(adapted, 0)
    (llm,) = fake.made
    assert (llm.options["enable_lora"], llm.options["max_lora_rank"]) == (True, 8)
    weights, (first, there), cache = log(fake)
    assert (weights, cache) == ("weights", "prefix cache")
    assert set(files) <= set(there)
    assert all("lora" not in name for name in llm.model.state_dict())
    engine.update(adapted, 1)
    gone, (second, _), _ = log(fake)
    assert (gone, second > first) == (f"remove {first}", True)
    with adapted.as_reference() as model:
        engine.update(Policy(model).eval(), -1)
        assert engine.adapter is None
    assert log(fake) == ["prefix cache"]
    engine.update(adapted, 1)
    assert engine.adapter.lora_int_id > second
    assert not list(Path(engine.folder.name).glob("*/adapter_config.json"))


def test_an_adapter_of_a_rank_beyond_vllms_is_refused(engine: VllmEngine, policy: Policy) -> None:
    adapted = Policy(new_adapter(policy.model, LoraConfig(rank=600))).eval()
    with pytest.raises(UserError, match=r"model\.lora\.rank: 600 is more than vLLM's 512"):
        engine.update(adapted, 0)


# --- what goes wrong -------------------------------------------------------------------------


def test_without_vllm_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=re.escape(how_to_install("vllm"))):
        build_engine("vllm", None, 8)


def test_a_folder_of_that_name_is_not_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: SimpleNamespace(origin=None))
    with pytest.raises(UserError, match="needs vLLM"):
        build_engine("vllm", None, 8)


def test_a_model_that_vllm_cannot_run(engine: VllmEngine, fake: type[LLM], policy: Policy) -> None:
    fake.fails["start"] = ValueError("Architectures ['X'] are not\nsupported")
    with pytest.raises(UserError) as error:
        engine.update(policy, 0)
    assert "does not start with LlamaForCausalLM: Architectures ['X'] are not supported" in str(
        error.value
    )


def test_a_model_that_it_reads_in_another_way(
    engine: VllmEngine, fake: type[LLM], policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    move(policy)
    monkeypatch.setattr(fake, "deaf", True)
    with pytest.raises(UserError, match=r"other log-probs than the policy, by .* nats"):
        engine.update(policy, 0)


@pytest.mark.parametrize("place", ["weights", "step"])
def test_whatever_ends_it_becomes_a_sentence_that_says_how_to_go_on(
    engine: VllmEngine, fake: type[LLM], policy: Policy, place: str
) -> None:
    engine.update(policy, 0)
    fake.fails[place] = RuntimeError("engine core\ndied")

    def go_on() -> None:
        engine.update(policy, 1)
        list(engine.groups(PROMPTS, 2, SAMPLING, seed=0))

    with pytest.raises(UserError) as error:
        go_on()
    said = str(error.value)
    assert said.startswith("rollout.engine: vllm in this process failed when ")
    assert "(RuntimeError: engine core died)" in said
    assert "nothing that was saved: a run goes on with evenflow train --resume RUN" in said


def test_a_shortage_of_memory_is_told_by_the_field_to_lower(
    engine: VllmEngine, fake: type[LLM], policy: Policy
) -> None:
    engine.update(policy, 0)
    fake.fails["step"] = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(torch.OutOfMemoryError):
        list(engine.groups(PROMPTS, 2, SAMPLING, seed=0))


def test_a_reference_of_another_architecture(engine: VllmEngine, policy: Policy) -> None:
    engine.update(policy, 0)
    other: Any = load_model("builtin:countdown", torch.float32)
    with pytest.raises(UserError, match="a reference of another architecture"):
        engine.update(Policy(other).eval(), -1)


def test_a_policy_elsewhere_than_the_vllm_that_is_installed(
    engine: VllmEngine, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = SimpleNamespace(is_cpu=lambda: False)
    monkeypatch.setattr(sys.modules["vllm.platforms"], "current_platform", platform)
    with pytest.raises(UserError, match="the policy is on cpu, and the vllm installed here is"):
        engine.update(policy, 0)
