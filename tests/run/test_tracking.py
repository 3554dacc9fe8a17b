"""Where a run's numbers go: its own files, and the trackers."""

from __future__ import annotations

import errno
import importlib
import io
import json
import math
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenflow.errors import UserError
from evenflow.run.tracking import MetricsLog, read_jsonl


def test_metrics_are_written_at_once_and_nan_is_null(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.log(1, {"loss": 0.5, "reward/mean": math.nan, "grad_norm": math.inf})
    expected = {"step": 1, "loss": 0.5, "reward/mean": None, "grad_norm": None}
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == expected
    log.close()


def test_a_log_that_somebody_removes_is_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = MetricsLog(tmp_path / "run")
    log.log(1, {"loss": 0.5})
    shutil.rmtree(tmp_path / "run")
    log.log(2, {"loss": 0.4}, [{"answer": "a"}], {"accuracy": [0.5]})
    log.close()
    for name in ("metrics.jsonl", "samples.jsonl", "questions.jsonl"):
        assert [row["step"] for row in read_jsonl(tmp_path / "run" / name)] == [2]
    assert "metrics.jsonl: was removed; the rows up to step 1 are lost" in caplog.text


def test_a_resumed_log_keeps_what_came_before(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for step in range(5):
        log.log(step, {"loss": float(step)})
    log.close()
    (tmp_path / "samples.jsonl").write_text('{"step": 0}\n{"step": 2}\n{"step": 4}\n')
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    log = MetricsLog(tmp_path, start=2)
    log.log(3, {"loss": 30.0})
    log.close()
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    assert [(row["step"], row["loss"]) for row in rows] == [(0, 0), (1, 1), (2, 2), (3, 30)]
    assert [row["step"] for row in read_jsonl(tmp_path / "samples.jsonl")] == [0, 2]


def test_scores_of_each_question_go_with_their_row(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for step in (1, 2, 3):
        log.log(step, {"test/accuracy": 0.5}, (), {"accuracy": [float(step), math.nan]})
    log.log(4, {"loss": 1.0})
    log.close()
    MetricsLog(tmp_path, start=2).close()
    assert read_jsonl(tmp_path / "questions.jsonl") == [
        {"step": step, "scores": {"accuracy": [float(step), None]}} for step in (1, 2)
    ]


def test_damage_is_said_once_and_costs_no_later_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [f'{{"step": {step}, "test/accuracy": null}}\n' for step in range(4)]
    (tmp_path / "metrics.jsonl").write_text(rows[0] + '{"step": 1, "te\n' + "".join(rows[2:]))
    (tmp_path / "samples.jsonl").write_text('{"step": 0}\n{"step": 1}\n{"step": 3}\n{"step": 4}\n')
    log = MetricsLog(tmp_path, start=3, due=True)
    log.close()
    assert log.last == 3
    assert math.isnan(log.scores["accuracy"])
    assert [row["step"] for row in read_jsonl(tmp_path / "metrics.jsonl")] == [0, 2, 3]
    assert [row["step"] for row in read_jsonl(tmp_path / "samples.jsonl")] == [0, 1, 3]
    assert len(caplog.messages) == 1


def test_a_row_vouches_for_its_samples(tmp_path: Path) -> None:
    """What has no row, or lacks the scores that are due, is dropped to be written again."""
    log = MetricsLog(tmp_path)
    sample = {"prompt": "half a character: \ud83d"}
    log.log(1, {"test/accuracy": 0.5}, [sample])
    log.log(2, {"loss": 1.0}, [sample, sample])
    log.close()
    for due, last in ((False, 2), (True, 1)):
        log = MetricsLog(tmp_path, start=2, due=due)
        log.close()
        assert log.last == last
        steps = [row["step"] for row in read_jsonl(tmp_path / "samples.jsonl")]
        assert steps == [1, 2, 2][: 2 * last - 1]
    assert log.scores == {"accuracy": 0.5}


def test_a_run_from_the_start_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n{"step": 1}\n')
    MetricsLog(tmp_path).close()
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = MetricsLog(tmp_path)

    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    log.file.close()
    log.file = Full()
    with pytest.raises(UserError, match=r"metrics\.jsonl: the disk is full"):
        log.log(1, {"loss": 1.0})
    monkeypatch.setattr(Full, "close", Full.flush)
    log.close()


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = MetricsLog(tmp_path, ["tensorboard"])
    for step in (1, 2):
        log.log(step, {"loss": step / 2, "reward/mean": math.nan})
    log.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 0.5), (2, 1.0)]
    assert events.Tags()["scalars"] == ["loss"]


def test_lists_stay_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []
    log = MetricsLog(tmp_path)
    log.backends.append(types.SimpleNamespace(log=lambda v, step: sent.append(v), close=list))
    log.log(1, {"loss": 0.5, "weight/histogram": [0, 2]})
    log.close()
    (row,) = read_jsonl(tmp_path / "metrics.jsonl")
    assert row["weight/histogram"] == [0, 2]
    assert sent == [{"loss": 0.5}]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    calls: list[tuple] = []
    stand_in = types.ModuleType(name)
    stand_in.init = lambda **k: calls.append(("init", k))  # type: ignore[attr-defined]
    stand_in.log = lambda v, step: calls.append(("log", v, step))  # type: ignore[attr-defined]
    stand_in.finish = lambda: calls.append(("finish",))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, stand_in)
    log = MetricsLog(tmp_path, [name], project="p", config={"seed": 3})
    log.log(7, {"loss": 0.5, "nothing": math.nan})
    log.close()
    own = (tmp_path / "tracker_id").read_text()
    settings: dict[str, object] = {"project": "p", "config": {"seed": 3}}
    if name == "wandb":
        settings |= {"name": tmp_path.name, "id": own}
    else:
        settings["name"] = f"{tmp_path.name}-{own[:6]}"
    assert calls == [("init", settings), ("log", {"loss": 0.5}, 7), ("finish",)]


