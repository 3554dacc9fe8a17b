"""The command line, whatever the command: help, version, and words that it does not know."""

from __future__ import annotations

import os
import signal
import sys

import pytest
import torch

from evenflow.cli import main
from tests.commands.conftest import refused

COMMANDS = [
    "train",
    "plan",
    "pretrain",
    "eval",
    "sample",
    "export",
    "compare",
    "exact",
    "grade",
    "diversity",
    "report",
    "verl",
    "sandbox",
    "config",
    "recipes",
]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_helps(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([*command, "--help"])
    assert done.value.code == 0
    said = capsys.readouterr().out
    for word in command or [*COMMANDS, "examples:"]:
        assert word in said


def test_without_a_command_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([])
    assert done.value.code == 0
    assert "post-train a model by a recipe" in capsys.readouterr().out


def test_the_version_with_what_it_stands_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["--version"])
    assert done.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("evenflow 0.")
    assert f"torch {torch.__version__}" in said


def test_the_help_of_train_says_where_recipes_and_settings_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = capsys.readouterr().out
    for words in ("`evenflow recipes`", "`evenflow config`", "evenflow train countdown seed=1"):
        assert words in said


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["train", "--model.path", "X"], "model.path=X"),
        (["train", "countdown", "--model.path", "X"], "model.path=X"),
        (["train", "countdown", "--model.path", "X", "seed=1"], "model.path=X"),
        (["train", "countdown", "seed=1", "--seed=3"], "seed=3"),
        (["eval", "--benchmark", "aime24"], "benchmark=aime24"),
    ],
)
def test_a_setting_written_as_an_option_is_answered_with_its_form(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, *words)
    assert said.endswith(f"a setting is written key=value: {meant}\n")


def test_a_wrong_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["trane"])
    assert done.value.code == 2
    assert "invalid choice: 'trane'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["sample", "nowhere", "--prompt", "1"], ["export", "nowhere", "x"]]
)
def test_an_argument_is_not_called_by_a_settings_name(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    assert capsys.readouterr().err.startswith("error: there is no folder nowhere")


def test_config_lists_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 0
    said = capsys.readouterr().out
    assert 'model.dtype: auto | float32 | bfloat16 = "auto"\n    Type of the forward' in said
    assert "objective.reference_weight: number = 1.0" in said
    assert 'objective.kl_estimator: k1 | k2 | k3 = "k3"' in said
    assert "# objective of grpo" in said
    assert main(["config", "pretrain"]) == 0
    assert "architecture.hidden_size: integer = 128" in capsys.readouterr().out


def test_config_searches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "train", "rollout.top"]) == 0
    names = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()[::2]]
    assert names == ["rollout.top_p", "rollout.top_k"]
    assert "'xyz' in its name" in refused(capsys, "config", "train", "xyz")


def test_a_reader_that_has_seen_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """evenflow config | head -1"""
    reader, writer = os.pipe()
    os.close(reader)
    with monkeypatch.context() as patch, os.fdopen(writer, "w") as pipe:
        patch.setattr(sys, "stdout", pipe)
        assert main(["config"]) == 128 + signal.SIGPIPE


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "countdown_base"], "is a recipe of `evenflow pretrain`"),
        (["pretrain", "countdown"], "is a recipe of `evenflow train`"),
    ],
)
def test_a_recipe_of_another_command(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert says in refused(capsys, *arguments)
