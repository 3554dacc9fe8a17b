"""`evenflow export --push`, with a stand-in for the Hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from transformers import AutoModelForCausalLM

from evenflow.cli import main
from evenflow.config import TrainConfig
from evenflow.training.trainer import Trainer

Make = Callable[..., TrainConfig]


class Hub:
    """Keeps what it is sent."""

    sent: list[Any] = []  # noqa: RUF012 (emptied for each test)
    refuses = False

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> str:
        if self.refuses:
            raise RuntimeError("403 Forbidden")
        self.sent.append(("made", name, private, exist_ok))
        return f"https://huggingface.co/{name}"

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        self.sent.append(("sent", repo_id, sorted(path.name for path in folder_path.iterdir())))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    monkeypatch.setattr(Hub, "sent", [])
    monkeypatch.setattr(Hub, "refuses", False)
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "token")
    return Hub


def test_an_export_is_pushed_with_its_card(
    recipe: Make, tmp_path: Path, hub: type[Hub], capsys: pytest.CaptureFixture[str]
) -> None:
    result = Trainer(recipe("train.steps=1")).run()
    folder = tmp_path / "exported"
    assert main(["export", str(result.folder), str(folder), "--push", "me/mine"]) == 0
    assert "pushed: https://huggingface.co/me/mine" in capsys.readouterr().out
    made, (what, name, files) = hub.sent
    assert made == ("made", "me/mine", True, True)
    assert (what, name) == ("sent", "me/mine")
    assert {"README.md", "config.json", "model.safetensors"} <= set(files)
    assert not {"trainer_state.pt", "parts", "manifest.json"} & set(files)
    assert (folder / "README.md").read_bytes() == (result.checkpoint / "README.md").read_bytes()
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.float32  # as the base


@pytest.mark.parametrize(
    ("name", "token", "says"),
    [
        ("me/mine", None, "nobody is logged in"),
        ("mine", "token", "must be ORG/NAME, not mine"),
    ],
)
def test_what_a_push_needs_is_asked_for_before_anything_is_loaded(
    name: str,
    token: str | None,
    says: str,
    hub: type[Hub],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: token)
    assert main(["export", "no/such/model", str(tmp_path / "exported"), "--push", name]) == 2
    assert says in capsys.readouterr().err
    assert hub.sent == []


def test_what_the_hub_refuses_is_said_and_the_export_stays(
    tiny_model: Path,
    tmp_path: Path,
    hub: type[Hub],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(hub, "refuses", True)
    folder = tmp_path / "exported"
    assert main(["export", str(tiny_model), str(folder), "--push", "me/mine"]) == 2
    assert f"--push me/mine: 403 Forbidden; the model lies in {folder}" in capsys.readouterr().err
    assert (folder / "config.json").is_file()
