"""The recipes for math and code, trained for two steps on a local file of a few questions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from evenflow.config import TrainConfig, load
from evenflow.rewards import load_reward
from evenflow.rollout.group import count_answers
from evenflow.run.tracking import read_jsonl
from evenflow.training.trainer import Trainer
from tests.training.runs import open_run

RECIPES = Path(__file__).parents[2] / "recipes"
MATH = [
    {"prompt": "1,2,3>6:", "answer": "6"},
    {"prompt": "2,2,5>9:", "answer": ""},  # no gold: unknown
    {"prompt": "1,4,4>20:", "answer": r"\frac{40}{2}"},
    {"prompt": "3,3,1>10:", "answer": "10"},
]
CODE: list[dict[str, Any]] = [
    {"prompt": "1,2,3>6:", "tests": {"inputs": [""], "outputs": [""]}},
    {  # its own solution fails: unknown
        "prompt": "2,2,5>9:",
        "tests": {"entry_point": "f", "inputs": [[1]], "solution": "def g(): pass"},
    },
    {"prompt": "1,4,4>20:", "tests": {"entry_point": "f", "inputs": [[3]], "outputs": [9]}},
    {"prompt": "3,3,1>10:", "tests": {"inputs": ["1\n"], "outputs": ["1\n"]}},
]


@pytest.mark.parametrize(("name", "rows"), [("math", MATH), ("code", CODE)])
def test_recipe_learns_from_what_is_known(name: str, rows: list[dict], tmp_path: Path) -> None:
    """One question of four is unknown: counted, left out, and not scored 0."""
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = load(
        TrainConfig,
        RECIPES / f"{name}.yaml",
        [
            f"data.train={questions}",
            "data.prompt_template=null",
            "model.path=builtin:countdown",
            "rollout.questions=4",
            "rollout.num_generations=4",
            "rollout.max_completion_length=24",
            "train.mini_batch_questions=4",
            "train.steps=2",
            "evaluation.every=0",
            f"output={tmp_path / 'run'}",
        ],
    )
    trainer = Trainer(config, open_run(config, "test"))
    collect = trainer.stepper.collector.collect
    batches = []

    def collecting(*arguments: Any) -> Any:
        batches.append(collect(*arguments))
        return batches[-1]

    object.__setattr__(trainer.stepper.collector, "collect", collecting)
    trainer.run()
    metrics = read_jsonl(trainer.folder / "metrics.jsonl")
    assert [row["reward/unknown"] for row in metrics] == [0.25, 0.25]
    for batch in batches:
        assert count_answers(batch.groups) == 12
        asked = [group.prompt for group in batch.groups for _ in group.answers]
        assert {prompt.text for prompt in asked} == {row["prompt"] for row in rows} - {"2,2,5>9:"}
        columns = {
            column: [prompt.columns[column] for prompt in asked]
            for column in rows[0].keys() - {"prompt"}
        }
        texts = [text for group in batch.groups for text in group.texts]
        again = load_reward(name)(completions=texts, **columns)
        assert [total for group in batch.groups for total in group.total] == again
        assert not any(map(math.isnan, again))
