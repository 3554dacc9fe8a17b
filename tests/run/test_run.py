"""The folder of a run and the device it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.training.runs import open_run, train

from evenflow.config import TrainConfig, load
from evenflow.config.explain import fields
from evenflow.errors import UserError
from evenflow.run import folder as run
from evenflow.run.checkpoints import in_full, model_folder
from evenflow.run.folder import choose_device, point_latest
from evenflow.training.trainer import Trainer

Make = Callable[..., TrainConfig]


def test_the_resolved_configuration_lands_in_the_folder(recipe: Make) -> None:
    config = recipe("seed=7")
    folder = open_run(config, "test")
    assert load(TrainConfig, folder / "config.yaml", []) == config


def test_default_folders_never_collide(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run.time, "strftime", lambda _: "20260101-120000")
    config = recipe("output=null")
    names = [open_run(config, "x").name for _ in range(3)]
    assert names == ["x-20260101-120000", "x-20260101-120000.2", "x-20260101-120000.3"]


@pytest.mark.parametrize("place", ["file", "file/run", "file/deep/run"])
def test_a_folder_that_cannot_be_made(recipe: Make, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    says = r"cannot write there \((.* is a file, not a folder|Not a directory)\); choose another"
    with pytest.raises(UserError, match=says):
        open_run(recipe(f"output={tmp_path / place}"), "test")


def test_runs_may_be_a_file(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match="cannot write there"):
        open_run(recipe("output=null"), "test")


def test_a_folder_without_write_permission(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=r"locked: cannot write there \(Permission denied\)"):
        open_run(recipe(f"output={tmp_path / 'locked'}"), "test")


def test_latest_moves_on_and_spares_a_real_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        point_latest(tmp_path / name)
        assert (tmp_path / "latest").resolve() == tmp_path / name
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest/mine").write_text("")
    point_latest(tmp_path / "a")
    assert (tmp_path / "latest/mine").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "latest"]


def test_latest_from_inside_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    point_latest(Path("."))
    assert (tmp_path / "latest").resolve() == tmp_path / "a"


def test_a_run_does_without_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    point_latest(tmp_path)
    assert "latest does not point here: Operation not permitted" in capsys.readouterr().out


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    for name in ("gpu", "", "meta", "cuda:x"):
        with pytest.raises(UserError, match="use auto, cpu, cuda or cuda:1"):
            choose_device(name)
    with pytest.raises(UserError, match="cuda was asked for, but PyTorch sees no GPU"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="cuda:1 was asked for, but PyTorch sees 1 GPU"):
        choose_device("cuda:1")
    assert choose_device("cuda:0") == torch.device("cuda:0")


def test_a_run_s_model_is_named_in_full_and_not_by_the_link_to_the_latest(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    saved = train(recipe("output=runs/a", "train.steps=1"))
    assert saved.parent == tmp_path / "runs" / "a"
    assert (tmp_path / "runs" / "latest").is_symlink()
    for name in ("runs/latest", "runs/a", "./runs/a/", "~/runs/a", str(tmp_path / "runs/latest")):
        assert model_folder(name) == str(saved)
    assert model_folder("builtin:countdown") == "builtin:countdown"
    assert model_folder("org/name") == "org/name"


def test_paths_of_a_recipe_are_made_full(recipe: Make, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.jsonl").touch()
    there = recipe("data.task=null", "data.train=a.jsonl", "data.test=~/a.jsonl")
    full = in_full(there)
    assert full.data.train == full.data.test == str(tmp_path / "a.jsonl")
    elsewhere = recipe("data.task=null", "data.train=org/set", "model.path=" + "x" * 300)
    assert in_full(elsewhere) == elsewhere
    pattern = in_full(recipe("data.task=null", "data.train=*.jsonl", "data.test=~/b-*.jsonl"))
    assert (pattern.data.train, pattern.data.test) == (f"{tmp_path}/*.jsonl", "~/b-*.jsonl")


def test_a_model_of_an_earlier_run_is_not_replaced(recipe: Make, tmp_path: Path) -> None:
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds the model of an earlier run; choose another folder"):
        open_run(recipe(), "test")


def test_what_is_said_of_latest_is_what_happens(recipe: Make, tmp_path: Path) -> None:
    """`latest` lies beside the run's folder, wherever that is, and nowhere else."""
    (said,) = [text for name, *_, text in fields(TrainConfig) if name == "output"]
    assert "The link `latest` beside it" in said
    for name in ("a", "b", "a"):
        folder = tmp_path / "mine" / "deep" / name
        resume = folder / "checkpoint-000001"
        if resume.is_dir():
            Trainer(recipe("train.steps=2"), resume=resume).run()
        else:
            train(recipe("train.steps=1", f"output={folder}"))
        assert (tmp_path / "mine" / "deep" / "latest").resolve() == folder
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("latest")] == [
        "mine/deep/latest"
    ]
