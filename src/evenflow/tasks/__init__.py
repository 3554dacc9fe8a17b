"""Built-in tasks: questions without a file, some with every right answer listed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from evenflow.errors import UserError
from evenflow.imports import ask, is_ours, load_object, raised, require_methods
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


def _types_of(kind: Any) -> dict[str, Any]:
    """The annotations of its options; none where they name what is imported for checkers alone."""
    try:
        return get_type_hints(kind.__init__)
    except NameError:
        return {}


def get_task(name: str, options: dict[str, Any]) -> Task:
    """The task of that name, or of one's own at its import path, with its options. UserError that
    names what is wrong."""
    kind = load_object(TASKS.get(name, name), "data.task", TASKS)
    types = _types_of(kind)
    known = inspect.signature(kind).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in known.values())
    checked = {}
    for option, value in options.items():
        if option not in known and not anything:
            listed = ", ".join(known) or "none"
            raise UserError(f"data.task_options: there is no {option!r}; there are: {listed}")
        try:
            checked[option] = TypeAdapter(types.get(option, Any)).validate_python(value)
        except ValidationError as error:
            problem = error.errors()[0]
            message = problem["msg"].removeprefix("Input should be ")
            whole = not problem["loc"] or problem["type"] == "missing"
            if whole and get_origin(types.get(option)) is tuple:
                message = f"a list of {len(get_args(types[option]))}"
            raise UserError(
                f"data.task_options: {option}: must be {message}, not {problem['input']!r:.100}"
            ) from None
    try:
        task = kind(**checked)
    except TypeError as error:
        raise UserError(f"data.task_options: {error}") from None
    except UserError:
        raise
    except Exception as error:
        if name in TASKS:
            raise
        raise raised(f"data.task: {name}, made with data.task_options,", error) from error
    require_methods(task, ("rows", "reward"), f"data.task: {name}")
    if not callable(task.reward):
        raise UserError(f"data.task: {name}.reward: is a {type(task.reward).__name__}, no function")
    return task


def rows_of(task: Task, split: str, count: int, asked_by: str = "") -> list[dict[str, Any]]:
    """So many rows of a task; UserError that names the task where they are none, and the field that
    they are asked for by, if there is one, where the task refuses so many."""
    try:
        rows = ask("data.task", task, "rows", split, count, gives=list)
    except UserError as error:
        if not is_ours(task) or not asked_by:
            raise
        raise UserError(f"{error} ({asked_by}=… sets how many)") from None
    if not rows:
        said = f"data.task: {type(task).__name__}.rows"
        raise UserError(f"{said} gave no row of the split {split!r}")
    return checked_rows(rows, f"data.task: {type(task).__name__}.rows")


def checked_rows(rows: Iterable[Any], said: str) -> list[dict[str, Any]]:
    """Rows from other people's code as dictionaries; UserError that begins as `said`."""
    found = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping) or not all(isinstance(name, str) for name in row):
            raise UserError(
                f"{said}: row {number} is {type(row).__name__} ({row!r:.80}), not a mapping from "
                "column to value"
            )
        found.append(dict(row))
    return found
