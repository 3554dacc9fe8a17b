"""constraints/resolve.py: whether anything was released since the files were written."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "constraints" / "resolve.py"


def test_newer_is_what_the_file_does_not_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("resolve", FILE)
    assert spec is not None
    assert spec.loader is not None
    resolve = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(resolve)
    (tmp_path / "cpu.txt").write_text("# Made …\na==1\nb==2\nleft-out==3\n")
    monkeypatch.setattr(resolve, "HERE", tmp_path)
    monkeypatch.setattr(resolve, "resolve", lambda _: ["a==1", "b==2"])
    resolve.main(["--newer", "cpu"])
    assert capsys.readouterr().out.strip() == ""
    monkeypatch.setattr(resolve, "resolve", lambda _: ["a==1", "b==2.1", "c==1"])
    resolve.main(["--newer", "cpu"])
    assert capsys.readouterr().out.split() == ["b==2.1", "c==1"]
