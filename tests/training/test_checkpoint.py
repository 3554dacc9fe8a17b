"""A checkpoint is whole or passed over, and a finished one is never lost."""

from __future__ import annotations

import errno
import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from evenflow.cli import main
from evenflow.config import HeadConfig, TrainConfig
from evenflow.errors import UserError
from evenflow.objectives.partition import PartitionHead
from evenflow.policy.loading import load_model, load_tokenizer
from evenflow.policy.policy import Policy
from evenflow.run import checkpoints
from evenflow.training import checkpoint
from evenflow.training.trainer import Trainer
from tests.training.runs import open_run

Save = Callable[..., Path]


@pytest.fixture
def save(tiny_model: Path, tmp_path: Path) -> Save:
    model = load_model(str(tiny_model), torch.float32)
    policy = Policy(model, head=PartitionHead(16, HeadConfig()))
    tokenizer = load_tokenizer(str(tiny_model))

    def make(step: int, keep: int = 5) -> Path:
        state = {"step": step, "moments": torch.ones(1000)}
        return checkpoint.save(tmp_path, step, policy, tokenizer, state, keep=keep)

    return make


def names(run: Path) -> list[str]:
    return [path.name for path in checkpoints.checkpoints(run)]


def test_a_whole_checkpoint(save: Save, tmp_path: Path) -> None:
    folder = save(3)
    assert checkpoints.verify(folder) is None
    assert checkpoints.latest_whole(tmp_path) == folder
    assert checkpoint.load_state(folder)["step"] == 3
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 0
    assert (folder / "parts/partition_head.safetensors").is_file()


def test_who_reads_the_configuration_reads_the_weights(save: Save) -> None:
    """A server of another user loads them; safetensors writes for the owner alone."""
    folder = save(3)
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.rglob("*.*")}
    weights = [mode for name, mode in modes.items() if name.endswith(".safetensors")]
    assert len(weights) == 2
    assert set(weights) == {modes["config.json"]}


FILES = [
    "manifest.json",
    "model.safetensors",
    "trainer_state.pt",
    "parts/partition_head.safetensors",
    "config.json",
    "tokenizer.json",
]


