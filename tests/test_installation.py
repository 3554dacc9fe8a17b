"""What was installed: recipes by name, and how to add an extra."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evenflow import installation
from evenflow.config import GIVEN, PretrainConfig, TrainConfig, load, parse_setting, read_yaml
from evenflow.errors import UserError
from evenflow.installation import (
    description,
    how_to_install,
    is_installed,
    recipe_file,
    recipes,
)

NAMES = sorted(recipes())


def test_a_recipe_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipe_file("countdown") == recipes()["countdown"]
    assert load(TrainConfig, "countdown", []).algorithm == "best"


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("countdown").write_text("seed: 7\n")
    assert read_yaml(Path("countdown")) == {"seed": 7}


def test_a_folder_of_that_name_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        Path(name).mkdir()
        assert recipe_file(name) == recipes()[name]


@pytest.mark.parametrize("name", ["countdwn", "recipes/countdown.yaml", "countdown.yml"])
def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no such recipe; did you mean countdown\?"):
        recipe_file(name)


@pytest.mark.parametrize("name", NAMES)
def test_each_recipe_says_what_it_is_and_what_it_needs(name: str) -> None:
    what, needs = description(recipes()[name])
    assert 20 < len(what) < 160
    assert re.match("(one|four) (core|GPU|node)", needs)
    values = read_yaml(recipes()[name])
    left_open = [
        f"{section}.{field}=…"
        for section in ("model", "data")
        for field, value in values.get(section, {}).items()
        if value == "???"
    ]
    assert all(field in needs for field in left_open)


@pytest.mark.parametrize("name", NAMES)
def test_recipes_name_no_file_that_would_have_to_be_shipped(name: str) -> None:
    if name.endswith("_base"):
        load(PretrainConfig, name, [])
        return
    config = load(TrainConfig, name, ["model.path=x", *(["data.train=given"] * has_data(name))])
    assert config.data.train in (None, GIVEN)
    assert config.data.test is None


def has_data(name: str) -> bool:
    return "train" in read_yaml(recipes()[name])["data"]


def test_an_extra_is_added_to_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "CLONE", None)
    assert how_to_install("math") == "pip install 'evenflow[math]'"
    monkeypatch.setattr(installation, "CLONE", tmp_path)
    assert how_to_install("math") == f"pip install -e '{tmp_path}[math]'"
    monkeypatch.chdir(tmp_path)
    assert how_to_install("math") == "pip install -e '.[math]'"


def test_whether_a_module_is_there_is_known_without_it() -> None:
    assert is_installed("yaml")
    assert not is_installed("no_such_module_at_all")
    assert not is_installed("no_such_module_at_all.inner")


@pytest.mark.parametrize("name", ["gsm8k", "math"])
def test_the_template_for_chat_models_is_what_the_command_line_makes_of_it(name: str) -> None:
    comment = " ".join(line.lstrip("# ") for line in recipes()[name].read_text().splitlines())
    (word,) = re.findall(r"data\.prompt_template='(\"[^']+\")'", comment)
    _, template = parse_setting(f"data.prompt_template={word}")
    filled = template.format(prompt="1+1?")
    assert filled.startswith("1+1?\n")
    assert filled.endswith({"gsm8k": "#### and the number.", "math": r"\boxed{}."}[name])
