"""A small recipe as a file, and processes that are calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from evenflow.cli import main
from evenflow.studies.compare import measure, pool
from evenflow.studies.compare.pool import Job, Pool, Step


@pytest.fixture
def small(tiny_model: Path, tmp_path: Path) -> str:
    """A recipe of eight answers: two steps of two questions × two answers."""
    path = tmp_path / "small.yaml"
    path.write_text(f"""
        algorithm: tba
        objective: {{inverse_temperature: 3}}
        model: {{path: {tiny_model}}}
        data: {{task: countdown, train_questions: 16}}
        reward: {{functions: {{"tests.training.rewards:digits": 1}}}}
        rollout: {{questions: 2, num_generations: 2, max_completion_length: 8}}
        train: {{steps: 2, learning_rate: 1e-3, warmup_steps: 0}}
        evaluation: {{every: 2, questions: 4, num_generations: 4}}
        checkpoint: {{every: 1}}
    """)
    return str(path)


class Finished:
    """A process that has come to its end."""

    def __init__(self, returncode: int) -> None:
        self.returncode = returncode

    def poll(self) -> int:
        return self.returncode

    def wait(self) -> int:
        return self.returncode

    def terminate(self) -> None:
        """There is nothing left to end."""


Starts = list[tuple[str, str]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Starts]:
    """Let the pool's steps run in this process, and list (job, state) of those started.

    `stop_after`: Ctrl-C comes instead of the step after so many; `fail`: jobs that end badly.
    """

    def install(stop_after: int | None = None, fail: tuple[str, ...] = ()) -> Starts:
        started: Starts = []

        def start(self: Pool, job: Job, step: Step) -> Finished:
            if len(started) == stop_after:
                raise KeyboardInterrupt
            started.append((job.name, step.state))
            if job.name in fail:
                (job.folder / pool.LOG).write_text("error: it is out of order\nbye\n")
                return Finished(2)
            if step.state == "training":
                return Finished(main(step.command[3:]))
            folder, specification = step.command[3:]
            measure.main(Path(folder), json.loads(specification))
            return Finished(0)

        monkeypatch.setattr(Pool, "_start", start)
        monkeypatch.setattr(pool, "POLL", 0.0)
        return started

    return install
