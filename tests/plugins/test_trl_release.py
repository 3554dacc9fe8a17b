"""What is said where TRL is not installed, or another release than those tested."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys

import pytest

from evenflow.errors import UserError

PLUGIN = "evenflow.plugins.trl"


def load(monkeypatch: pytest.MonkeyPatch, release: str | None) -> None:
    """Import the plug-in anew, with that release of TRL; None: without it."""

    def version(name: str) -> str:
        if release is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return release

    monkeypatch.setattr(importlib.metadata, "version", version)
    for name in [name for name in sys.modules if name.startswith(PLUGIN)]:
        monkeypatch.delitem(sys.modules, name)
    importlib.import_module(PLUGIN)


def test_without_trl_the_plugin_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="not installed: pip install 'trl>="):
        load(monkeypatch, None)


@pytest.mark.parametrize("release", ["1.11.3", "1.17.0", "2.0.0.dev0", "0.29"])
def test_a_release_that_was_not_tested_is_refused_with_both_versions(
    monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    with pytest.raises(UserError, match=rf"TRL 1\.12 to 1\.16, and {release} is installed"):
        load(monkeypatch, release)
