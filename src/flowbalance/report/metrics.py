"""Where a run's numbers go: metrics.jsonl always, TensorBoard, W&B or trackio by name."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from flowbalance.errors import UserError


class Backend(Protocol):
    """A place to send metrics to."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...
    def close(self) -> None: ...


class TensorBoard:
    """Event files in the run's folder."""

    def __init__(self, folder: Path, project: str, config: Mapping[str, Any]) -> None:
        del project, config
        self.writer = _package("torch.utils.tensorboard", "tensorboard").SummaryWriter(str(folder))

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class Tracker:
    """wandb, or trackio, which has the same calls."""

    def __init__(self, package: str, folder: Path, project: str, config: Mapping[str, Any]) -> None:
        self.module = _package(package, package)
        self.module.init(project=project, name=folder.name, config=dict(config))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.module.log(dict(values), step=step)

    def close(self) -> None:
        self.module.finish()


def _package(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(
            f"log.backends: {extra} is not installed; pip install 'flowbalance[{extra}]'"
        ) from None


class MetricsLog:
    """One JSON object a step in metrics.jsonl, flushed at once; the same to every backend.

    Opened on an existing file it keeps the lines up to `start` (a resumed run writes each step
    once). Non-finite values are written as null: JSON has no NaN.
    """

    def __init__(
        self,
        folder: Path,
        backends: Iterable[str] = (),
        *,
        project: str = "flowbalance",
        config: Mapping[str, Any] | None = None,
        start: int = 0,
    ) -> None:
        self.path = folder / "metrics.jsonl"
        kept = [row for row in read_jsonl(self.path) if row["step"] <= start] if start else []
        self.file = self.path.open("w")
        for row in kept:
            self.file.write(json.dumps(row) + "\n")
        self.backends: list[Backend] = [
            TensorBoard(folder, project, config or {})
            if name == "tensorboard"
            else Tracker(name, folder, project, config or {})
            for name in backends
        ]

    def log(self, step: int, values: Mapping[str, float]) -> None:
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        row = {"step": step} | {name: finite.get(name) for name in values}
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()
        for backend in self.backends:
            backend.log(finite, step)

    def close(self) -> None:
        self.file.close()
        for backend in self.backends:
            backend.close()


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of ours; a last line that was cut short is left out."""
    rows = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows
