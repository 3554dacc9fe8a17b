"""Building a policy from folders, saving it, going on from there; what is refused."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from tiny_models import V, gradients, make, make_rows
from transformers import AutoModelForCausalLM

from flowbalance.config import HeadConfig, ModelConfig
from flowbalance.errors import UserError
from flowbalance.policy import loading
from flowbalance.policy.loading import (
    HEAD_FILE,
    build_policy,
    compute_dtype,
    load_head,
    load_model,
    load_tokenizer,
    resolve,
    save_head,
)
from flowbalance.policy.policy import Policy
from flowbalance.policy.tokens import collate
from flowbalance.rollout import Sampling, generate
from flowbalance.training.checkpoint import save_model

PROMPTS, ANSWERS = make_rows()
CPU = torch.device("cpu")


def build(folder: Path | str, head=None, checkpoint: Path | None = None, **model) -> Policy:
    config = ModelConfig(path=str(folder), **model)
    return build_policy(
        config,
        head,
        reference=True,
        temperature=1.0,
        device=CPU,
        tokenizer=load_tokenizer(str(checkpoint or folder)),
        checkpoint=checkpoint,
    )


def train(policy: Policy, steps: int = 2) -> None:
    """Steps that move every trainable weight, the head's included."""
    optimizer = torch.optim.SGD([p for p in policy.parameters() if p.requires_grad], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        logprobs, log_z = policy(collate(PROMPTS, ANSWERS))
        loss = -logprobs.mean() if log_z is None else -logprobs.mean() + (log_z - 1).square().mean()
        loss.backward()
        optimizer.step()


def saved(policy: Policy, tokenizer_of: Path | str, folder: Path) -> Path:
    folder.mkdir()
    save_model(policy.model, load_tokenizer(str(tokenizer_of)), folder)
    assert policy.head is not None
    save_head(policy.head, folder)
    return folder


# --- the policy and its reference --------------------------------------------------------------


def test_a_fresh_policy_is_its_reference(folders: dict[str, Path]) -> None:
    policy = build(folders["llama-tied"], HeadConfig())
    own = policy.score(PROMPTS, ANSWERS)
    assert torch.equal(own, policy.score(PROMPTS, ANSWERS, reference=True))
    assert policy.reference is not policy.model
    assert {id(p) for p in policy.model.parameters()}.isdisjoint(
        id(p) for p in policy.reference.parameters()
    )


def test_a_checkpoint_continues_bit_for_bit(folders: dict[str, Path], tmp_path: Path) -> None:
    base = folders["llama-tied"]
    policy = build(base, HeadConfig())
    train(policy)
    folder = saved(policy, base, tmp_path / "checkpoint")
    again = build(base, HeadConfig(), folder)
    for mine, theirs in zip(
        policy(collate(PROMPTS, ANSWERS)), again(collate(PROMPTS, ANSWERS)), strict=True
    ):
        assert torch.equal(mine, theirs)
    reference = again.score(PROMPTS, ANSWERS, reference=True)
    assert torch.equal(reference, Policy(make("llama-tied")).score(PROMPTS, ANSWERS))
    assert (again.score(PROMPTS, ANSWERS) - reference).abs().max() > 1e-3


def test_another_reference(folders: dict[str, Path]) -> None:
    policy = build(folders["llama-tied"], reference=str(folders["llama"]))
    reference = policy.score(PROMPTS, ANSWERS, reference=True)
    assert torch.equal(reference, Policy(make("llama")).score(PROMPTS, ANSWERS))


def test_half_precision_leaves_the_trained_weights_and_the_rotary_angles_alone(
    folders: dict[str, Path],
) -> None:
    policy = build(folders["llama"], HeadConfig(), dtype="bfloat16")
    assert {p.dtype for p in policy.model.parameters()} == {torch.float32}
    assert {p.dtype for p in policy.head.parameters()} == {torch.float32}
    assert {p.dtype for p in policy.reference.parameters()} == {torch.bfloat16}
    assert policy.compute_dtype == torch.bfloat16
    angles = dict(policy.model.named_buffers())["model.rotary_emb.inv_freq"]
    assert torch.equal(dict(policy.reference.named_buffers())["model.rotary_emb.inv_freq"], angles)
    own = policy.score(PROMPTS, ANSWERS)
    reference = policy.score(PROMPTS, ANSWERS, reference=True)
    torch.testing.assert_close(reference, own, atol=0.2, rtol=0)


def test_the_dtype_is_the_recipes_or_the_devices() -> None:
    assert compute_dtype(ModelConfig(), CPU) == torch.float32
    assert compute_dtype(ModelConfig(dtype="bfloat16"), CPU) == torch.bfloat16


def test_the_policy_that_is_trained_is_the_one_that_samples(folders: dict[str, Path]) -> None:
    """GPT-2 has dropout of 0.1 in four places."""
    policy = build(folders["gpt2"])
    assert policy.model.training
    logprobs, _ = policy(collate(PROMPTS, ANSWERS))
    scored = policy.score(PROMPTS, ANSWERS)
    torch.testing.assert_close(logprobs, scored, atol=1e-6, rtol=0)
    assert policy.model.config.attn_pdrop == 0.1  # what is saved says what the model came with


# --- gradient checkpointing -----------------------------------------------------------------------


@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_recomputed_activations_give_the_same_gradients(folders: dict[str, Path], lora) -> None:
    found = []
    for recompute in (False, True):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", ".*gradient_checkpointing_enable", FutureWarning)
            torch.manual_seed(0)  # of the adapter
            policy = build(
                folders["llama"],
                HeadConfig(trunk_gradient=True),
                gradient_checkpointing=recompute,
                lora=lora,
            )
        train(policy)  # so that neither the head nor the adapter is zero
        policy.zero_grad()
        passes: list[bool] = []
        layers = getattr(policy.model, "get_base_model", lambda p=policy: p.model)().model.layers
        layers[0].mlp.register_forward_pre_hook(lambda *_, passes=passes: passes.append(True))
        logprobs, log_z = policy(collate(PROMPTS, ANSWERS))
        (logprobs.mean() + log_z.mean()).backward()
        assert len(passes) == 1 + recompute
        found.append(gradients(policy))
        rollout = generate(policy.model, PROMPTS, 2, Sampling(4, stop_ids=(1,)), seed=0)
        rows = [p for p in PROMPTS for _ in range(2)]
        sampled = [t[m].tolist() for t, m in zip(rollout.tokens, rollout.mask, strict=True)]
        torch.testing.assert_close(policy.score(rows, sampled), rollout.logprobs, atol=1e-4, rtol=0)
    assert found[0]
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=1e-5)


