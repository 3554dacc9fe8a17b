"""A policy built from a folder: reference, precision, resumption, recomputation, separator."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from building import ANSWERS, CPU, PROMPTS, build, saved, train
from tests.rollout.rollouts import rollout as sample
from tiny_models import CONFIGS, DRAWING, SIZE, V, gradients, make, save
from torch import nn
from transformers import AutoModelForCausalLM, BertGenerationConfig

from evenflow.config import HeadConfig, ModelConfig
from evenflow.errors import UserError
from evenflow.policy.loading import build_policy, compute_dtype, load_tokenizer, save_parts
from evenflow.policy.policy import Policy, check_projection
from evenflow.policy.tokens import collate
from evenflow.rollout import Sampling
from evenflow.training.checkpoint import save_model

# --- the policy and its reference ---------------------------------------------------------------


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
        policy(collate(PROMPTS, ANSWERS))[:2], again(collate(PROMPTS, ANSWERS))[:2], strict=True
    ):
        assert torch.equal(mine, theirs)
    reference = again.score(PROMPTS, ANSWERS, reference=True)
    assert torch.equal(reference, Policy(make("llama-tied")).score(PROMPTS, ANSWERS))
    assert (again.score(PROMPTS, ANSWERS) - reference).abs().max() > 1e-3


def test_parts_lie_where_what_loads_models_does_not_look(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """Without an index every *.safetensors beside the weights counts as weights for some."""
    base = folders["llama"]
    policy = build(base, HeadConfig())
    train(policy)
    folder = saved(policy, base, tmp_path / "checkpoint")
    assert [path.name for path in folder.glob("*.safetensors")] == ["model.safetensors"]
    # As early checkpoints have them.
    for part in (folder / "parts").iterdir():
        part.rename(folder / part.name)
    (folder / "parts").rmdir()
    again = build(base, HeadConfig(), folder)
    tokens = collate(PROMPTS, ANSWERS)
    assert torch.equal(again(tokens).log_z, policy(tokens).log_z)


def test_another_reference(folders: dict[str, Path]) -> None:
    policy = build(folders["llama-tied"], reference=str(folders["llama"]))
    reference = policy.score(PROMPTS, ANSWERS, reference=True)
    assert torch.equal(reference, Policy(make("llama")).score(PROMPTS, ANSWERS))


def test_half_precision_leaves_the_trained_weights_and_the_rotary_angles_alone(
    folders: dict[str, Path],
) -> None:
    """Trained are the masters; what computes is rounded, in policy and reference alike."""
    policy = build(folders["llama"], HeadConfig(), dtype="bfloat16")
    truth = dict(make("llama").named_parameters())
    for name, p in policy.model.named_parameters():
        assert p.dtype == torch.bfloat16
        assert torch.equal(policy.masters.values[p], truth[name])
        assert torch.equal(p, truth[name].bfloat16())
    assert {p.dtype for p in policy.head.parameters()} == {torch.float32}
    assert {p.dtype for p in policy.reference.parameters()} == {torch.bfloat16}
    assert policy.compute_dtype == torch.bfloat16
    for model in (policy.model, policy.reference):
        angles = dict(model.named_buffers())["model.rotary_emb.inv_freq"]
        assert torch.equal(angles, dict(make("llama").named_buffers())["model.rotary_emb.inv_freq"])


@pytest.mark.parametrize("reference", [None, "itself"])
@pytest.mark.parametrize("name", CONFIGS)
def test_in_half_precision_policy_and_reference_are_one_until_the_first_step(
    tmp_path: Path, name: str, reference: str | None
) -> None:
    """Bit for bit, so that the KL is 0, and again once the reference is set to the policy."""
    folder = save(name, tmp_path / name)
    policy = build(folder, dtype="bfloat16", reference=str(folder) if reference else None)

    def both() -> list[torch.Tensor]:
        return [policy.score(PROMPTS, ANSWERS, reference=each) for each in (False, True)]

    assert torch.equal(*both())
    with torch.no_grad():
        for parameter in policy.masters.of(policy.model.parameters()):
            parameter.mul_(1.01)
    policy.masters.round()
    assert not torch.equal(*both())
    policy.reset_reference()
    assert torch.equal(*both())


def test_tied_embeddings_have_one_master(folders: dict[str, Path]) -> None:
    policy = build(folders["llama-tied"], dtype="bfloat16")
    for model in (policy.model, policy.reference):
        assert model.lm_head.weight is model.model.embed_tokens.weight
        assert model.lm_head.weight.dtype == torch.bfloat16
    own = policy.masters.of([policy.model.lm_head.weight])[0]
    assert torch.equal(own, make("llama-tied").lm_head.weight)
    assert len(policy.masters.values) == len(list(policy.model.parameters()))


@pytest.mark.parametrize("name", ["llama", "llama-tied", "gpt2"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapter_begins_as_its_reference(
    folders: dict[str, Path], name: str, dtype: str
) -> None:
    policy = build(folders[name], lora={"rank": 2}, dtype=dtype)
    own, reference = (
        policy.score(PROMPTS, ANSWERS, reference=reference) for reference in (False, True)
    )
    assert torch.equal(own, reference)


def test_the_dtype_is_the_recipes_or_the_devices() -> None:
    assert compute_dtype(ModelConfig(), CPU) == torch.float32
    assert compute_dtype(ModelConfig(dtype="bfloat16"), CPU) == torch.bfloat16


def test_a_gpu_without_bfloat16_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one that could emulate it; said only where the recipe asked for it."""
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert compute_dtype(ModelConfig(), gpu) == torch.float32
    assert capsys.readouterr().out == ""
    assert compute_dtype(ModelConfig(dtype="bfloat16"), gpu) == torch.float32
    says = "model.dtype: this GPU has no bfloat16; float32 is taken instead"
    assert capsys.readouterr().out.strip() == says
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    for dtype in ("auto", "bfloat16"):
        assert compute_dtype(ModelConfig(dtype=dtype), gpu) == torch.bfloat16
    assert compute_dtype(ModelConfig(dtype="float32"), gpu) == torch.float32


