"""`evenflow exact`: results on disk, going on, the page."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from evenflow.cli import main
from evenflow.studies.exact import pages, runner
from evenflow.studies.exact.experiments import all_runs
from evenflow.studies.exact.runner import execute, path_of, result_of, specification
from evenflow.studies.exact.training import Settings


class InLine:
    """A pool that runs everything at once in this process."""

    stop_after = 1_000_000

    def __init__(self, *_: object, **__: object) -> None:
        self.submitted = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, function: Callable[..., object], *arguments: object) -> Future:
        future: Future = Future()
        self.submitted += 1
        if self.submitted > self.stop_after:
            future.set_exception(KeyboardInterrupt())
        else:
            future.set_result(function(*arguments))
        return future

    def shutdown(self, **_: object) -> None:
        pass


QUICK = Settings(rollouts=1, groups=1, group_size=2, mini_batches=1, measurements=1)
ONE = ["rollouts=1", "jobs=1", "only=multimodal, prior, tba"]
FAMILY = ["rollouts=1", "only=multimodal, prior, flowrl"]


def test_default_and_full_runs() -> None:
    default, full = (all_runs([0], full=which) for which in (False, True))
    assert len(default) == len({path_of(run, Path()) for run in default})
    assert len(full) == len({path_of(run, Path()) for run in full})
    assert {run.problem.name for run in default} <= {run.problem.name for run in full}
    both = all_runs([0, 1], full=False)
    assert len(both) == 2 * len(default)
    assert json.dumps([specification(run) for run in full])


def test_a_result_counts_only_for_its_own_specification(tmp_path: Path) -> None:
    run = all_runs([0], full=False, settings=QUICK)[0]
    assert result_of(run, tmp_path) is None
    kl = execute(run, tmp_path)
    found = result_of(run, tmp_path)
    assert found is not None
    assert found["final"]["kl"] == kl
    assert result_of(replace(run, settings=replace(QUICK, group_size=3)), tmp_path) is None
    path_of(run, tmp_path).write_text("{")
    assert result_of(run, tmp_path) is None


def test_command_writes_a_page_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["exact", f"output={tmp_path}", *ONE]) == 0
    said = capsys.readouterr().out
    assert "1 runs, 0 finished before" in said
    page = (tmp_path / "exact.md").read_text()
    assert "1,296 answers" in page
    assert "| `tba` | " in page
    assert (tmp_path / "exact_kl.svg").exists()
    (result,) = (tmp_path / "results").glob("*.json")
    before = result.read_bytes()

    def never(*_: object) -> None:
        raise AssertionError("nothing is left to run")

    monkeypatch.setattr(runner, "ProcessPoolExecutor", never)
    assert main(["exact", f"output={tmp_path}", *ONE]) == 0
    assert "1 runs, 1 finished before" in capsys.readouterr().out
    assert result.read_bytes() == before


def test_an_interrupted_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "ProcessPoolExecutor", InLine)
    monkeypatch.setattr(runner, "as_completed", list)  # in the order of submission
    monkeypatch.setattr(InLine, "stop_after", 1)
    assert main(["exact", f"output={tmp_path}", *FAMILY]) == 130
    assert "stopped with 1 of 4 runs finished" in capsys.readouterr().out
    assert not (tmp_path / "exact.md").exists()
    monkeypatch.setattr(InLine, "stop_after", 3)
    assert main(["exact", f"output={tmp_path}", *FAMILY]) == 0
    assert "4 runs, 1 finished before" in capsys.readouterr().out
    assert (tmp_path / "exact.md").read_text().count("| `flowrl") == 4


def test_a_page_of_ones_own_keeps_its_words(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Words.\n<!-- runs -->\nold\n<!-- end -->\nMore words.\n")
    run = all_runs([0], full=False, settings=QUICK)[0]
    execute(run, tmp_path)
    found = result_of(run, tmp_path)
    assert found is not None
    pages.write_page(page, [(run, found)])
    text = page.read_text()
    assert text.startswith("Words.\n<!-- runs -->\n1 runs, seeds 0; 1 optimiser steps each.")
    assert text.endswith("<!-- end -->\nMore words.\n")
    assert "old" not in text


def test_means_and_deviations_over_seeds() -> None:
    rows = [{"kl": 0.1, "reward": 1.0}, {"kl": 0.3, "reward": 0.5}]
    assert pages.spread(rows, "kl") == "0.2000 ± 0.1000"
    assert pages.spread(rows[:1], "reward", digits=2) == "1.00"
    assert pages.spread(rows, "log_z_error") == ""


def test_the_page_says_what_its_deviations_are(tmp_path: Path) -> None:
    runs = all_runs([0, 1], full=False, settings=QUICK)
    first = next(run for run in runs if run.seed == 0)
    second = next(run for run in runs if run.seed == 1)
    for run in (first, second):
        execute(run, tmp_path)
    found = [(run, result) for run in (first, second) if (result := result_of(run, tmp_path))]
    said = "means over them ± their standard deviation"
    assert said in pages.run_facts(found)
    assert said not in pages.run_facts(found[:1])


# --- how it ends --------------------------------------------------------------------------------


def test_a_worker_that_was_killed_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(InLine):
        def submit(self, function: Callable[..., object], *arguments: object) -> Future:
            future: Future = Future()
            future.set_exception(BrokenProcessPool("terminated abruptly"))
            return future

    monkeypatch.setattr(runner, "ProcessPoolExecutor", Broken)
    assert main(["exact", f"output={tmp_path}", *ONE]) == 2
    said = capsys.readouterr()
    assert "stopped with 0 of 1 runs finished; the same command goes on" in said.out
    assert "jobs: one of the processes was killed in the middle of its run" in said.err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_workers_end_with_the_command(tmp_path: Path, number: int, status: int) -> None:
    command = [sys.executable, "-m", "evenflow", "exact", f"output={tmp_path}", "jobs=1"]
    command += ["only=multimodal, prior, tba", "rollouts=1000000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        workers: list[int] = []
        wait_for(lambda: workers.extend(spawned_by(process.pid)) or workers)
        process.send_signal(number)
        said, _ = process.communicate(timeout=30)
        assert process.returncode == status
        wait_for(lambda: not any(map(is_running, workers)))
    finally:
        process.kill()
    if number == signal.SIGTERM:
        assert "stopped with 0 of 1 runs finished; the same command goes on" in said
        assert "Traceback" not in said


def spawned_by(parent: int) -> list[int]:
    """The workers of a command that have come to work: they ignore Ctrl-C then."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [pid for pid in map(int, children) if ignores_interrupts(pid)]


