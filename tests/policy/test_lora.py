"""LoRA: the adapter, the reference beneath it, and what its checkpoints hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny_models
import torch
from building import ANSWERS, PROMPTS, build, saved, train
from safetensors import safe_open
from tests.rollout.rollouts import rollout as sample
from tiny_models import GQA, SIZE, gradients, make
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from evenflow.cli import main
from evenflow.config import HeadConfig, dump
from evenflow.errors import UserError
from evenflow.policy import loading, logprobs
from evenflow.policy.fingerprint import mark_of
from evenflow.policy.loading import load_model, load_tokenizer
from evenflow.policy.policy import Policy
from evenflow.policy.tokens import collate
from evenflow.rollout import Sampling
from evenflow.training.checkpoint import save_model


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


def test_dropout_before_the_output_layer_is_the_same_in_backward(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its chunks are kept, or made again for want of memory."""
    lora = {"rank": 2, "dropout": 0.5, "target_modules": ["lm_head"]}
    policy = build(folders["llama"], lora=lora, logprob_chunk=8)
    found = []
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    for keep in (True, False):
        monkeypatch.setattr(logprobs, "fits", lambda *_, keep=keep: keep)
        policy.zero_grad()
        torch.manual_seed(1)
        policy(collate(PROMPTS, ANSWERS)).logprobs.sum().backward()
        found.append((gradients(policy.model), torch.rand(3)))
    torch.testing.assert_close(*found)


def test_the_adapter_comes_back_after_an_error_in_the_reference(folders: dict[str, Path]) -> None:
    policy = build(folders["llama"], lora={"rank": 2})
    train(policy)
    before = policy.score(PROMPTS, ANSWERS)
    with pytest.raises(IndexError), policy.as_reference():
        raise IndexError
    assert policy.model.training
    assert torch.equal(policy.score(PROMPTS, ANSWERS), before)


# --- embeddings and output layers ----------------------------------------------------------------

WORDS = {"gpt2": "wte"}
TIED = ["llama-tied", "gpt2", "gemma2", "gemma3", "qwen2-tied"]


@pytest.mark.filterwarnings("error:.*tie:UserWarning")
@pytest.mark.parametrize("targets", ["output", "input", "both"])
@pytest.mark.parametrize("name", ["llama", *TIED])
def test_an_adapted_embedding_is_merged_without_the_other_end_of_its_tie(
    folders: dict[str, Path], tmp_path: Path, name: str, targets: str
) -> None:
    """Merged into shared weights, an adapter of one end would change the other end as well."""
    base = folders.get(name) or tiny_models.save(name, tmp_path / name)
    words = WORDS.get(name, "embed_tokens")
    named = {"output": ["lm_head"], "input": [words], "both": [words, "lm_head"]}[targets]
    policy = build(base, lora={"rank": 2, "target_modules": named})
    before = policy.score(PROMPTS, ANSWERS)
    train(policy)
    trained = policy.score(PROMPTS, ANSWERS)
    assert (trained - before).abs().max() > 1e-3
    assert torch.equal(policy.score(PROMPTS, ANSWERS, reference=True), before)
    rollout = sample(policy.model, PROMPTS, 1, Sampling(4), seed=0)
    sampled = policy.score(PROMPTS, rollout.tokens.tolist())
    torch.testing.assert_close(sampled, rollout.logprobs, atol=1e-4, rtol=0)

    folder, exported = tmp_path / "checkpoint", tmp_path / "exported"
    save_model(policy.model, load_tokenizer(str(base)), folder)
    assert main(["export", str(folder), str(exported), "--dtype", "float32"]) == 0
    again = build(base, checkpoint=folder, lora={"rank": 2, "target_modules": named})
    assert torch.equal(again.score(PROMPTS, ANSWERS), trained)
    for path in (folder, exported):
        whole = Policy(load_model(str(path), torch.float32))
        torch.testing.assert_close(whole.score(PROMPTS, ANSWERS), trained, atol=1e-5, rtol=1e-5)
    plain = Policy(AutoModelForCausalLM.from_pretrained(exported))
    torch.testing.assert_close(plain.score(PROMPTS, ANSWERS), trained, atol=1e-5, rtol=1e-5)


