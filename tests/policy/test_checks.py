"""A model's folder with something wrong in it: one sentence while it is read."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig

from evenflow.errors import UserError
from evenflow.policy.checks import settle_generation_config
from evenflow.policy.loading import load_model, load_tokenizer, resolve

Change = Callable[[Path], Any]


def edited(name: str, **values: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def replaced(name: str, text: str) -> Change:
    return lambda folder: (folder / name).write_text(text)


def weight(name: str, value: float) -> Change:
    def change(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        weights[name][0, 0] = value
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    return change


def without_tensors(folder: Path) -> None:
    save_file({}, folder / "model.safetensors", {"format": "pt"})


QUERY, DOWN = "model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight"
WRONG: dict[str, tuple[Change, str]] = {
    "no JSON": (replaced("config.json", "{"), "config.json is not valid JSON"),
    "a list": (replaced("config.json", "[]"), "config.json must hold a JSON object, not a list"),
    "a text": (replaced("config.json", '"a"'), "config.json must hold a JSON object"),
    "no bytes of text": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "config.json is"),
    "nothing said": (replaced("config.json", "{}"), "model_type"),
    "generation no JSON": (
        replaced("generation_config.json", "{"),
        "generation_config.json is not valid JSON",
    ),
    "generation a list": (replaced("generation_config.json", "[]"), "must hold a JSON object"),
    "unknown kind": (edited("config.json", model_type="nonesuch"), "nonesuch"),
    "code of its own": (
        edited(
            "config.json",
            model_type="own",
            auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"},
        ),
        "needs code that it brings itself",
    ),
    "activation": (edited("config.json", hidden_act="nonesuch"), "names 'nonesuch'"),
    "heads": (edited("config.json", num_attention_heads=3), "multiple of the number of attention"),
    "no heads": (edited("config.json", num_attention_heads=0), "cannot load the model"),
    "width": (edited("config.json", hidden_size=-16), "cannot load the model"),
    "no number": (edited("config.json", hidden_size="wide"), "expected int, got str"),
    "vocabulary": (
        edited("config.json", vocab_size=7),
        r"has the shape \[29, 16\], and by its configuration \[7, 16\]",
    ),
    "padding": (edited("config.json", pad_token_id=1000), "Padding_idx must be within"),
    "layers": (edited("config.json", num_hidden_layers=3), "lacks 9 of the weights"),
    "NaN": (weight(QUERY, torch.nan), f"{QUERY} of .* has values that are not finite"),
    "infinite": (weight(DOWN, torch.inf), f"{DOWN} of .* has values that are not finite"),
    "empty file": (replaced("model.safetensors", ""), "cannot load the model"),
    "no tensors": (without_tensors, "lacks 21 of the weights"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_model_that_cannot_be_trained_is_one_sentence(
    folders: dict[str, Path], tmp_path: Path, what: str
) -> None:
    folder = Path(shutil.copytree(folders["llama"], tmp_path / "model"))
    change, message = WRONG[what]
    change(folder)
    with pytest.raises(UserError, match=message) as caught:
        load_model(str(folder), torch.float32)
    said = str(caught.value)
    assert said.startswith("model.path: ")
    assert str(folder) in said
    assert "\n" not in said


@pytest.mark.parametrize("what", ["no JSON", "a list", "heads"])
def test_a_model_is_named_though_its_tokenizer_is_read_first(
    folders: dict[str, Path], tmp_path: Path, what: str
) -> None:
    folder = Path(shutil.copytree(folders["llama"], tmp_path / "model"))
    WRONG[what][0](folder)
    with pytest.raises(UserError, match="cannot load the model"):
        load_tokenizer(str(folder))


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_tokenizer_configured_by_nonsense(
    folders: dict[str, Path], tmp_path: Path, text: str
) -> None:
    folder = Path(shutil.copytree(folders["llama"], tmp_path / "model"))
    (folder / "tokenizer_config.json").write_text(text)
    with pytest.raises(UserError, match=r"tokenizer_config\.json"):
        load_tokenizer(str(folder))


def test_a_model_without_a_tokenizer(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["llama"], tmp_path / "model"))
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(UserError, match="cannot load the tokenizer"):
        load_tokenizer(str(folder))


def test_a_folder_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def denied(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", denied)
    with pytest.raises(UserError, match=f"cannot read {tmp_path}: Permission denied"):
        resolve(str(tmp_path))


def test_a_sum_that_overflows_is_no_infinite_weight(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders["llama"], tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    weights[QUERY].fill_(3e38)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    load_model(str(folder), torch.float32)


def test_weights_without_a_place_are_said(
    folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(folders["llama"], tmp_path / "model"))
    edited("config.json", num_hidden_layers=1)(folder)
    with caplog.at_level(logging.WARNING):
        load_model(str(folder), torch.float32)
    assert "holds 9 weights that LlamaForCausalLM has no place for" in caplog.text


# --- the generation config ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"temperature": 0.7}, "temperature"),
        ({"do_sample": False, "top_p": 0.9, "top_k": 7}, "top_p, top_k"),
        ({"min_p": 0.1, "typical_p": 0.5, "epsilon_cutoff": 0.1, "eta_cutoff": 0.1}, "min_p"),
        ({"early_stopping": True, "length_penalty": 2.0}, "early_stopping, length_penalty"),
        ({"pad_token_id": -1}, "pad_token_id"),
        ({"max_new_tokens": -3, "num_return_sequences": 4}, "special tokens alone"),
    ],
)
def test_a_generation_config_is_one_that_can_be_saved(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, values: dict[str, Any], said: str
) -> None:
    config = GenerationConfig(eos_token_id=[1, 2], bos_token_id=3)
    for name, value in values.items():
        setattr(config, name, value)
    model = SimpleNamespace(generation_config=config)
    with caplog.at_level(logging.WARNING):
        settle_generation_config(model, "here")
    assert said in caplog.text
    assert caplog.text.count("here: ") == 1
    model.generation_config.validate(strict=True)
    model.generation_config.save_pretrained(tmp_path)
    again = GenerationConfig.from_pretrained(tmp_path)
    assert (again.eos_token_id, again.bos_token_id) == ([1, 2], 3)
    assert not any(getattr(again, name) == value for name, value in values.items() if value)


@pytest.mark.parametrize(
    "values", [{}, {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20}]
)
def test_a_sound_generation_config_stays_as_it_is(
    caplog: pytest.LogCaptureFixture, values: dict[str, Any]
) -> None:
    model = SimpleNamespace(generation_config=GenerationConfig(eos_token_id=1, **values))
    settle_generation_config(model, "here")
    assert model.generation_config == GenerationConfig(eos_token_id=1, **values)
    assert not caplog.text
