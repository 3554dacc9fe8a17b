"""Where numbers come from."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path

import pytest
import torch

from evenflow.run import provenance as module
from evenflow.run.provenance import commit, provenance, starts

CPU = torch.device("cpu")


def test_a_start_is_written_at_once_and_completed_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/bin/evenflow", "train", "countdown", "seed=1"])
    with provenance(tmp_path, CPU, {"held-out questions": "sha256 1"}):
        (entry,) = starts(tmp_path)
        assert "ended" not in entry
    (entry,) = starts(tmp_path)
    assert entry["command"] == "evenflow train countdown seed=1"
    assert entry["inputs"] == {"held-out questions": "sha256 1"}
    assert entry["versions"]["python"] == platform.python_version()
    assert entry["versions"]["torch"] == torch.__version__
    assert "CPU" in entry["device"]
    assert entry["started"] <= entry["ended"]
    assert entry["seconds"] >= 0
    assert entry["memory"]["main"] > 10_000_000


def test_what_fails_is_completed_too_and_what_goes_on_adds_a_start(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), provenance(tmp_path, CPU):
        raise RuntimeError
    with provenance(tmp_path, CPU, goes_on=True):
        assert ["ended" in entry for entry in starts(tmp_path)] == [True, False]
    with provenance(tmp_path, CPU):
        assert len(starts(tmp_path)) == 1


def test_damage_is_no_start(tmp_path: Path) -> None:
    for text in ("", "[]", '{"starts": 3}', '{"starts": [1, {"command"'):
        (tmp_path / module.PROVENANCE).write_text(text)
        assert starts(tmp_path) == []
    (tmp_path / module.PROVENANCE).write_text(json.dumps({"starts": [1, {"command": "x"}]}))
    assert starts(tmp_path) == [{"command": "x"}]


def test_the_commit_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit() is None
    (tmp_path / "file").write_text("a")
    author = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "-q"), ("add", "file"), (*author, "commit", "-qm", "a")):
        subprocess.run(["git", *words], check=True)
    clean = commit()
    assert clean is not None
    assert len(clean) == 12
    (tmp_path / "file").write_text("b")
    assert commit() == f"{clean} with changes"
    monkeypatch.setenv("PATH", "")
    assert commit() is None
