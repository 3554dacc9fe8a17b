"""Two steps of a real instruct model on real questions, on a CPU: the whole path, and nothing about
accuracy. Skipped without the model, which is too large to ship."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from evenflow.cli import main
from evenflow.run.files import read_jsonl

MODEL = os.environ.get("EVENFLOW_SMALL_MODEL", "")


@pytest.mark.skipif(
    not MODEL,
    reason="set EVENFLOW_SMALL_MODEL to a folder with an instruct model (SmolLM2-135M-Instruct)",
)
@pytest.mark.parametrize("recipe", ["gsm8k_qwen_coder_0.5b", "math_qwen_coder_0.5b"])
def test_two_steps_of_a_real_model(recipe: str, shared: Path, tmp_path: Path) -> None:
    data = {"gsm8k": ("gsm8k_train", "gsm8k_test"), "math": ("math_train", "math500")}
    train, test = (shared / "data" / f"{name}.jsonl" for name in data[recipe.split("_")[0]])
    words = [
        *(recipe, f"model.path={MODEL}", f"data.train={train}", f"data.test={test}"),
        *("device=cpu", "threads=1", "train.steps=2", "train.mini_batch_questions=null"),
        *("rollout.questions=2", "rollout.num_generations=2", "rollout.max_completion_length=24"),
        *("evaluation.questions=1", "evaluation.num_generations=1", "evaluation.every=2"),
        *("checkpoint.weights_only=true", f"output={tmp_path / 'run'}"),
    ]
    assert main(["train", *words]) == 0
    rows = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))
    steps = [row for row in rows if "grad_norm/policy" in row]
    assert [row["step"] for row in steps] == [1, 2]
    assert all(math.isfinite(row["grad_norm/policy"]) for row in steps)
