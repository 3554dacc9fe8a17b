"""The built wheel in an empty folder: no part of the repository is at hand."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from evenflow.installation import is_installed

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel of this tree, and all else from that of the tests."""
    if not is_installed("hatchling"):
        pytest.skip("hatchling, which builds the wheel, is not installed")
    place = tmp_path_factory.mktemp("wheel")
    build = f"from hatchling.build import build_wheel; print(build_wheel({str(place)!r}))"
    name = subprocess.run(
        [sys.executable, "-c", build], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()[-1]
    folder = place / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    offline = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", "--python", python, "install", *offline]
    subprocess.run([*pip, place / name], check=True)
    # Behind its own: what is installed there is found first.
    own = next((folder / "lib").glob("python*")) / "site-packages"
    (own / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "evenflow"


def run(command: Path, *words: str, folder: Path) -> str:
    done = subprocess.run([command, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_recipes_come_with_the_wheel(installed: Path, tmp_path: Path) -> None:
    assert "\ncountdown  " in run(installed, "recipes", folder=tmp_path)
    run(installed, "recipes", "copy", "countdown", "mine.yaml", folder=tmp_path)
    assert (tmp_path / "mine.yaml").read_text() == (ROOT / "recipes/countdown.yaml").read_text()


def test_a_run_by_a_recipes_name(installed: Path, tmp_path: Path) -> None:
    small = ["train.steps=1", "rollout.questions=2", "rollout.num_generations=2"]
    said = run(installed, "train", "countdown", "evaluation.every=0", *small, folder=tmp_path)
    assert "report" in said
    assert any(path.name.startswith("countdown-") for path in (tmp_path / "runs").iterdir())


def test_an_extra_is_named_as_pip_knows_it(installed: Path, tmp_path: Path) -> None:
    code = "from evenflow.installation import how_to_install; print(how_to_install('math'))"
    said = run(installed.with_name("python"), "-c", code, folder=tmp_path)
    assert said == "pip install 'evenflow[math]'\n"
