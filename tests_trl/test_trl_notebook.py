"""The notebook that trains in TRL runs, and learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "examples" / "flowrl_in_trl.ipynb"


def test_the_notebook_in_trl_learns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code")
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    rewards = [row["reward"] for row in names["steps"]]
    assert len(rewards) == 8
    assert sum(rewards[-3:]) > sum(rewards[:3])