def test_the_policy_that_is_trained_is_the_one_that_samples(folders: dict[str, Path]) -> None:
    """GPT-2 has dropout of 0.1 in four places."""
    policy = build(folders["gpt2"])
    assert policy.model.training
    logprobs = policy(collate(PROMPTS, ANSWERS)).logprobs
    scored = policy.score(PROMPTS, ANSWERS)
    torch.testing.assert_close(logprobs, scored, atol=1e-6, rtol=0)
    assert policy.model.config.attn_pdrop == 0.1  # what is saved says what the model came with


@pytest.mark.parametrize("name", DRAWING)
def test_nothing_is_drawn_at_random_in_learning(name: str, tmp_path: Path) -> None:
    """Neither dropout that the layers read off the configuration, nor experts by chance."""
    policy = build(save(name, tmp_path / name))
    for _ in range(2):  # scoring gives every module its own mode back
        assert policy.training
        assert policy.model.training
        logprobs = policy(collate(PROMPTS, ANSWERS)).logprobs
        scored = policy.score(PROMPTS, ANSWERS)
        torch.testing.assert_close(logprobs, scored, atol=1e-5, rtol=0)


def test_an_adapters_dropout_is_the_recipes_own(folders: dict[str, Path]) -> None:
    policy = build(folders["llama"], lora={"rank": 2, "dropout": 0.5})
    dropping = {name for name, m in policy.named_modules() if isinstance(m, nn.Dropout) and m.p}
    assert dropping
    for mode in (True, False, True):
        policy.train(mode)
        policy.score(PROMPTS, ANSWERS)
        modules = dict(policy.named_modules())
        assert {modules[name].training for name in dropping} == {mode}


def test_a_model_that_names_no_trunk_has_one_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("llama")
    monkeypatch.setattr(type(model), "base_model_prefix", "nothing")  # as Llama 4 has it
    assert model.base_model is model
    check_projection(model)


def test_an_output_layer_of_another_width_is_refused_in_a_sentence() -> None:
    model = make("llama")
    model.lm_head = nn.Linear(8, V)  # as Electra's, behind a layer that nobody knows of
    with pytest.raises(UserError, match="LlamaForCausalLM cannot be read as layers and an output"):
        check_projection(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_reads_what_is_behind_a_token_is_refused(dtype: torch.dtype) -> None:
    sizes = {name: SIZE[name] for name in ("hidden_size", "num_hidden_layers", "vocab_size")}
    config = BertGenerationConfig(
        **sizes, num_attention_heads=4, intermediate_size=24, is_decoder=False
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10 if parameter.ndim > 1 else 1)
    with pytest.raises(UserError, match="no causal language model; is is_decoder missing"):
        check_projection(model)
    config.is_decoder = True
    check_projection(AutoModelForCausalLM.from_config(config).to(dtype))


# --- gradient checkpointing ---------------------------------------------------------------------


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
        logprobs, log_z = policy(collate(PROMPTS, ANSWERS))[:2]
        (logprobs.mean() + log_z.mean()).backward()
        assert len(passes) == 1 + recompute
        found.append(gradients(policy))
        rollout = sample(policy.model, PROMPTS, 2, Sampling(4, stop_ids=(1,)), seed=0)
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
    save_parts(policy, folder, reference=False)
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
