"""`evenflow export`: a model that any library reads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.commands.conftest import refused, sampled
from transformers import AutoModelForCausalLM

from evenflow.cli import main
from evenflow.config import TrainConfig, dump

Make = Callable[..., TrainConfig]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_export(trained: Path, tmp_path: Path, dtype: str) -> None:
    folder = tmp_path / "deep" / "model"
    assert main(["export", str(trained), str(folder), "--dtype", dtype]) == 0
    ours = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    theirs = AutoModelForCausalLM.from_pretrained(trained / "checkpoint-000002")
    assert ours.dtype == getattr(torch, dtype)
    for name, weight in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], weight.to(ours.dtype))
    assert not (folder / "trainer_state.pt").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_export_merges_lora(
    recipe: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("peft")
    path = tmp_path / "lora.yaml"
    path.write_text(dump(recipe("model.lora={rank: 2}", "train.steps=2", "algorithm=tba")))
    assert main(["train", str(path)]) == 0
    folder = tmp_path / "merged"
    assert main(["export", str(tmp_path / "run"), str(folder)]) == 0
    assert not (folder / "adapter_config.json").exists()
    merged = AutoModelForCausalLM.from_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(recipe().model.path)
    changed = [
        k for k, v in base.state_dict().items() if not torch.equal(v, merged.state_dict()[k])
    ]
    assert changed
    greedy = ["--prompt", "1,2>3:", "--temperature", "0", "-n", "1"]
    assert sampled(capsys, str(folder), *greedy) == sampled(capsys, str(tmp_path / "run"), *greedy)


def test_what_a_killed_export_left_is_no_part_of_the_next(trained: Path, tmp_path: Path) -> None:
    left = tmp_path / ".model.tmp"
    left.mkdir()
    (left / "adapter_config.json").write_text("{}")
    assert main(["export", str(trained), str(tmp_path / "model")]) == 0
    assert not (tmp_path / "model" / "adapter_config.json").exists()


def test_export_refuses(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "exists already" in refused(capsys, "export", str(trained), str(tmp_path))
    (tmp_path / "file").write_text("")
    said = refused(capsys, "export", str(trained), str(tmp_path / "file" / "model"))
    assert "file/model: cannot write there" in said
    said = refused(capsys, "export", str(tmp_path / "no/model"), str(tmp_path / "new"))
    assert "there is no folder" in said


def test_a_place_is_refused_before_the_model_is_read(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr("evenflow.policy.loading.load_model", None)
    (tmp_path / "file").write_text("")
    said = refused(capsys, "export", str(trained), str(tmp_path / "file" / "model"))
    assert "file/model: cannot write there" in said
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "exists already" in refused(capsys, "export", str(trained), str(tmp_path / "link"))


def test_what_float16_cannot_hold_is_not_written(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    weight = next(iter(model.state_dict()))
    copy = tmp_path / "large"
    shutil.copytree(tiny_model, copy)
    for value, fits in ((65504.0, True), (-65536.0, False)):
        with torch.no_grad():
            model.state_dict()[weight].view(-1)[3] = value
        model.save_pretrained(copy)
        target = tmp_path / f"half{fits}"
        if fits:
            assert main(["export", str(copy), str(target), "--dtype", "float16"]) == 0
            written = AutoModelForCausalLM.from_pretrained(target, dtype="auto")
            assert written.state_dict()[weight].view(-1)[3] == value
            continue
        said = refused(capsys, "export", str(copy), str(target), "--dtype", "float16")
        assert f"--dtype: {weight} has values beyond 65504" in said
        assert not target.exists()
        assert main(["export", str(copy), str(target), "--dtype", "bfloat16"]) == 0
