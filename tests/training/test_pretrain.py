"""A short pretraining run learns, and writes a model that Transformers loads."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from flowbalance.config import PretrainConfig, load
from flowbalance.report.metrics import read_jsonl
from flowbalance.tasks.countdown import Countdown
from flowbalance.training.pretrain import character_tokenizer, pretrain


def test_tokenizer_round_trip() -> None:
    tokenizer = character_tokenizer(Countdown.ALPHABET, 64)
    text = "9,6,3,9>33:9-6=3,9*3=27,27+6/1=33"
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode("a") == [tokenizer.unk_token_id]


def test_a_short_run_learns(tmp_path: Path) -> None:
    config = load(
        PretrainConfig,
        None,
        [
            f"output={tmp_path / 'run'}",
            "steps=60",
            "batch=32",
            "warmup_steps=5",
            "learning_rate=5e-3",
            "evaluate_every=60",
            "evaluation_questions=5",
            "architecture={hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2}",
            "task_options={numbers: 3, largest: 5, targets: [5, 20]}",
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
    assert tokenizer.decode(tokenizer.encode("9-6=3,9*3=27")) == "9-6=3,9*3=27"