# --- the separator ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "llama-tied"])
def test_a_new_separator_in_policy_reference_and_checkpoint(
    folders: dict[str, Path], tmp_path: Path, name: str
) -> None:
    base, head = folders[name], HeadConfig(pooling="separator", separator="<|sep|>")
    tokenizer = load_tokenizer(str(base))
    arguments = {"reference": True, "temperature": 1.0, "device": CPU}
    policy = build_policy(ModelConfig(path=str(base)), head, tokenizer=tokenizer, **arguments)
    assert tokenizer.convert_tokens_to_ids("<|sep|>") == V
    assert tokenizer.decode([3, V], skip_special_tokens=True) == "w3"
    for model in (policy.model, policy.reference):
        before, after = make(name).state_dict(), model.state_dict()
        for weight in ("model.embed_tokens.weight", "lm_head.weight"):
            assert torch.equal(after[weight][:V], before[weight])
            torch.testing.assert_close(after[weight][V:], before[weight].mean(0, keepdim=True))
    prompts = [[*prompt, V] for prompt in PROMPTS]
    assert torch.equal(
        policy.score(prompts, ANSWERS), policy.score(prompts, ANSWERS, reference=True)
    )

    reference = policy.score(prompts, ANSWERS, reference=True)
    train(policy)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save_model(policy.model, tokenizer, folder)
    save_head(policy.head, folder)
    tokenizer = load_tokenizer(str(folder))
    assert len(tokenizer) == V + 1
    again = build_policy(
        ModelConfig(path=str(base)), head, tokenizer=tokenizer, checkpoint=folder, **arguments
    )
    assert torch.equal(again.score(prompts, ANSWERS), policy.score(prompts, ANSWERS))
    assert torch.equal(again.score(prompts, ANSWERS, reference=True), reference)
    log_z = [each(collate(prompts, ANSWERS))[1] for each in (policy, again)]
    assert torch.equal(*log_z)
    plain = AutoModelForCausalLM.from_pretrained(folder)
    assert plain.config.vocab_size == V + 1
    assert torch.equal(Policy(plain).score(prompts, ANSWERS), policy.score(prompts, ANSWERS))


def test_a_separator_of_the_vocabulary_changes_nothing(folders: dict[str, Path]) -> None:
    base = folders["llama"]
    for lora in (None, {"rank": 2}):
        policy = build(base, HeadConfig(pooling="separator", separator="w5"), lora=lora)
        assert policy.model.get_input_embeddings().weight.shape[0] == V


