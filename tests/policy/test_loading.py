"""Folders and names of models, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from building import build, saved
from tiny_models import make

from evenflow.cli import main
from evenflow.config import DataConfig, HeadConfig, ModelConfig, TrainConfig, dump
from evenflow.errors import UserError
from evenflow.policy import loading
from evenflow.policy.loading import (
    HEAD_FILE,
    load_model,
    load_part,
    load_tokenizer,
    require_same_tokens,
    resolve,
    stored_dtype,
)
from evenflow.training.checkpoint import save_model


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
        assert (
            refusal(error) == f"model.path: there is no model in {tmp_path}: it has no config.json"
        )
    (tmp_path / "runs").mkdir()  # of a comparison
    with pytest.raises(UserError, match="name one of the runs in its folder runs"):
        load_tokenizer(str(tmp_path))
    for name in ("config.yaml", "provenance.json"):  # of a run that has just begun
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="has no checkpoint yet; it writes one every"):
        load_tokenizer(str(tmp_path))


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


def test_weights_are_not_the_files_own_memory(folders: dict[str, Path], tmp_path: Path) -> None:
    """Aligned as PyTorch's own tensors are, tied where they were, and out of the file's reach."""
    for name, source in folders.items():
        folder = Path(shutil.copytree(source, tmp_path / name))
        model = load_model(str(folder), torch.float32)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        with (folder / "model.safetensors").open("r+b") as file:
            size = file.seek(0, 2)
            file.seek(0)
            file.write(b"\xff" * size)
        assert all(torch.equal(model.state_dict()[key], before[key]) for key in before)
        assert all(tensor.data_ptr() % 64 == 0 for tensor in model.state_dict().values())
        tied = model.config.tie_word_embeddings  # pyright: ignore
        ends = model.get_input_embeddings().weight, model.get_output_embeddings().weight  # pyright: ignore
        assert (ends[0] is ends[1]) == tied


def test_a_head_that_is_missing_damaged_or_of_another_shape(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    base = folders["llama"]
    policy = build(base, HeadConfig())
    folder = saved(policy, base, tmp_path / "checkpoint")
    wide = build(base, HeadConfig(layers=4)).head
    with pytest.raises(UserError) as error:
        load_part(wide, folder / HEAD_FILE)
    refusal(error)
    for damage in (truncate, Path.unlink):
        damage(folder / HEAD_FILE)
        with pytest.raises(UserError) as error:
            build(base, HeadConfig(), folder)
        start = f"{folder / HEAD_FILE}: cannot load this part of the policy: "
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


# --- the type of an exported model ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_an_export_has_the_type_of_its_base(
    folders: dict[str, Path], tmp_path: Path, dtype: str, lora: dict[str, int] | None
) -> None:
    base, run = tmp_path / "base", tmp_path / "run"
    make("llama").to(getattr(torch, dtype)).save_pretrained(base)
    tokenizer = load_tokenizer(str(folders["llama"]))
    tokenizer.save_pretrained(base)
    policy = build(base, lora=lora)
    save_model(policy.model, tokenizer, run / "checkpoint-000001")
    config = TrainConfig(model=ModelConfig(path=str(base)), data=DataConfig(task="countdown"))
    (run / "config.yaml").write_text(dump(config))
    for option, wanted in ((), dtype), (("--dtype", "bfloat16"), "bfloat16"):
        folder = tmp_path / f"exported{len(option)}"
        assert main(["export", str(run / "checkpoint-000001"), str(folder), *option]) == 0
        exported = load_model(str(folder), "auto")
        assert {p.dtype for p in exported.parameters()} == {getattr(torch, wanted)}


def test_the_type_of_a_checkpoint_whose_base_is_gone(folders: dict[str, Path]) -> None:
    path = str(folders["llama"])
    assert stored_dtype(path, "/no/where") == torch.float32
    assert stored_dtype(path) == torch.float32


@pytest.mark.parametrize("family", ["gemma", "gpt2", "qwen2", "opt"])
def test_a_folder_without_a_tokenizer_is_refused(family: str, tmp_path: Path) -> None:
    """Transformers makes one that knows nothing."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    with pytest.raises(UserError, match="there is no tokenizer in"):
        load_tokenizer(str(tmp_path))


def test_a_reference_has_the_policy_s_tokens(tmp_path: Path) -> None:
    require_same_tokens("builtin:countdown", "builtin:countdown")
    with pytest.raises(UserError, match=r"model.reference: the tokenizer of builtin:programs"):
        require_same_tokens("builtin:countdown", "builtin:programs")
    config = ModelConfig(path="builtin:programs", reference="builtin:countdown")
    with pytest.raises(UserError, match="other tokens than that of builtin:programs"):
        loading.build_policy(
            config,
            None,
            reference=True,
            temperature=1.0,
            device=torch.device("cpu"),
            tokenizer=load_tokenizer(config.path),
        )
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    require_same_tokens("builtin:countdown", str(tmp_path))  # it has none of its own
