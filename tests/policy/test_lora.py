"""LoRA: the adapter, the reference beneath it, and what its checkpoints hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from building import ANSWERS, PROMPTS, build, saved, train
from tiny_models import gradients, make
from transformers import AutoModelForCausalLM

from flowbalance.config import HeadConfig
from flowbalance.policy import loading
from flowbalance.policy.loading import load_model
from flowbalance.policy.policy import Policy
from flowbalance.policy.tokens import collate


@pytest.mark.parametrize("name", ["llama", "llama-tied", "gpt2"])
def test_lora_from_a_fresh_adapter_to_a_merged_model(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    base = folders[name]
    monkeypatch.setattr(loading, "ASSETS", base.parent)  # the folders as built-in models
    path = f"builtin:{name}"
    policy = build(path, HeadConfig(), lora={"rank": 2})
    tokens = collate(PROMPTS, ANSWERS)
    original = Policy(make(name)).score(PROMPTS, ANSWERS)
    assert torch.equal(policy.score(PROMPTS, ANSWERS), original)
    assert torch.equal(policy.score(PROMPTS, ANSWERS, reference=True), original)
    trained = {name for name, p in policy.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name or name.startswith("head.") for name in trained)

    train(policy)
    trained_scores = policy.score(PROMPTS, ANSWERS)
    assert (trained_scores - original).abs().max() > 1e-3
    assert torch.equal(policy.score(PROMPTS, ANSWERS, reference=True), original)
    assert torch.equal(policy.score(PROMPTS, ANSWERS), trained_scores)  # it is on again

    folder = saved(policy, path, tmp_path / "checkpoint")
    assert not list(folder.glob("model*.safetensors"))
    named = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert Path(named) == base.resolve()

    again = build(path, HeadConfig(), folder, lora={"rank": 2})
    found = []
    for each in (policy, again):
        each.zero_grad()
        logprobs, log_z = each(tokens)[:2]
        (logprobs.mean() + log_z.mean()).backward()
        found.append((logprobs, log_z, gradients(each)))
    torch.testing.assert_close(found[1], found[0], atol=0, rtol=0)
    assert {n for n, p in again.named_parameters() if p.requires_grad} == trained

    with torch.no_grad():
        logits = policy.eval().model(input_ids=tokens.ids).logits
        merged = load_model(str(folder), torch.float32)
        assert not hasattr(merged, "disable_adapter")
        loaded = [merged]
        if name != "gpt2":  # Transformers 5.0 itself loses a GPT-2 adapter
            loaded.append(AutoModelForCausalLM.from_pretrained(folder).eval())
        for model in loaded:
            torch.testing.assert_close(model(tokens.ids).logits, logits, atol=1e-5, rtol=1e-5)


def test_the_adapter_is_float32_on_a_half_precision_base(folders: dict[str, Path]) -> None:
    policy = build(folders["llama"], lora={"rank": 2}, dtype="bfloat16")
    for name, parameter in policy.model.named_parameters():
        assert parameter.dtype == (torch.float32 if parameter.requires_grad else torch.bfloat16), (
            name
        )
    exact = Policy(make("llama")).score(PROMPTS, ANSWERS)
    torch.testing.assert_close(policy.score(PROMPTS, ANSWERS), exact, atol=0.3, rtol=0)
    train(policy)
    assert (policy.score(PROMPTS, ANSWERS) - exact).abs().max() > 1e-3


def test_lora_dropout_only_in_the_training_pass(folders: dict[str, Path]) -> None:
    policy = build(folders["llama"], lora={"rank": 2, "dropout": 0.5})
    train(policy)
    tokens = collate(PROMPTS, ANSWERS)
    assert not torch.equal(policy(tokens)[0], policy(tokens)[0])
    assert torch.equal(policy.score(PROMPTS, ANSWERS), policy.score(PROMPTS, ANSWERS))
    original = Policy(make("llama")).score(PROMPTS, ANSWERS)
    assert torch.equal(policy.score(PROMPTS, ANSWERS, reference=True), original)


def test_the_adapter_comes_back_after_an_error_in_the_reference(folders: dict[str, Path]) -> None:
    policy = build(folders["llama"], lora={"rank": 2})
    train(policy)
    before = policy.score(PROMPTS, ANSWERS)
    with pytest.raises(IndexError), policy.as_reference():
        raise IndexError
    assert policy.model.training
    assert torch.equal(policy.score(PROMPTS, ANSWERS), before)
