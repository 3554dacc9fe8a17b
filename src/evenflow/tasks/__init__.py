"""Built-in tasks: questions without a file, some with every right answer listed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, get_type_hints

from pydantic import TypeAdapter, ValidationError

from evenflow.errors import UserError
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
    """The task of that name with its options."""
    if name not in TASKS:
        raise UserError(f"data.task: there is no task {name!r}; there are {', '.join(TASKS)}")
    module, _, kind = TASKS[name].partition(":")
    task = getattr(importlib.import_module(module), kind)
    types = get_type_hints(task.__init__)
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
        return task(**checked)
    except TypeError as error:
        raise UserError(f"data.task_options: {error}") from None
