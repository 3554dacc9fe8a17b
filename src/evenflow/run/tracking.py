"""Where a run's numbers go: metrics.jsonl always, TensorBoard, W&B, trackio or MLflow by name."""

from __future__ import annotations

import importlib
import json
import logging
import math
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from evenflow.errors import UserError, brief
from evenflow.installation import how_to_install
from evenflow.run.files import finite, flat, keep_rows, read_jsonl, writable, write_atomic, writing

__all__ = ["MetricsLog", "read_jsonl"]


LOG = logging.getLogger(__name__)
QUESTIONS = "questions.jsonl"
"""The held-out scores of each question, a line an evaluation."""
OTHER = "of other questions, or at another temperature or top_p, and is not compared"
"""What is said of held-out scores of another measure."""
COLUMNS = ("step", "prompt", "answer", "reward", "finished")
"""Of the table of answers that trackers get."""
VERL_LOGS = "verl-*.jsonl"
"""The files of verl's own logger in the folder of a run by verl."""


class Backend(Protocol):
    """A place to send metrics to."""

    name: str
    """As `log.backends` names it."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...
    def show(self, rows: Sequence[Mapping[str, Any]], step: int) -> None: ...
    def end(self, summary: Mapping[str, Any]) -> None: ...
    def close(self) -> None: ...


class TensorBoard:
    """Event files in the run's folder; what earlier ones hold from step `first` on is void."""

    name = "tensorboard"

    def __init__(self, folder: Path, first: int) -> None:
        package = _package("torch.utils.tensorboard", "tensorboard")
        self.writer = package.SummaryWriter(str(folder), purge_step=first or None)

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def show(self, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        self.writer.add_text("answers", _markdown(rows, step), step)

    def end(self, summary: Mapping[str, Any]) -> None:
        self.writer.add_text("summary", f"```json\n{json.dumps(summary, indent=1)}\n```")

    def close(self) -> None:
        self.writer.close()


class Tracker:
    """wandb, or trackio, which has the same calls. A run that goes on is the same run there."""

    def __init__(
        self, package: str, project: str, name: str, own: str, config: Mapping[str, Any], start: int
    ) -> None:
        """`own` tells the run from others of its name."""
        self.name, self.module = package, _package(package, package)
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

    def show(self, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Answers as a table, under the step's numbers."""
        table = self.module.Table(columns=list(COLUMNS), data=table_of(rows, step))
        self.module.log({"answers": table}, step=step)

    def end(self, summary: Mapping[str, Any]) -> None:
        """The summary, where the package has a place for it; else as numbers of the last step."""
        known = {name: value for name, value in flat(dict(summary)).items() if value is not None}
        place: Any = getattr(getattr(self.module, "run", None), "summary", None)
        if hasattr(place, "update"):
            place.update({f"final/{name}": value for name, value in known.items()})
            return
        numbers = {f"final/{n}": v for n, v in known.items() if isinstance(v, int | float)}
        self.module.log(numbers, step=summary["steps"])

    def close(self) -> None:
        self.module.finish()


class MLflow:
    """A run of MLflow's, on the server of MLFLOW_TRACKING_URI or in MLflow's own local store.

    A run that goes on is found by its tag. MLflow allows no @ in a number's name, which is written
    `_at_`. Numbers are sent beside the training; answers and summary are waited for.
    """

    name = "mlflow"
    TAG = "evenflow.id"

    def __init__(
        self, project: str, name: str, own: str, config: Mapping[str, Any], start: int
    ) -> None:
        self.module = _package("mlflow", "mlflow")
        try:
            self.module.set_experiment(project)
            query = f"tags.`{self.TAG}` = '{own}'"
            found = start and self.module.search_runs(filter_string=query, output_format="list")
            if found:
                self.module.start_run(run_id=found[0].info.run_id)
                return
            self.module.start_run(run_name=name, tags={self.TAG: own})
            # 6000 characters are the longest that MLflow takes.
            settings = {key: str(value)[:6000] for key, value in flat(dict(config)).items()}
            self.module.log_params(settings)
        except Exception as error:  # no server, an old store: MLflow's and the network's kinds
            raise UserError(f"log.backends: mlflow does not start: {error}") from error

    def log(self, values: Mapping[str, float], step: int) -> None:
        named = {key.replace("@", "_at_"): value for key, value in values.items()}
        self.module.log_metrics(named, step=step, synchronous=False)

    def show(self, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        self.module.log_text(_markdown(rows, step), f"answers/{step:06d}.md")

    def end(self, summary: Mapping[str, Any]) -> None:
        self.module.log_dict(dict(summary), "summary.json")

    def close(self) -> None:
        self.module.end_run()


def table_of(rows: Sequence[Mapping[str, Any]], step: int) -> list[list[Any]]:
    """Lines of samples.jsonl as one line an answer."""
    return [
        [step, _text(row["prompt"]), answer, reward, ended]
        for row in rows
        for answer, reward, ended in zip(
            row["answers"], row["rewards"], row["finished"], strict=True
        )
    ]


def _markdown(rows: Sequence[Mapping[str, Any]], step: int) -> str:
    """Answers as a table of Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for row in table_of(rows, step):
        cells = (str(cell).replace("|", "\\|").replace("\n", "<br>") for cell in row)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _text(prompt: str | list[dict[str, Any]]) -> str:
    """A prompt as text, chat messages one after the other."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{message['role']}: {message['content']}" for message in prompt)


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
            f"log.backends: {extra} is not installed; {how_to_install(extra)}"
        ) from None


class MetricsLog:
    """One JSON object a step in metrics.jsonl, flushed at once; the same to every backend.

    Answers to held-out questions go to samples.jsonl and the scores of each question to
    questions.jsonl, before their step's row: where the row stands, they do. A run that goes on
    after step `start` keeps the rows up to it with theirs, and drops later ones, so that each step
    stands there once; its own row only with held-out scores where these are `due` then. Non-finite
    values are written as null. A backend that fails on the way costs its own numbers alone.

    `measure` marks what held-out scores are scores of; those with another mark do not compare.
    """

    def __init__(
        self,
        folder: Path,
        backends: Iterable[str] = (),
        *,
        project: str = "evenflow",
        config: Mapping[str, Any] | None = None,
        start: int = 0,
        due: bool = False,
        measure: str | None = None,
    ) -> None:
        def stays(row: Mapping[str, Any]) -> bool:
            whole = not due or bool(held_out_scores(row))
            return start > 0 and (row["step"] < start or (row["step"] == start and whole))

        self.path, self.samples = folder / "metrics.jsonl", folder / "samples.jsonl"
        self.questions, self.measure = folder / QUESTIONS, measure
        rows = {row["step"]: row for row in keep_rows(self.path, stays)}
        self.last = max(rows, default=-1)
        """The latest step that has its row."""
        keep_rows(self.samples, lambda row: row["step"] <= self.last)
        evaluations = keep_rows(self.questions, lambda row: row["step"] <= self.last)
        others = measured_otherwise(evaluations, measure)
        self.scores = {} if self.last in others else held_out_scores(rows.get(self.last, {}))
        """The held-out scores in that row."""
        self.comparable = 0 not in others
        """Whether those before the first step are of the same measure."""
        if not self.comparable:
            LOG.warning("%s: what was scored before the first step is %s", self.questions, OTHER)
        backends = list(backends)
        own = ""
        if set(backends) - {"tensorboard"}:
            own = _own_id(folder / "tracker_id", new=not start)
        run = (project, folder.name, own, config or {}, start)
        self.backends: list[Backend] = [
            TensorBoard(folder, self.last + 1)
            if name == "tensorboard"
            else MLflow(*run)
            if name == "mlflow"
            else Tracker(name, *run)
            for name in backends
        ]
        self.failed: set[str] = set()
        self._open()

    def _open(self) -> None:
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = self.path.open("a", encoding="utf-8")

    def log(
        self,
        step: int,
        values: Mapping[str, Any],
        samples: Sequence[dict[str, Any]] = (),
        by_question: Mapping[str, list[float]] | None = None,
    ) -> None:
        """Write the row, and before it `samples` and held-out scores `by_question`. Lists stand in
        our files alone: backends are sent numbers, and the samples as a table."""
        if not self.path.exists():
            self.file.close()
            self._open()
            LOG.warning("%s: was removed; the rows up to step %d are lost", self.path, step - 1)
        _append(self.samples, step, samples)
        if by_question:
            mark = {} if self.measure is None else {"measure": self.measure}
            _append(self.questions, step, [{"scores": finite(dict(by_question)), **mark}])
        with writing(self.path):
            self.file.write(json.dumps({"step": step} | finite(dict(values))) + "\n")
            self.file.flush()
        known = {
            name: value
            for name, value in values.items()
            if not isinstance(value, list) and math.isfinite(value)
        }
        self._send(lambda backend: backend.log(known, step))
        if samples:
            self._send(lambda backend: backend.show(samples, step))

    def end(self, summary: Mapping[str, Any]) -> None:
        """Send what the run came to."""
        self._send(lambda backend: backend.end(finite(dict(summary))))

    def close(self) -> None:
        with suppress(OSError):  # what a full disk refused was reported when it was written
            os.fsync(self.file.fileno())
        with suppress(OSError):
            self.file.close()
        self._send(lambda backend: backend.close())

    def _send(self, call: Callable[[Backend], object]) -> None:
        """Let every backend have it. What one of them cannot take is said once and tried again with
        the next step: a network that is down for an hour must not end a run of days."""
        for backend in self.backends:
            try:
                call(backend)
            except Exception as error:  # each package has its own kinds
                if backend.name not in self.failed:
                    refused = f"{backend.name} does not take the run's numbers: {brief(error)}"
                    LOG.warning("log.backends: %s; all of them are in %s", refused, self.path)
                self.failed.add(backend.name)


def _append(path: Path, step: int, rows: Sequence[dict[str, Any]]) -> None:
    """Add the rows of a step to a file, on the disk when this returns."""
    if not rows:
        return
    lines = [json.dumps({"step": step} | row, ensure_ascii=False) for row in rows]
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(writable("\n".join(lines) + "\n"))
        file.flush()
        os.fsync(file.fileno())


def measured_otherwise(evaluations: Iterable[Mapping[str, Any]], measure: str | None) -> set[int]:
    """The steps of those lines of questions.jsonl whose scores are marked as of another measure;
    what has no mark is of earlier versions, and taken to be the same."""
    return {
        int(row["step"])
        for row in evaluations
        if measure is not None and row.get("measure", measure) != measure
    }


def held_out_scores(row: Mapping[str, Any]) -> dict[str, float]:
    """The held-out scores in a row of metrics.jsonl, by name; what was null is NaN again."""
    scores = {name[5:]: value for name, value in row.items() if name.startswith("test/")}
    return {name: math.nan if value is None else value for name, value in scores.items()}


def verl_logs(folder: Path) -> list[Path]:
    """What verl has logged of a run, in the order of its starts; none of a run of ours."""
    return sorted(folder.glob(VERL_LOGS), key=lambda path: (len(path.name), path.name))


def next_verl_log(folder: Path) -> Path:
    """The file of the next start: verl would empty one that is there."""
    return folder / VERL_LOGS.replace("*", str(len(verl_logs(folder)) + 1))