def ignores_interrupts(pid: int) -> bool:
    text = Path(f"/proc/{pid}/status").read_text()
    mask = next(line for line in text.splitlines() if line.startswith("SigIgn:"))
    return "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text() and bool(
        int(mask.split()[1], 16) & 1 << (signal.SIGINT - 1)
    )


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["jobs=0"], "jobs: must be greater than 0"),
        (["rollouts=-1"], "rollouts: must be greater than 0"),
        (["seeds=-1"], "seeds: must be greater than or equal to 0"),
        (["seeds=0,0"], "seeds: [0, 0]: name different whole numbers"),
        (["seeds="], "seeds: must be a valid list, not empty (null)"),
        (["full=maybe"], "full: must be a valid boolean, not 'maybe'"),
        (["sedes=1"], "sedes: there is no such field; did you mean seeds?"),
        (["tba"], "tba: there is no such recipe"),
        (["page=/dev/null"], "/dev/null: is not a regular file"),
        (["page=-"], "-: is not a regular file"),
        (["only=nonsense"], "no run has 'nonsense'"),
        (["--full"], "--full: is written full=… now"),
        (["--seeds", "0", "1"], "--seeds: is written seeds=… now"),
        (["only=tba", "--out=x"], "--out: is written output=… now"),
    ],
)
def test_command_refuses(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["exact", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_settings_may_stand_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line comes after it."""
    asked = []
    monkeypatch.setattr(runner, "run_all", lambda *given: asked.append(given))
    monkeypatch.setattr(pages, "write_page", lambda *_: None)
    path = tmp_path / "exact.yaml"
    path.write_text(f"only: tba\nseeds: [0, 1]\nrollouts: 3\njobs: 2\noutput: {tmp_path}\n")
    assert main(["exact", str(path), "seeds=4"]) == 0
    ((runs, folder, jobs),) = asked
    assert {(run.seed, run.settings.rollouts) for run in runs} == {(4, 3)}
    assert (folder, jobs) == (tmp_path / "results", 2)
    path.write_text("ony: tba\n")
    assert main(["exact", str(path)]) == 2
    assert "ony: there is no such field; did you mean only?" in capsys.readouterr().err