@pytest.mark.parametrize("how", ["removed", "cut short", "empty", "changed"])
@pytest.mark.parametrize("name", FILES)
def test_damage_is_noticed_and_the_one_before_taken(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, how: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    older, newer = checkpoints.checkpoints(run)
    path = newer / name
    data = path.read_bytes()
    if how == "removed":
        path.unlink()
    else:
        flipped = data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]
        path.write_bytes({"cut short": data[: len(data) // 2], "empty": b""}.get(how, flipped))
    assert checkpoints.latest_whole(run) == older
    said = capsys.readouterr().out
    assert f"{newer}: " in said
    assert name in said
    (older / name).unlink()
    with pytest.raises(UserError, match="holds no whole checkpoint"):
        checkpoints.latest_whole(run)


@pytest.fixture(scope="module")
def whole(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the checkpoints 1 and 2."""
    run = tmp_path_factory.mktemp("whole")
    policy = Policy(
        load_model(str(tiny_model), torch.float32), head=PartitionHead(16, HeadConfig())
    )
    for step in (1, 2):
        tokenizer = load_tokenizer(str(tiny_model))
        checkpoint.save(run, step, policy, tokenizer, {"step": step}, keep=2)
    return run


@pytest.mark.parametrize("text", ["[]", "{}", '{"files": []}', '{"files": {"a": 1}}', "{"])
def test_a_manifest_that_makes_no_sense(save: Save, text: str) -> None:
    folder = save(1)
    (folder / "manifest.json").write_text(text)
    assert checkpoints.verify(folder) == "manifest.json is missing or unreadable"


def test_a_manifest_that_lists_a_name_too_long(save: Save) -> None:
    folder = save(1)
    listed = {"a" * 300: {"bytes": 1, "blake2b": ""}, checkpoint.STATE: {"bytes": 1, "blake2b": ""}}
    (folder / "manifest.json").write_text(json.dumps({"files": listed}))
    assert checkpoints.verify(folder) == "a" * 100 + " cannot be read: File name too long"


def test_an_interrupted_save_is_ignored_and_cleaned_away(save: Save, tmp_path: Path) -> None:
    folder = save(1)
    leftover = tmp_path / ".checkpoint-000002.tmp"
    shutil.copytree(folder, leftover)
    assert checkpoints.latest_whole(tmp_path) == folder
    save(3)
    assert not leftover.exists()


def test_old_ones_go_and_later_ones_do_not_count(save: Save, tmp_path: Path) -> None:
    for step in (1, 2, 3, 10):
        save(step)
    save(4, keep=2)
    # Step 10 stands from before the run went back: it must not push out what is written now.
    assert names(tmp_path) == ["checkpoint-000003", "checkpoint-000004", "checkpoint-000010"]


def test_the_order_is_that_of_steps(tmp_path: Path) -> None:
    for step in (999_999, 1_000_000, 5):
        (tmp_path / f"checkpoint-{step:06}").mkdir()
    assert names(tmp_path) == ["checkpoint-000005", "checkpoint-999999", "checkpoint-1000000"]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """As if the disk had room for files of `size` bytes only."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [100, 3000, 9000, 17000])
def test_a_disk_that_is_really_full(save: Save, tmp_path: Path, size: int) -> None:
    """Each size stops the save at another file."""
    good = save(1)
    with file_size_limit(size), pytest.raises(UserError, match="checkpoint-000002: "):
        save(2, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == [good.name]
    assert checkpoints.verify(good) is None
    assert checkpoints.verify(save(2)) is None


@pytest.mark.parametrize("place", ["save_model", "save_parts", "save_state", "_sync"])
def test_a_full_disk_is_one_sentence(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    good = save(1)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, place, full)
    with pytest.raises(UserError, match=r"checkpoint-000002: the disk is full.* untouched$"):
        save(2, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == [good.name]


# --- what could not be saved is found at the start ------------------------------------------------


def odd_config(trainer_parts: tuple) -> None:
    trainer_parts[0].config.odd = {"a", "set"}


def odd_generation(trainer_parts: tuple) -> None:
    trainer_parts[0].generation_config.max_new_tokens = -1


def odd_tokenizer(trainer_parts: tuple) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError("this tokenizer cannot be saved")

    trainer_parts[1].save_pretrained = refuse


@pytest.mark.parametrize("oddity", [odd_config, odd_generation, odd_tokenizer])
def test_what_cannot_be_saved_is_refused_before_the_first_step(
    tiny_model: Path, tmp_path: Path, oddity: Callable[[tuple], None]
) -> None:
    model: Any = load_model(str(tiny_model), torch.float32)
    tokenizer = load_tokenizer(str(tiny_model))
    checkpoint.try_save(tmp_path, model, tokenizer)
    assert not list(tmp_path.iterdir())
    oddity((model, tokenizer))
    with pytest.raises(UserError, match=r"^model.path: a checkpoint of this model could not be"):
        checkpoint.try_save(tmp_path, model, tokenizer)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_refused_before_the_first_step(
    tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    model, tokenizer = load_model(str(tiny_model), torch.float32), load_tokenizer(str(tiny_model))
    with pytest.raises(UserError, match="cannot write there"):
        checkpoint.try_save(tmp_path / "file", model, tokenizer)


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 0.7, "do_sample": False},
        {"top_p": 0.5, "top_k": 3},
        {"eos_token_id": [1, 2, -1, 5000]},
    ],
)
def test_an_odd_generation_config_trains_saves_and_exports(
    recipe: Callable[..., TrainConfig], tiny_model: Path, tmp_path: Path, values: dict[str, Any]
) -> None:
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    path = base / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    config = recipe(f"model.path={base}", "train.steps=1")
    saved = Trainer(config, open_run(config, "test")).run().checkpoint
    assert main(["export", str(saved), str(tmp_path / "exported")]) == 0
    exported: Any = load_model(str(tmp_path / "exported"), torch.float32)
    exported.generation_config.validate(strict=True)
