"""A short pretraining run learns, and writes a model that Transformers loads."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evenflow.config import PretrainConfig, load
from evenflow.errors import UserError
from evenflow.policy.policy import Policy
from evenflow.policy.tokens import Tokens
from evenflow.run.tracking import MetricsLog, read_jsonl
from evenflow.tasks.countdown import Countdown
from evenflow.training.pretrain import answer_loss, pretrain, word_tokenizer


def test_a_token_a_character() -> None:
    tokenizer = word_tokenizer(Countdown.vocabulary, 64)
    text = "9,6,3,9>33:9-6=3,9*3=27,27+6/1=33"
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode("a") == [tokenizer.unk_token_id]


def test_longer_words_are_tokens_where_they_stand() -> None:
    tokenizer = word_tokenizer(["1,2>0", "1,2>01", "1", "2", ",", "(", "max(", "+"], 64)
    assert tokenizer.tokenize("1,2>01,1,2>02") == ["1,2>01", ",", "1,2>0", "2"]
    assert tokenizer.tokenize("max(1,2+1") == ["max(", "1", ",", "2", "+", "1"]
    assert tokenizer.decode(tokenizer.encode("max(1,2+1")) == "max(1,2+1"
    assert tokenizer.tokenize("m(a") == ["<unk>", "(", "<unk>"]


@pytest.mark.parametrize(
    ("task", "options", "answer"),
    [
        ("countdown", "{numbers: 3, largest: 5, targets: [5, 20]}", "9-6=3,9*3=27"),
        ("programs", "{leaves: 2, inputs: 3, solutions: [1, 16]}", "max(x,y)"),
    ],
)
def test_a_short_run_learns(tmp_path: Path, task: str, options: str, answer: str) -> None:
    config = load(
        PretrainConfig,
        None,
        [
            f"task={task}",
            f"output={tmp_path / 'run'}",
            "steps=60",
            "batch=32",
            "warmup_steps=5",
            "learning_rate=5e-3",
            "evaluate_every=60",
            "evaluation_questions=5",
            "architecture={hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2}",
            f"task_options={options}",
        ],
    )
    folder = pretrain(config, "test")
    rows = read_jsonl(folder / "metrics.jsonl")
    losses = [row["loss"] for row in rows]
    assert losses[0] > 2.5
    assert sum(losses[-5:]) / 5 < 1.7
    assert 0 < rows[-1]["test/accuracy"] < 1
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    assert next(model.parameters()).dtype == torch.float16
    assert model.config.eos_token_id == tokenizer.eos_token_id == 1
    assert tokenizer.decode(tokenizer.encode(answer)) == answer


def test_a_signal_ends_it_with_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loss_and_signal(policy: Policy, tokens: Tokens) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGTERM)
        return answer_loss(policy, tokens)

    monkeypatch.setattr("evenflow.training.pretrain.answer_loss", loss_and_signal)
    sizes = "{hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1}"
    config = load(
        PretrainConfig,
        None,
        [f"output={tmp_path / 'run'}", "steps=50", "batch=2", f"architecture={sizes}"],
    )
    with pytest.raises(SystemExit) as ended:
        pretrain(config, "test")
    assert ended.value.code == 128 + signal.SIGTERM
    assert len(read_jsonl(tmp_path / "run" / "metrics.jsonl")) == 1
    AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    sizes = "{hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1}"
    texts = [f"output={tmp_path / 'run'}", "steps=50", "batch=2", f"architecture={sizes}"]
    texts += ["learning_rate=100", "warmup_steps=0"]
    with pytest.raises(UserError, match=r"step \d+: the gradient is not finite.*learning_rate"):
        pretrain(load(PretrainConfig, None, texts), "test")
    assert not (tmp_path / "run" / "model").exists()


def test_a_run_that_fails_closes_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []
    monkeypatch.setattr(MetricsLog, "close", lambda log: closed.append(log.last))
    sizes = "{hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1}"
    texts = [f"output={tmp_path / 'run'}", "steps=50", "batch=2", f"architecture={sizes}"]
    config = load(PretrainConfig, None, [*texts, "learning_rate=100", "warmup_steps=0"])
    with pytest.raises(UserError, match="not finite"):
        pretrain(config, "test")
    assert closed == [-1]


def test_a_reader_that_is_gone_leaves_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends `| tee` as well."""

    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("evenflow.training.pretrain.Display.update", gone)
    sizes = "{hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1}"
    texts = [f"output={tmp_path / 'run'}", "steps=50", "batch=2", f"architecture={sizes}"]
    with pytest.raises(BrokenPipeError):
        pretrain(load(PretrainConfig, None, texts), "test")
    assert len(read_jsonl(tmp_path / "run" / "metrics.jsonl")) == 1
    AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")


def test_a_signal_in_the_last_step_finds_it_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss_and_signal(policy: Policy, tokens: Tokens) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGTERM)
        return answer_loss(policy, tokens)

    monkeypatch.setattr("evenflow.training.pretrain.answer_loss", loss_and_signal)
    sizes = "{hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1}"
    texts = [f"output={tmp_path / 'run'}", "steps=1", "batch=2", f"architecture={sizes}"]
    folder = pretrain(load(PretrainConfig, None, [*texts, "evaluation_questions=2"]), "test")
    assert (folder / "model" / "config.json").is_file()
