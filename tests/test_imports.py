"""What is found by an import path, and what is said where nothing is."""

from __future__ import annotations

from pathlib import Path

import pytest

from evenflow.errors import UserError
from evenflow.imports import load_object


def test_a_module_of_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with an objective or engine of its own goes on where its module is found: said is
    where that was looked for, and what to do."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        load_object("of_another_folder:Mine", "algorithm")
    assert str(tmp_path) in str(error.value)
    assert str(error.value).endswith(
        "go to the folder that has it, or name that folder in PYTHONPATH"
    )
