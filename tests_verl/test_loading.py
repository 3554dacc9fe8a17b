"""How verl finds the plug-in, and what it says where it cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from verl.trainer.ppo.v1 import get_trainer_cls

import evenflow.plugins.verl as plugin
from evenflow.errors import UserError

LOOKS = """
import sys, verl
slow = ("verl.trainer.ppo.v1", "evenflow.objectives", "evenflow.plugins.verl.trainer")
assert "evenflow.plugins.verl" in sys.modules
assert not any(name in sys.modules for name in slow)
from verl.trainer.ppo.v1 import get_trainer_cls
print(get_trainer_cls("evenflow").__module__)
assert "evenflow.objectives" not in sys.modules
"""


@pytest.mark.parametrize("way", ["entry point", "module"])
def test_verl_finds_the_trainer_and_pays_for_it_when_it_is_chosen(way, tmp_path) -> None:
    environment = os.environ | {"VERL_USE_EXTERNAL_MODULES": "cpu_platform"}
    if way == "module":
        environment["VERL_USE_EXTERNAL_MODULES"] += ",evenflow.plugins.verl"
    else:
        root = Path(__file__).parents[1]
        project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
        points = project["entry-points"]["verl.plugins"]
        info = tmp_path / "installed-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: installed\nVersion: 1\n")
        lines = [f"{name} = {place}" for name, place in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[verl.plugins]", *lines, ""]))
        path = [str(tmp_path), environment["PYTHONPATH"]]
        environment["PYTHONPATH"] = os.pathsep.join(path)
    command = [sys.executable, "-W", "ignore", "-c", LOOKS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "evenflow.plugins.verl"


@pytest.mark.parametrize("release", ["0.8.0", "0.9.0", "0.10.0", "1.0.0.dev0"])
def test_another_release_is_refused_with_both_versions(release, monkeypatch) -> None:
    monkeypatch.setattr(plugin, "version", lambda name: release)
    with pytest.raises(UserError, match=rf"verl {release}: .* verl 0\.9\.1 "):
        get_trainer_cls("evenflow")({})


@pytest.mark.parametrize("release", ["0.9.1", "0.9.1.post1", "0.9.4"])
def test_the_tested_release_and_its_patches_are_taken(release, monkeypatch) -> None:
    monkeypatch.setattr(plugin, "version", lambda name: release)
    plugin.require_release()
