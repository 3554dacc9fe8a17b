"""Runs in parallel, one thread each, with results on disk as they come."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import re
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from evenflow.errors import UserError
from evenflow.run.console import Display, console
from evenflow.run.files import finite, write_atomic, writing
from evenflow.run.interrupt import end_with_parent
from evenflow.studies.exact.training import Run, train


def specification(run: Run) -> dict[str, Any]:
    """All that decides a run's result, as JSON holds it."""
    plain = {field.name: as_plain(getattr(run, field.name)) for field in dataclasses.fields(run)}
    return json.loads(json.dumps(plain))


def as_plain(value: Any) -> Any:
    """A dataclass or a model as a dictionary; anything else as it is."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # pyright: ignore[reportArgumentType]


def path_of(run: Run, folder: Path) -> Path:
    """A file for each run, with a name that can be read."""
    names = [run.study, run.problem.name, run.label, f"seed {run.seed}"]
    words = [re.sub(r"[^\w.±−√]+", "-", name).strip("-") for name in names]
    return folder / ("--".join(words) + ".json")


def result_of(run: Run, folder: Path) -> dict[str, Any] | None:
    """The result, if the run was finished with the same specification."""
    path = path_of(run, folder)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    same = isinstance(found, dict) and found.get("specification") == specification(run)
    return found["result"] if same else None


def execute(run: Run, folder: Path) -> float:
    """Run it, write its result, and give KL(π‖π*) at the end."""
    result = train(run)
    text = json.dumps({"specification": specification(run), "result": finite(result)})
    write_atomic(path_of(run, folder), text + "\n")
    return result["final"]["kl"]


def run_all(runs: list[Run], folder: Path, jobs: int) -> None:
    """What is left of the runs; Ctrl-C and SIGTERM keep what is finished."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    left = [run for run in runs if result_of(run, folder) is None]
    done = len(runs) - len(left)
    began = f"{len(runs)} runs, {done} finished before, {jobs} at a time: {folder}"
    console.print(began, markup=False)
    if not left:
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the workers when they import PyTorch
    context = multiprocessing.get_context("spawn")
    with (
        Display("exact", len(runs), done) as display,
        ProcessPoolExecutor(jobs, mp_context=context, initializer=quiet_worker) as pool,
    ):
        futures = {pool.submit(execute, run, folder): run for run in left}
        try:
            for future in as_completed(futures):
                run, kl = futures[future], future.result()
                done += 1
                shown = {run.problem.name: run.label, "KL": f"{kl:.4f}"}
                display.update(done, shown)
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            console.print(
                f"stopped with {done} of {len(runs)} runs finished; the same command goes on"
            )
            if isinstance(error, BrokenProcessPool):
                raise UserError(
                    "jobs: one of the processes was killed in the middle of its run; if memory ran "
                    f"out, take fewer at a time than {jobs}"
                ) from None
            raise


def quiet_worker() -> None:
    """One thread; Ctrl-C is the parent's matter, and what ends the parent ends this."""
    end_with_parent()
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():  # while this imported PyTorch
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
