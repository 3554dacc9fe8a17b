"""benchmarks/gpu.py runs from end to end, at sizes of a few numbers, and a part may fail."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import Qwen2ForCausalLM

FOLDER = Path(__file__).parents[2] / "benchmarks"
OURS = {("sampling", "ours"), ("natural lengths", "ours"), ("update", "ours"), ("step", "whole")}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("gpu")


def batched(self: Any, inputs: list[list[int]], generation_config: Any) -> dict[str, Any]:
    """Transformers' own allocates a cache for a machine's whole memory."""
    answer = SimpleNamespace(generated_tokens=[5] * generation_config.max_new_tokens)
    return {str(i): answer for i, _ in enumerate(inputs)}


def test_every_part_has_its_lines(
    gpu: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Qwen2ForCausalLM, "generate_batch", batched, raising=False)
    assert gpu.main(["--tiny", "--device=cpu", f"--json={tmp_path / 'gpu.json'}"]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert not found["failed"]
    rows = {(row["part"], row["name"]): row for row in found["rows"]}
    assert rows.keys() >= OURS
    assert all(row["value"] > 0 for key, row in rows.items() if "share" not in key[1])
    assert rows["sampling", "ours"]["ratios"].keys() == {
        "generate",
        "static cache",
        "generate_batch",
        "floor",
    }
    assert rows["update", "ours"]["ratios"].keys() == {"plain loop, whole logits", "GEMM"}
    assert rows["sampling", "against the trainer"]["value"] < 1e-5
    assert all(row["gib"] is None for row in rows.values())
    said = capsys.readouterr().out
    assert "Qwen2 of 2 layers × 32, vocabulary 320, random weights" in said
    assert f"torch {torch.__version__}" in said


def test_what_runs_out_of_memory_says_so_and_the_rest_goes_on(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand more")

    monkeypatch.setattr(Qwen2ForCausalLM, "forward", full)
    assert gpu.main(["--tiny", "--device=cpu", "--only=update"]) == 1
    said = capsys.readouterr().out
    assert "update, plain loop, whole logits failed: OutOfMemoryError: CUDA out of memory." in said
    assert "and more" not in said


def test_natural_lengths_are_geometric(gpu: ModuleType) -> None:
    """So many tokens end an answer that each does with the chance of one in the mean."""
    case = gpu.Case()
    assert len(case.ends(600)) == round(case.vocabulary / 600)
    assert case.prompts(3) == case.prompts(4)[:3]
    assert sum(len(group) for group in case.learned()) == 64