def test_a_new_separator_beneath_an_adapter_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"^head.separator: .*no room for a new token"):
        build(folders["llama"], HeadConfig(pooling="separator"), lora={"rank": 2})


# --- LoRA -----------------------------------------------------------------------------------------


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
        logprobs, log_z = each(tokens)
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


# --- what is refused ----------------------------------------------------------------------------


def copied(folders: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders["llama"], tmp_path / "copy"))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def refusal(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("path", ["./nowhere", "/no/where", "~/no/where/at/all", "nowhere"])
def test_a_missing_folder(path: str) -> None:
    for load in (load_tokenizer, lambda path: load_model(path, torch.float32)):
        with pytest.raises(UserError) as error:
            load(path)
        assert refusal(error) == f"model.path: there is no folder {path}"


def test_an_unknown_built_in(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "ASSETS", folders["llama"].parent)
    for name in ("builtin:nothing", "builtin:"):
        with pytest.raises(UserError, match=f"no built-in model '{name}'; there are: builtin:gpt2"):
            resolve(name)


def test_a_folder_is_absolute_and_a_name_stays(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an adapter's checkpoint says of its base must hold in any working directory."""
    monkeypatch.chdir(folders["llama"].parent)
    assert resolve("llama") == resolve("./llama") == str(folders["llama"].resolve())
    assert resolve("some-one/some-model") == "some-one/some-model"


def test_attention_is_sdpa_where_the_family_has_it(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    assert load_model(str(folders["llama"]), torch.float32).config._attn_implementation == "sdpa"
    eager = load_model(str(folders["llama"]), torch.float32, "eager")
    assert eager.config._attn_implementation == "eager"
    make("gemma2").save_pretrained(tmp_path)
    gemma = load_model(str(tmp_path), torch.float32)  # sdpa in early Transformers 5, not in later
    assert gemma.config._attn_implementation in ("eager", "sdpa")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    for load in (load_tokenizer, lambda path: load_model(path, torch.float32)):
        with pytest.raises(UserError) as error:
            load(str(tmp_path))
        assert refusal(error).startswith("model.path: cannot load the ")
        assert str(tmp_path) in refusal(error)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_model_cut_short(folders: dict[str, Path], tmp_path: Path, file: str) -> None:
    folder = copied(folders, tmp_path)
    truncate(folder / file)
    with pytest.raises(UserError) as error:
        load_model(str(folder), torch.float32)
    assert refusal(error).startswith(f"model.path: cannot load the model {folder}: ")


def test_a_tokenizer_cut_short(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(folders, tmp_path)
    truncate(folder / "tokenizer.json")
    with pytest.raises(UserError, match=f"cannot load the tokenizer {folder}: "):
        load_tokenizer(str(folder))


def test_missing_weights_are_not_made_up(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(folders, tmp_path)
    make("llama").model.save_pretrained(folder)  # the trunk alone
    with pytest.raises(UserError, match=rf"{folder} lacks 1 of the weights .*lm_head.weight"):
        load_model(str(folder), torch.float32)


def test_a_head_that_is_missing_damaged_or_of_another_shape(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    base = folders["llama"]
    policy = build(base, HeadConfig())
    folder = saved(policy, base, tmp_path / "checkpoint")
    wide = build(base, HeadConfig(layers=4)).head
    with pytest.raises(UserError) as error:
        load_head(wide, folder)
    refusal(error)
    for damage in (truncate, Path.unlink):
        damage(folder / HEAD_FILE)
        with pytest.raises(UserError) as error:
            build(base, HeadConfig(), folder)
        start = f"{folder / HEAD_FILE}: cannot load the partition head: "
        assert refusal(error).startswith(start)


def test_damaged_and_stacked_adapters(folders: dict[str, Path], tmp_path: Path) -> None:
    base = copied(folders, tmp_path)
    folder = saved(build(base, HeadConfig(), lora={"rank": 2}), base, tmp_path / "checkpoint")
    with pytest.raises(UserError, match="LoRA checkpoint, and one adapter cannot stand on another"):
        build(folder, lora={"rank": 2})
    truncate(folder / "adapter_model.safetensors")
    with pytest.raises(UserError) as error:
        load_model(str(folder), torch.float32)
    assert refusal(error).startswith(f"{folder}: cannot load the LoRA adapter: ")
    shutil.rmtree(base)
    with pytest.raises(UserError, match=f"the adapter's base model {base} is gone"):
        load_model(str(folder), torch.float32)


def test_unknown_target_modules(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"^model.lora.target_modules: .*nothing_like_it"):
        build(folders["llama"], lora={"target_modules": ["nothing_like_it"]})
