"""A checkpoint that verl saved, in our commands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from evenflow.cli import main
from evenflow.errors import UserError
from evenflow.policy.loading import load_model
from evenflow.run.checkpoints import model_folder

ROOT = Path(__file__).parents[1]
BASE = ROOT / "src/evenflow/assets/countdown"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of verl with one checkpoint of two ranks, and the recipe beside it."""
    run = tmp_path_factory.mktemp("verl") / "run"
    command = [sys.executable, Path(__file__).with_name("verl_shards.py")]
    subprocess.run([*command, BASE, run / "global_step_5" / "actor"], check=True)
    shutil.copy(ROOT / "recipes/countdown.yaml", run / "config.yaml")
    return run


@pytest.fixture
def run(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run"))


def test_shards_are_merged_once_without_the_head(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(model_folder(str(run)))
    assert folder == run / "global_step_5" / "merged"
    assert "merging" in capsys.readouterr().out
    names = load_file(folder / "model.safetensors").keys()
    assert names
    assert not any("evenflow_head" in name for name in names)
    ours, base = (load_model(str(path), torch.float32).state_dict() for path in (folder, BASE))
    assert ours.keys() == base.keys()
    for name, weight in base.items():  # verl's tool writes bfloat16
        assert torch.equal(ours[name], weight.to(torch.bfloat16).float()), name
    for name in (run / "global_step_5", run / "global_step_5" / "actor"):
        assert model_folder(str(name)) == str(folder)
    assert "merging" not in capsys.readouterr().out


def test_it_is_sampled_evaluated_exported_and_reported(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sample", str(run), "--prompt", "3,7,8,2>31:", "-n", "1"]) == 0
    capsys.readouterr()
    words = ["evaluation.questions=4", "evaluation.num_generations=2"]
    assert main(["eval", "countdown", f"model.path={run}/global_step_5", *words]) == 0
    assert 0 <= json.loads(capsys.readouterr().out)["accuracy"] <= 1
    assert main(["export", str(run), "out"]) == 0
    names = load_file(tmp_path / "out" / "model.safetensors").keys()
    assert not any("evenflow_head" in name for name in names)
    benchmark = ["benchmark=countdown", "questions=2", "num_generations=2", "output=told"]
    assert main(["eval", f"model.path={run}", *benchmark]) == 0
    assert main(["report", "told"]) == 0
    assert (tmp_path / "told" / "report.html").is_file()


def test_what_is_not_whole_is_passed_over(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newer = shutil.copytree(run / "global_step_5", run / "global_step_10")
    (newer / "actor" / "model_world_size_2_rank_1.pt").unlink()
    assert model_folder(str(run)) == str(run / "global_step_5" / "merged")
    said = capsys.readouterr().out.replace("\n", "")
    assert "model_world_size_2_rank_1.pt is missing; it is passed over" in said
    shutil.rmtree(run / "global_step_5")
    with pytest.raises(UserError, match="holds no whole checkpoint of verl"):
        model_folder(str(run))


def test_shards_that_cannot_be_merged_leave_nothing(run: Path) -> None:
    shard = run / "global_step_5" / "actor" / "model_world_size_2_rank_0.pt"
    shard.write_bytes(b"no tensors")
    with pytest.raises(UserError, match="verl could not merge its shards"):
        model_folder(str(run))
    assert sorted(path.name for path in (run / "global_step_5").iterdir()) == ["actor"]
