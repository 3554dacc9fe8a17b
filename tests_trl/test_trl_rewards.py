"""The rewards in TRL's own trainer: one step of GRPO with the functions as they are."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from evenflow.rewards.code import code
from evenflow.rewards.math import math
from evenflow.tasks.countdown import Countdown
from evenflow.tasks.countdown import reward as countdown

BUILT_IN = Path(str(files("evenflow"))) / "assets" / "countdown"
# A chain such as 3*7=21,21+9=30 is no program: the sandbox runs, and says that it is wrong.
TESTS = json.dumps({"inputs": [""], "outputs": [""]})
CHAT = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.mark.parametrize("chat", [False, True])
def test_a_step_of_grpo_with_the_rewards_as_they_are(tmp_path: Path, chat: bool) -> None:
    """The gold of the first question is empty: unknown, which TRL averages over as it does None.
    What TRL reports is what the functions say of the same answers."""
    rows = Countdown().rows("test", 4)
    for place, row in enumerate(rows):
        row |= {"answer": str(row["target"]) if place else "", "tests": TESTS}
        if chat:
            row["prompt"] = [{"role": "user", "content": row["prompt"]}]
    seen: dict[str, list] = {}

    def spy(completions: list, **columns: list) -> list[float]:
        seen.update(columns, completions=completions)
        return [0.0] * len(completions)

    tokenizer = AutoTokenizer.from_pretrained(BUILT_IN)
    tokenizer.chat_template = CHAT
    trainer = GRPOTrainer(
        AutoModelForCausalLM.from_pretrained(BUILT_IN, dtype=torch.float32),
        reward_funcs=[math, code, countdown, spy],
        args=GRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=16,
            num_generations=4,
            max_completion_length=24,
            max_steps=1,
            logging_steps=1,
            report_to=[],
            use_cpu=True,
            bf16=False,
            seed=0,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    logged = trainer.state.log_history[0]
    for name, function in (("math", math), ("code", code), ("reward", countdown)):
        values = torch.tensor(function(**seen))
        known = values[~values.isnan()]
        assert len(known) == (12 if function is math else 16)
        assert logged[f"rewards/{name}/mean"] == pytest.approx(known.mean().item())
        assert 0 < known.mean() < 1 or function is code
    assert isinstance(seen["completions"][0], list) == chat
