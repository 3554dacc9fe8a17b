from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Saved base models by name."""
    names = ("llama", "llama-tied", "gpt2")
    root = tmp_path_factory.mktemp("models")
    return {name: tiny_models.save(name, root / name) for name in names}
