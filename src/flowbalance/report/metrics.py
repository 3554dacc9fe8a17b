"""Where a run's numbers go: metrics.jsonl always, TensorBoard, W&B or trackio by name."""

from __future__ import annotations

import importlib
import json
import math
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from flowbalance.errors import UserError
from flowbalance.report.files import finite, keep_steps, read_jsonl, step_of, write_atomic, writing

__all__ = ["MetricsLog", "read_jsonl"]


class Backend(Protocol):
    """A place to send metrics to."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...
    def close(self) -> None: ...


class TensorBoard:
    """Event files in the run's folder."""

    def __init__(self, folder: Path, start: int) -> None:
        package = _package("torch.utils.tensorboard", "tensorboard")
        self.writer = package.SummaryWriter(str(folder), purge_step=start + 1 if start else None)

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class Tracker:
    """wandb, or trackio, which has the same calls. A run that goes on is the same run there."""

    def __init__(
        self, package: str, project: str, name: str, own: str, config: Mapping[str, Any], start: int
    ) -> None:
        """`own` tells the run from others of its name."""
        self.module = _package(package, package)
        arguments = {"project": project, "config": dict(config)}
        if package == "wandb":
            arguments |= {"name": name, "id": own}
        else:  # trackio knows a run by its name alone
            arguments["name"] = f"{name}-{own[:6]}"
        if start:
            arguments["resume"] = "allow"
        try:
            self.module.init(**arguments)
        except Exception as error:  # no account, no network: each package has its own kinds
            raise UserError(f"log.backends: {package} does not start: {error}") from error

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.module.log(dict(values), step=step)

    def close(self) -> None:
        self.module.finish()


def _own_id(file: Path, *, new: bool) -> str:
    """What tells the run from all others, kept in its folder."""
    if new or not file.is_file():
        write_atomic(file, secrets.token_hex(8))
    return file.read_text()


def _package(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(
            f"log.backends: {extra} is not installed; pip install 'flowbalance[{extra}]'"
        ) from None


class MetricsLog:
    """One JSON object a step in metrics.jsonl, flushed at once; the same to every backend.

    A run that goes on after step `start` keeps the lines up to it, here and in samples.jsonl, and
    drops later ones, so that each step stands there once. Non-finite values are written as null.
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
        for name in ("metrics.jsonl", "samples.jsonl"):
            keep_steps(folder / name, start)
        self.last = max((step_of(row) for row in read_jsonl(self.path)), default=0)
        """The latest step that has its row."""
        backends = list(backends)
        own = ""
        if set(backends) - {"tensorboard"}:
            own = _own_id(folder / "tracker_id", new=not start)
        self.backends: list[Backend] = [
            TensorBoard(folder, start)
            if name == "tensorboard"
            else Tracker(name, project, folder.name, own, config or {}, start)
            for name in backends
        ]
        with writing(self.path):
            self.file = self.path.open("a", encoding="utf-8")

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Write the row. Lists stand in metrics.jsonl alone: backends are sent numbers."""
        with writing(self.path):
            self.file.write(json.dumps({"step": step} | finite(dict(values))) + "\n")
            self.file.flush()
        known = {
            name: value
            for name, value in values.items()
            if not isinstance(value, list) and math.isfinite(value)
        }
        for backend in self.backends:
            backend.log(known, step)

    def close(self) -> None:
        with suppress(OSError):  # what a full disk refused was reported when it was written
            self.file.close()
        for backend in self.backends:
            backend.close()
