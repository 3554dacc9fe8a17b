"""What a file may hold and what of it is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenflow.inputs import is_shallow
from evenflow.report.page import make_page
from evenflow.report.reading import read_run
from evenflow.report.rows import DEEPEST, is_number, is_prompt, is_step, parsed, power
from evenflow.run.files import flat

Make = Callable[..., Path]
HUGE = "1" + "0" * 400  # a whole number that no float can hold
SAMPLE = {"step": 4, "prompt": "x", "answers": ["y"], "rewards": [1.0]}
ANSWER = {"id": "1", "prompt": "x", "response": "y", "verdict": "right"}


def test_numbers() -> None:
    assert all(map(is_number, (0, -1, 2.5, 1e300)))
    others = [True, "1", None, float("nan"), float("inf"), int(HUGE), -int(HUGE)]
    assert not any(map(is_number, others))
    assert all(map(is_step, (0, 7, 7.0)))
    assert not any(map(is_step, (-1, 0.5, "7", True, float("nan"), int(HUGE))))
    assert [power(name) for name in ("4", "pass@16", 8, "²", "x", "9" * 5000)] == [
        *(4, 16, 8, None, None, None)
    ]


def test_prompts() -> None:
    assert all(map(is_prompt, ("x", "", [{"role": "user", "content": "x"}])))
    assert not any(map(is_prompt, (None, 7, {}, [], ["x"])))


def test_what_is_nested_too_deep_is_damaged() -> None:
    def nested(levels: int) -> str:
        return "[" * levels + "]" * levels

    assert parsed(nested(DEEPEST + 1), ".jsonl") is not None
    assert parsed(nested(DEEPEST + 2), ".jsonl") is None
    assert parsed(nested(100_000), ".jsonl") is None
    assert parsed(nested(2000), ".yaml") is None
    assert parsed("a: &a [*a]", ".yaml") is None  # within itself
    assert is_shallow({"a": [{"b": 1}]}, 20)


@pytest.mark.parametrize(
    ("name", "line", "note"),
    [
        ("metrics.jsonl", '{"step": "x"}', "without a usable step"),
        ("metrics.jsonl", f'{{"step": {HUGE}}}', "without a usable step"),
        ("metrics.jsonl", '{"step": NaN}', "without a usable step"),
        ("metrics.jsonl", '{"a":' * 100_000, "cut short or damaged"),
        ("samples.jsonl", SAMPLE | {"answers": []}, "without a usable step or prompt or answers"),
        ("samples.jsonl", SAMPLE | {"answers": [1]}, "without a usable step or prompt or answers"),
        ("samples.jsonl", SAMPLE | {"rewards": ["good"]}, "without a usable step or prompt"),
        ("samples.jsonl", SAMPLE | {"rewards": [int(HUGE)]}, "without a usable step or prompt"),
        ("samples.jsonl", SAMPLE | {"step": "x"}, "without a usable step or prompt"),
        ("samples.jsonl", SAMPLE | {"prompt": ["x"]}, "without a usable step or prompt"),
        ("samples.jsonl", "[" * 100_000, "cut short or damaged"),
        ("answers.jsonl", ANSWER | {"response": None}, "without a usable prompt or response"),
        ("answers.jsonl", ANSWER | {"verdict": "good"}, "without a usable prompt or response"),
        ("answers.jsonl", ANSWER | {"verdict": ["right"]}, "without a usable prompt or response"),
    ],
)
def test_a_line_that_is_none_of_ours_costs_itself(
    training_run: Make, evaluation: Make, name: str, line: Any, note: str
) -> None:
    folder = evaluation() if name == "answers.jsonl" else training_run()
    whole = read_run(folder)
    with (folder / name).open("a") as file:
        file.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
    run = read_run(folder)
    assert (run.rows, run.samples, run.answers) == (whole.rows, whole.samples, whole.answers)
    assert [found for found in run.notes if found.startswith(f"{name}: 1 line is left out, {note}")]
    assert "1 line is left out" in make_page([folder])


def test_values_that_are_none_cost_themselves(training_run: Make, evaluation: Make) -> None:
    run, of = training_run(), evaluation()
    with (run / "metrics.jsonl").open("a") as file:
        odd = f'"loss": {HUGE}, "answers": "many", "seconds/rollout": [1], "resets": {HUGE}'
        file.write(f'{{"step": 5, {odd}, "weight/histogram": {["a"] * 129}}}\n'.replace("'", '"'))
    (run / "summary.json").write_text(f'{{"before": {{"accuracy": {HUGE}}}, "seed": {{}}}}')
    (run / "config.yaml").write_text(f"algorithm: [x]\nreward: {{right: {HUGE}}}\n")
    scores = {"²": {"value": 1}, "4": {"value": 1, "low": "x", "high": HUGE}, "2": {"value": 0}}
    result = {"pass@k": scores, "avg@k": [1], "seconds": int(HUGE), "benchmark": {}}
    (of / "result.json").write_text(json.dumps(result | {"maj@k": {"²": {"value": 1}}}))
    page = make_page([run, of])
    assert "left out" not in page
    assert '"k":[2,4]' in page


def test_settings_by_dotted_name() -> None:
    found = flat({"a": {"b": 1, "c": {}}, "d": None, "e": {}})
    assert found == {"a.b": 1, "a.c": {}, "d": None, "e": {}}