def test_trackers_get_answers_as_a_table_and_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    summary: dict[str, Any] = {}
    stand_in = types.SimpleNamespace(
        init=lambda **_: None,
        log=lambda values, step: calls.append((values, step)),
        finish=lambda: None,
        Table=lambda columns, data: (columns, data),
        run=types.SimpleNamespace(summary=summary),
    )
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    chat = [{"role": "user", "content": "1+1"}]
    row = {"prompt": chat, "answers": ["2", "3"], "rewards": [1.0, None], "finished": [True, False]}
    log = MetricsLog(tmp_path, ["wandb"])
    log.log(5, {"loss": 0.5}, [row])
    log.end({"steps": 5, "after": {"accuracy": 0.25, "diversity": math.nan}})
    log.close()
    table = (
        ["step", "prompt", "answer", "reward", "finished"],
        [[5, "user: 1+1", "2", 1.0, True], [5, "user: 1+1", "3", None, False]],
    )
    assert calls == [({"loss": 0.5}, 5), ({"answers": table}, 5)]
    assert summary == {"final/steps": 5, "final/after.accuracy": 0.25}


def test_a_run_that_goes_on_is_the_same_run_in_the_real_trackers(tmp_path: Path) -> None:
    """Three starts: the second goes on with the first; the third, from the beginning, does not."""
    pytest.importorskip("wandb")
    pytest.importorskip("trackio")
    run = tmp_path / "run"
    run.mkdir()
    code = (
        "import sys; from pathlib import Path; from evenflow.run.tracking import MetricsLog\n"
        "step = int(sys.argv[2])\n"
        "log = MetricsLog(Path(sys.argv[1]), ['wandb', 'trackio'], project='p', start=step - 1)\n"
        "row = {'prompt': 'a', 'answers': ['b'], 'rewards': [None], 'finished': [True]}\n"
        "log.log(step, {'loss': step / 2}, [row])\n"
        "log.end({'steps': step, 'after': {'accuracy': 0.5}}); log.close()\n"
    )
    places = {
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(tmp_path),
        "TRACKIO_DIR": str(tmp_path / "t"),
    }

    def started(step: int) -> str:
        subprocess.run(
            [sys.executable, "-c", code, str(run), str(step)],
            env=os.environ | places,
            check=True,
            capture_output=True,
        )
        return (run / "tracker_id").read_text()

    first, second = started(1), started(2)
    assert first == second
    kept = sorted(path.name for path in (tmp_path / "wandb").glob("offline-run-*"))
    assert len(kept) == 2
    assert all(name.endswith(first) for name in kept)
    read = (
        "from trackio.sqlite_storage import SQLiteStorage as S\n"
        f"print([(row['step'], row['loss']) for row in S.get_logs('p', 'run-{first[:6]}') "
        "if 'loss' in row])"
    )
    done = subprocess.run(
        [sys.executable, "-c", read],
        env=os.environ | places,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "[(1, 0.5), (2, 1.0)]"
    assert started(1) != first


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new run is named and tagged, one that goes on is found by its tag."""
    calls: list[tuple[Any, ...]] = []
    known: list[Any] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *given, **named: calls.append((name, *given, named))

    names = ("set_experiment", "start_run", "log_params", "log_metrics", "log_text", "log_dict")
    stand_in = types.SimpleNamespace(
        search_runs=lambda **named: note("search_runs")(**named) or known,
        **{name: note(name) for name in (*names, "end_run")},
    )
    monkeypatch.setitem(sys.modules, "mlflow", stand_in)
    log = MetricsLog(tmp_path, ["mlflow"], project="p", config={"train": {"steps": 2}})
    row = {"prompt": "a|b", "answers": ["2"], "rewards": [1.0], "finished": [True]}
    log.log(1, {"test/pass@16": 0.5}, [row])
    log.end({"steps": 1})
    log.close()
    own = (tmp_path / "tracker_id").read_text()
    answers = "| step | prompt | answer | reward | finished |\n|---|---|---|---|---|\n"
    assert calls == [
        ("set_experiment", "p", {}),
        ("start_run", {"run_name": tmp_path.name, "tags": {"evenflow.id": own}}),
        ("log_params", {"train.steps": "2"}, {}),
        ("log_metrics", {"test/pass_at_16": 0.5}, {"step": 1, "synchronous": False}),
        ("log_text", answers + "| 1 | a\\|b | 2 | 1.0 | True |", "answers/000001.md", {}),
        ("log_dict", {"steps": 1}, "summary.json", {}),
        ("end_run", {}),
    ]
    calls.clear()
    known.append(types.SimpleNamespace(info=types.SimpleNamespace(run_id="r7")))
    MetricsLog(tmp_path, ["mlflow"], project="p", start=1).close()
    query = {"filter_string": f"tags.`evenflow.id` = '{own}'", "output_format": "list"}
    assert calls[1:] == [("search_runs", query), ("start_run", {"run_id": "r7"}), ("end_run", {})]


def test_a_run_that_goes_on_is_the_same_run_in_the_real_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    run = tmp_path / "run"
    run.mkdir()
    row = {"prompt": "a", "answers": ["b"], "rewards": [None], "finished": [True]}
    for step in (1, 2):
        config = {"long": "x" * 7000, "none": None}
        log = MetricsLog(run, ["mlflow"], project="p", config=config, start=step - 1)
        log.log(step, {"test/pass@16": step / 2}, [row])
        log.end({"steps": step})
        log.close()
    mlflow.flush_async_logging()
    (found,) = mlflow.search_runs(experiment_names=["p"], output_format="list")
    client = mlflow.MlflowClient()
    history = client.get_metric_history(found.info.run_id, "test/pass_at_16")
    assert sorted((point.step, point.value) for point in history) == [(1, 0.5), (2, 1.0)]
    assert {entry.path for entry in client.list_artifacts(found.info.run_id)} == {
        "answers",
        "summary.json",
    }


def test_a_tracker_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = types.ModuleType("wandb")

    def init(**_: object) -> None:
        raise RuntimeError("api_key not configured")

    stand_in.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    with pytest.raises(UserError, match=r"log\.backends: wandb does not start: api_key"):
        MetricsLog(tmp_path, ["wandb"])


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio", "mlflow"])
def test_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def missing(module: str) -> None:
        raise ImportError(module)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match=rf"{name} is not installed; pip install .*\[{name}\]'"):
        MetricsLog(tmp_path, [name])


@pytest.mark.parametrize("method", ["log", "show", "end", "close"])
def test_a_tracker_that_fails_on_the_way_costs_its_own_numbers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """A network that is down must not end a run; the other trackers get everything."""
    calls: list[str] = []

    def fails(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nto host")

    def tracker(name: str, **methods: Callable[..., None]) -> Any:
        notes = {n: lambda *_, n=n, **__: calls.append(n) for n in ("log", "show", "end", "close")}
        return types.SimpleNamespace(name=name, **notes | methods)

    log = MetricsLog(tmp_path)
    log.backends += [tracker("mlflow", **{method: fails}), tracker("wandb")]
    row = {"prompt": "a", "answers": ["b"], "rewards": [1.0], "finished": [True]}
    for step in (1, 2):
        log.log(step, {"loss": 0.5}, [row])
    log.end({"steps": 2})
    log.close()
    every = ["log", "show", "log", "show", "end", "close"]
    assert sorted(calls) == sorted([*every, *(name for name in every if name != method)])
    assert [record.message for record in caplog.records] == [
        "log.backends: mlflow does not take the run's numbers: no route to host; all of them are "
        f"in {tmp_path / 'metrics.jsonl'}"
    ]
    assert [row["step"] for row in read_jsonl(tmp_path / "metrics.jsonl")] == [1, 2]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [("a", "a", True), ("a", "b", False), (None, "b", True), ("a", None, True)],
)
def test_scores_of_another_measure_do_not_compare(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    first: str | None,
    second: str | None,
    same: bool,
) -> None:
    """Without a mark, of earlier versions or where nothing is held out any more, they may be of the
    same."""
    log = MetricsLog(tmp_path, measure=first)
    for step in (0, 1):
        log.log(step, {"test/accuracy": 0.5}, (), {"accuracy": [0.5]})
    log.close()
    log = MetricsLog(tmp_path, start=1, measure=second)
    log.close()
    assert log.comparable is same
    assert log.scores == ({"accuracy": 0.5} if same else {})
    assert bool(caplog.records) is not same
