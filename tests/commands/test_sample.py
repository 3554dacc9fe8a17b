"""`evenflow sample`: what is asked and shown, when, and what is refused."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.commands.conftest import refused, sampled
from tests.groups import make_group
from tests.training.runs import open_run

from evenflow.cli import main
from evenflow.commands.sample import in_options, in_order
from evenflow.config import TrainConfig
from evenflow.policy import loading
from evenflow.rollout.group import Group
from evenflow.training.trainer import Trainer

Make = Callable[..., TrainConfig]


OPTIONS = {
    "--top-p=2": "error: --top-p: top_p must be in (0, 1]",
    "--top-p=0": "error: --top-p: top_p must be in (0, 1]",
    "--max-tokens=0": "error: --max-tokens: max_tokens must be at least 1, got 0",
    "--max-tokens=100": "error: --max-tokens: prompt 2 has 6 tokens, which with max_tokens = 100",
    "--temperature=nan": "error: --temperature: temperature must be finite",
    "--temperature=1e-9": "error: --temperature: temperature must be 0 (greedy), or from",
    "--engine=chess": "error: --engine 'chess': is neither package.module:class nor built in",
    "--engine=my_nothing:E": "error: --engine 'my_nothing:E': there is no module 'my_nothing'",
    "--device=tpu": "error: --device: 'tpu' is none",
    "--server=http://x": "error: --server: is for engine: vllm",
}


@pytest.mark.parametrize("option", OPTIONS)
def test_what_is_refused_is_named_as_it_was_typed(
    trained: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    asked = ["--prompt", "1>1:", "--prompt", "1,2>3:", option]
    assert OPTIONS[option] in refused(capsys, "sample", str(trained), *asked)


@pytest.mark.parametrize("option", [name for name in OPTIONS if name != "--max-tokens=100"])
def test_an_option_that_cannot_be_costs_no_loading(
    trained: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    option: str,
) -> None:
    monkeypatch.setattr(loading, "load_model", lambda *_: pytest.fail("a model is loaded"))
    said = refused(capsys, "sample", str(trained), "--prompt", "1>1:", option)
    assert OPTIONS[option] in said


def test_sentences_in_the_words_of_the_command() -> None:
    said = "rollout.engine: vllm needs vLLM; install it, or take rollout.engine=embedded"
    assert in_options(said) == "--engine: vllm needs vLLM; install it, or take --engine embedded"
    assert in_options("prompt 0 is empty: drop it") == "--prompt: prompt 1 is empty: drop it"
    for text in ("--stop: '12' is 2 tokens", "cannot load x", "devices: none", "", "prompts: 2"):
        assert in_options(text) == text


def test_questions_are_shown_in_their_order_each_as_soon_as_it_may_be() -> None:
    given: list[int] = []

    def groups() -> Iterator[Group]:
        for place in (1, 0, 3, 2):
            given.append(place)
            yield make_group("q", [[1]], place=place)

    shown = [(group.place, list(given)) for group in in_order(groups())]
    assert shown == [(0, [1, 0]), (1, [1, 0]), (2, [1, 0, 3, 2]), (3, [1, 0, 3, 2])]


def test_sample(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = sampled(capsys, str(trained), "--prompt", "1,2>3:", "--prompt", "4>4:", "-n", "3")
    assert [lines[0], lines[4]] == ["1,2>3:", "4>4:"]
    assert len(lines) == 8
    again = sampled(capsys, str(trained), "--prompt", "1,2>3:", "--prompt", "4>4:", "-n", "3")
    assert lines == again
    other = sampled(capsys, str(trained), "--prompt", "1,2>3:", "-n", "3", "--seed", "1")
    assert other[1:] != lines[1:4]


def test_a_question_that_the_model_cannot_read(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", str(trained), "--prompt", "1+a=", "--prompt", "1>1:", "-n", "1"]) == 0
    said = "take care: '1+a=': 1 of its 4 tokens are <unk>, which the model's tokenizer says for "
    assert capsys.readouterr().err == f"{said}what it lacks\n"


def test_sample_greedy_and_cut_off(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--prompt", "1>1:", "--temperature", "0", "--max-tokens", "3", "-n", "2"]
    _, first, second = sampled(capsys, str(trained), *options)
    assert [first[:5], second[:5]] == ["  1  ", "  2  "]
    assert first[5:] == second[5:]
    assert first.endswith(" …")


def test_sample_from_standard_input(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("1>1:\n\n2>2:\n"))
    stops = [f"--stop={token}" for token in "0123456789+-*/=,>:"]
    lines = sampled(capsys, str(trained), "-n", "1", *stops, "--top-p", "0.9")
    assert lines[::2] == ["1>1:", "2>2:"]
    assert all(len(line[5:]) <= 1 for line in lines[1::2])  # the stop token is not shown


@pytest.mark.parametrize("text", ["1>1:\r\n2>2:\r\n", "\ufeff1>1:\n2>2:", "1>1:\n\r\n \n2>2:\n"])
def test_lines_of_other_systems_are_the_same_questions(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text, newline=""))
    assert sampled(capsys, str(trained), "-n", "1")[::2] == ["1>1:", "2>2:"]


def test_sample_asks_and_stops_as_in_training(
    recipe: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    stops = ", ".join(f"'{token}'" for token in "0123456789+-*/=,>:")
    config = recipe("train.steps=1", f"rollout.stop=[{stops}]")
    Trainer(config, open_run(config, "test")).run()
    capsys.readouterr()
    lines = sampled(capsys, str(config.output), "--prompt", "1>1:", "-n", "5")
    assert all(len(line[5:]) <= 1 for line in lines[1:])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--prompt", " "], "is empty"),
        (["--prompt", "1" * 64], "--prompt: too long for the model, which reads 64 tokens"),
        (["--prompt", "1>1:", "--max-tokens", "100"], "lower max_tokens to at most 60"),
        (["--prompt", "1>1:", "-n", "0"], "-n: must be from 1 to"),
        (["--prompt", "1>1:", "--temperature", "-1"], "temperature must be finite"),
        (["--prompt", "1>1:", "--stop", "12"], "'12' is 2 tokens"),
        (["--prompt", "1>1:", "--chat"], "chat template"),
        (["--prompt", "1>1:", "--device", "tpu"], "device: 'tpu' is none"),
        ([], "no question"),
    ],
)
def test_sample_refuses(
    trained: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert says in refused(capsys, "sample", str(trained), *arguments)
