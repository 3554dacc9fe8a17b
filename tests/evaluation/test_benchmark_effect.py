"""Options that change nothing are named."""

from __future__ import annotations

import pytest

from evenflow.config import BenchmarkConfig, load
from evenflow.evaluation.benchmarks.effect import without_effect

TEXT = [{"prompt": "1+1?"}]
MESSAGES = [{"prompt": [{"role": "user", "content": "1+1?"}]}]


@pytest.mark.parametrize(
    ("overrides", "rows", "names"),
    [
        (["benchmark=aime24"], TEXT, []),
        (["benchmark=aime24", "split=test"], TEXT, []),
        (["benchmark=aime24", "split=test", "data=a.jsonl"], TEXT, ["split"]),
        (["benchmark=a.jsonl.gz", "split=test"], TEXT, ["split"]),
        (["benchmark=countdown", "split=train", "task_options={numbers: 3}"], TEXT, []),
        (["benchmark=aime24", "task_options={numbers: 3}"], TEXT, ["task_options"]),
        (
            ["benchmark=aime24", "right=0.5", "grading_timeout=9"],
            TEXT,
            ["right", "grading_timeout"],
        ),
        (["benchmark=aime24", "right=1.0", "grading_timeout=60"], TEXT, []),
        (["benchmark=humaneval+", "right=0.5"], TEXT, ["right"]),
        (["benchmark=countdown", "right=0.5"], TEXT, []),
        (["benchmark=aime24", "right=0.5", "grader=my:reward"], TEXT, []),
        (["benchmark=humaneval+", "gold_column=x"], TEXT, ["gold_column"]),
        (["benchmark=aime24", "gold_column=x"], TEXT, []),
        (["benchmark=a.jsonl", "prompt_template={prompt}="], MESSAGES, ["prompt_template"]),
        (["benchmark=a.jsonl", "prompt_template={prompt}="], [*TEXT, *MESSAGES], []),
        (["benchmark=a.jsonl", "prompt_template={prompt}="], [], []),
        (
            ["benchmark=a.jsonl", "chat=false", "chat_template_kwargs={a: 1}"],
            TEXT,
            ["chat_template_kwargs"],
        ),
        (["benchmark=a.jsonl", "chat=false", "chat_template_kwargs={a: 1}"], MESSAGES, []),
        (["benchmark=a.jsonl", "temperature=0", "top_p=0.5"], TEXT, ["top_p"]),
    ],
)
def test_what_is_named(overrides: list[str], rows: list[dict], names: list[str]) -> None:
    config = load(BenchmarkConfig, None, ["model.path=m", *overrides])
    assert [text.partition(":")[0] for text in without_effect(config, rows)] == names
