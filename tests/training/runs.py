"""Runs of a few steps, and what two of them must have in common to be one and the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from evenflow.config import TrainConfig
from evenflow.rollout.group import Group
from evenflow.run import checkpoints
from evenflow.run.folder import begin, run_folder
from evenflow.run.tracking import read_jsonl
from evenflow.training import checkpoint, stepper
from evenflow.training.scoring import to_rows
from evenflow.training.trainer import Trainer

PARTS = ("rollout.segment=2", "rollout.max_completion_length=8")
"""Answers in parts."""
CLOCKS = ("seconds", "tokens_per_second", "cpu_seconds")


def open_run(config: TrainConfig, name: str) -> Path:
    """A run's folder, with the resolved configuration in it."""
    folder = run_folder(config.output, name)
    begin(config, folder)
    return folder


def train(config: TrainConfig) -> Path:
    """Train to the end; the last checkpoint."""
    return Trainer(config, open_run(config, "test")).run().checkpoint


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of the run that a checkpoint belongs to."""
    return read_jsonl(folder.parent / "metrics.jsonl")


def untimed(row: dict[str, Any]) -> dict[str, Any]:
    """A row, or a summary, without what a clock says."""
    return {name: value for name, value in row.items() if not name.startswith(CLOCKS)}


def assert_same_run(run: Path, other: Path) -> None:
    """Weights and states bit for bit, every row and sample once and alike, the same summary."""
    ours, theirs = checkpoints.latest_whole(run), checkpoints.latest_whole(other)
    assert ours.name == theirs.name
    names = {path.name for path in theirs.glob("*.safetensors")}
    assert {path.name for path in ours.glob("*.safetensors")} == names
    for name in names:
        assert_equal(load_file(ours / name), load_file(theirs / name))
    states = checkpoint.load_state(ours), checkpoint.load_state(theirs)
    for state in states:
        state["spent"].pop("cpu_seconds")
        state.pop("row")
    assert_equal(*states)
    for name in ("metrics.jsonl", "samples.jsonl"):
        rows = [[untimed(row) for row in read_jsonl(folder / name)] for folder in (run, other)]
        assert rows[0] == rows[1], name
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (run, other)]
    assert untimed(summaries[0]) == untimed(summaries[1])


def assert_equal(a: object, b: object) -> None:
    """Nested states, tensors bit for bit."""
    if isinstance(a, torch.Tensor):
        assert isinstance(b, torch.Tensor)
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert isinstance(b, dict)
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert isinstance(b, list | tuple)
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    else:
        assert a == b


@contextmanager
def groups_learned() -> Iterator[list[list[Group]]]:
    """The groups of every step, as they are made rows of."""
    seen: list[list[Group]] = []

    def noting(groups: list[Group], *arguments: Any) -> Any:
        seen.append(list(groups))
        return to_rows(groups, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stepper, "to_rows", noting)
        yield seen
