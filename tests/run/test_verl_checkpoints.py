"""Checkpoints of verl where verl is not (tests_verl has real ones)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from evenflow.errors import UserError
from evenflow.run import verl_checkpoints
from evenflow.run.checkpoints import model_folder, recipe_of
from evenflow.run.verl_checkpoints import actor_of, without_head


@pytest.fixture
def actor(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "global_step_5" / "actor"
    (folder / "huggingface").mkdir(parents=True)
    (folder / "huggingface" / "config.json").write_text("{}")
    (folder / "fsdp_config.json").write_text('{"world_size": 1}')
    (folder / "model_world_size_1_rank_0.pt").touch()
    return folder


def test_a_run_a_step_and_an_actor_are_one(actor: Path, tmp_path: Path) -> None:
    for folder in (actor, actor.parent, actor.parents[1]):
        assert actor_of(folder) == actor
    assert actor_of(tmp_path) is None


def test_the_newest_step_is_taken(actor: Path) -> None:
    newer = actor.parents[1] / "global_step_10"
    actor.parent.rename(newer.with_name("global_step_9"))
    (newer / "actor").mkdir(parents=True)  # verl was ended while it saved
    assert actor_of(newer.parent) == newer.with_name("global_step_9") / "actor"


def test_without_verl_its_command_is_said(actor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verl_checkpoints, "is_installed", lambda _: False)
    with pytest.raises(UserError, match=r"python -m verl\.model_merger merge --backend fsdp"):
        model_folder(str(actor))


def test_an_adapter_is_refused(actor: Path) -> None:
    (actor / "lora_train_meta.json").write_text("{}")
    with pytest.raises(UserError, match="holds an adapter"):
        model_folder(str(actor))


def test_verls_own_copy_of_the_model_is_taken(actor: Path) -> None:
    (actor / "huggingface" / "model.safetensors").touch()
    assert model_folder(str(actor.parents[1])) == str(actor / "huggingface")


def test_the_head_is_no_part_of_the_model(tmp_path: Path) -> None:
    one = {"a": torch.ones(2), "evenflow_head.layers.0.weight": torch.ones(3)}
    save_file(one, tmp_path / "model-1.safetensors", {"format": "pt"})
    save_file({"b": torch.ones(1)}, tmp_path / "model-2.safetensors", {"format": "pt"})
    places = {**dict.fromkeys(one, "model-1.safetensors"), "b": "model-2.safetensors"}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    without_head(tmp_path)
    assert load_file(tmp_path / "model-1.safetensors").keys() == {"a"}
    assert json.loads(index.read_text())["weight_map"].keys() == {"a", "b"}
    assert not list(tmp_path.glob(".*"))


def test_the_recipe_of_a_run_by_verl_is_known_from_its_actor(actor: Path) -> None:
    (actor.parents[1] / "config.yaml").write_text(
        "data: {task: countdown}\nrollout: {questions: 3}\n"
    )
    for folder in (actor, actor.parent, actor.parents[1]):
        recipe = recipe_of(str(folder))
        assert recipe is not None
        assert recipe.rollout.questions == 3