def test_an_adapter_does_not_store_its_bases_embeddings(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    policy = build(folders["llama"], lora={"rank": 2, "target_modules": ["lm_head"]})
    save_model(policy.model, load_tokenizer(str(folders["llama"])), tmp_path)
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
        assert all("lora_" in name for name in file.keys())  # noqa: SIM118


@pytest.mark.parametrize("name", ["llama", "llama-tied"])
@pytest.mark.parametrize("module", ["lm_head", "embed_tokens"])
def test_an_adapter_that_brings_a_whole_layer_is_merged(
    folders: dict[str, Path], tmp_path: Path, name: str, module: str
) -> None:
    """As other trainers make them; ours has no such field."""
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], modules_to_save=[module]
    )
    model = peft.get_peft_model(load_model(str(folders[name]), torch.float32), settings)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(tmp_path)
    wanted = Policy(model).score(PROMPTS, ANSWERS)
    whole = load_model(str(tmp_path), torch.float32)
    torch.testing.assert_close(Policy(whole).score(PROMPTS, ANSWERS), wanted, atol=1e-5, rtol=1e-5)
    whole.save_pretrained(tmp_path / "whole")  # pyright: ignore[reportCallIssue]
    again = Policy(AutoModelForCausalLM.from_pretrained(tmp_path / "whole"))
    torch.testing.assert_close(again.score(PROMPTS, ANSWERS), wanted, atol=1e-5, rtol=1e-5)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["nothing_like_it"], "nothing_like_it"),
        (["q_proj", "k_prj"], "LlamaForCausalLM has no module k_prj$"),
        ([], "names no module; leave it out for all-linear$"),
        (["norm"], "LlamaRMSNorm"),
        (["mlp"], "LlamaMLP"),
    ],
)
def test_target_modules_that_cannot_be_adapted(
    folders: dict[str, Path], targets: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build(folders["llama"], lora={"target_modules": targets})
    said = str(caught.value)
    assert said.startswith("model.lora.target_modules: ")
    assert "\n" not in said
    assert len(said) < 400


def test_all_linear_layers_that_peft_does_not_find(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("Target modules {'a', '-', 'l'} not found")  # PEFT 0.19, of experts

    monkeypatch.setattr(pytest.importorskip("peft"), "get_peft_model", fail)
    message = "all-linear: PEFT .* does not find them in LlamaForCausalLM; update it, or name them$"
    with pytest.raises(UserError, match=message):
        build(folders["llama"], lora={})


@pytest.mark.parametrize(
    ("field", "value"), [("rank", "0"), ("alpha", "0"), ("target_modules", ".*_proj")]
)
def test_an_adapter_that_could_not_learn_is_refused_by_its_field(
    recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str], field: str, value: str
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(dump(recipe()))
    assert main(["train", str(path), f"model.lora.{field}={value}"]) == 2
    said = capsys.readouterr().err
    assert f"model.lora.{field}" in said
    assert len(said.splitlines()) == 1


def based_on(folder: Path, base: object) -> Path:
    config = folder / "adapter_config.json"
    text = json.loads(config.read_text()) | {"base_model_name_or_path": base}
    config.write_text(json.dumps(text))
    return folder


@pytest.fixture
def adapter(folders: dict[str, Path], tmp_path: Path) -> Path:
    policy = build(folders["llama"], lora={"rank": 2, "target_modules": ["q_proj", "v_proj"]})
    save_model(policy.model, load_tokenizer(str(folders["llama"])), tmp_path / "adapter")
    return tmp_path / "adapter"


def test_an_adapter_based_on_itself(adapter: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(adapter, tmp_path / "other"))
    based_on(adapter, str(adapter))
    with pytest.raises(UserError, match="the adapter is based on itself"):
        load_model(str(adapter), torch.float32)
    based_on(based_on(adapter, str(other)).with_name("other"), str(adapter))
    for start in (adapter, other):
        with pytest.raises(UserError, match="based on itself"):
            load_model(str(start), torch.float32)
        with pytest.raises(UserError, match="based on itself"):
            mark_of(str(start))


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("/no/where", "the adapter's base model /no/where is gone"),
        ("./no-where", "there is no folder ./no-where"),
        (None, "does not say which model"),
        (7, "does not say which model"),
    ],
)
def test_an_adapter_without_its_base(adapter: Path, base: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_model(str(based_on(adapter, base)), torch.float32)


@pytest.mark.parametrize("name", ["gpt2", "qwen2-tied", "wide", "deep", "shallow"])
def test_an_adapter_of_another_model(
    folders: dict[str, Path], adapter: Path, tmp_path: Path, name: str
) -> None:
    base = folders.get(name)
    if name == "qwen2-tied":
        base = tiny_models.save(name, tmp_path / name)
    elif base is None:
        base = tmp_path / name
        changes = {
            "wide": {"hidden_size": 32},
            "deep": {"num_hidden_layers": 3},
            "shallow": {"num_hidden_layers": 1},
        }[name]
        LlamaForCausalLM(LlamaConfig(**(SIZE | GQA | changes))).save_pretrained(base)
    based_on(adapter, str(base))
    if name == "qwen2-tied":  # of the same shapes: nothing tells them apart
        assert load_model(str(adapter), torch.float32)
        return
    with pytest.raises(UserError) as caught:
        load_model(str(adapter), torch.float32)
    said = str(caught.value)
    assert said.startswith(f"{adapter}: cannot load the LoRA adapter: ")
    assert "\n" not in said


@pytest.mark.parametrize("damage", ["kind", "field", "prompt"])
def test_an_adapter_of_another_kind(folders: dict[str, Path], tmp_path: Path, damage: str) -> None:
    peft = pytest.importorskip("peft")
    model = load_model(str(folders["llama"]), torch.float32)
    if damage == "prompt":
        settings = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    else:
        settings = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"])
    peft.get_peft_model(model, settings).save_pretrained(tmp_path)
    config = tmp_path / "adapter_config.json"
    values = json.loads(config.read_text())
    if damage == "kind":
        config.write_text(json.dumps(values | {"peft_type": "TELEPATHY"}))
    if damage == "field":
        del values["peft_type"]
        config.write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"adapter") as caught:
        load_model(str(tmp_path), torch.float32)
    assert "\n" not in str(caught.value)
