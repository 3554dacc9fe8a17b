"""Built-in tasks: questions without a file, some with every right answer listed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, get_type_hints

from pydantic import TypeAdapter, ValidationError

from evenflow.errors import UserError
from evenflow.imports import load_object, require_methods
from evenflow.rewards.load import register


class Task(Protocol):
    """A source of questions, and of the reward that their answers get."""

    reward: Callable[..., list[float]]
    """In TRL's signature; the columns of `rows` are among its arguments."""

    def rows(self, split: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
        """`count` different questions of the split "train" or "test", as rows of a data set."""
        ...


class ListedTask(Task, Protocol):
    """A task that can list all right answers, so that accuracy and diversity are exact."""

    def row_solutions(self, columns: dict[str, Any]) -> dict[str, list[str]]:
        """Canonical form → spellings of every right answer to a row."""
        ...


class DemonstratedTask(ListedTask, Protocol):
    """A task whose demonstrations a small base model can be made from."""

    @property
    def vocabulary(self) -> Sequence[str]:
        """The words that its prompts and answers consist of: a token each."""
        ...

    def demonstrations(self, seed: int = 0, mistakes: float = 0.0) -> Iterator[tuple[str, str]]:
        """Endless (prompt, answer) pairs; a share `mistakes` of the answers is wrong.

        None of the questions may come up in the splits "train" and "test".
        """
        ...


TASKS = {
    "countdown": "evenflow.tasks.countdown:Countdown",
    "programs": "evenflow.tasks.programs:Programs",
    "stories": "evenflow.tasks.stories:Stories",
}
LISTED = ("countdown", "programs")
"""Tasks that list all right answers; their rewards say 1 of these and 0 of all others."""
for _name, _place in TASKS.items():
    register(_name, f"{_place.partition(':')[0]}:reward", checks=_name in LISTED)


def get_task(name: str, options: dict[str, Any]) -> Task:
    """The task of that name, or of one's own at its import path, with its options. UserError that
    names what is wrong."""
    kind = load_object(TASKS.get(name, name), "data.task", TASKS)
    types = get_type_hints(kind.__init__)
    checked = {}
    for option, value in options.items():
        try:
            checked[option] = TypeAdapter(types.get(option, Any)).validate_python(value)
        except ValidationError as error:
            problem = error.errors()[0]
            raise UserError(
                f"data.task_options: {option}: {problem['msg']}, not {problem['input']!r:.100}"
            ) from None
    try:
        task = kind(**checked)
    except TypeError as error:
        raise UserError(f"data.task_options: {error}") from None
    require_methods(task, ("rows", "reward"), f"data.task: {name}")
    return task


def rows_of(task: Task, split: str, count: int) -> list[dict[str, Any]]:
    """So many rows of a task; UserError that names the task where they are none."""
    rows = task.rows(split, count)
    said = f"data.task: {type(task).__name__}.rows"
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{said} gave something else than a list of rows (column → value)")
    if not rows:
        raise UserError(f"{said} gave no row of the split {split!r}")
    return rows
