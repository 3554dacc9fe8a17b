"""Reward functions by import path, and the short names that some of them have."""

from __future__ import annotations

from collections.abc import Callable

from evenflow.imports import load_object, split
from evenflow.rewards.surroundings import importing

BUILT_IN: dict[str, str] = {}
"""Short name → import path."""
CHECKS: set[str] = set()
"""Names and paths of built-in functions that check whether an answer is right: 1 if it is, else 0.
"""


def register(name: str, path: str, *, checks: bool) -> None:
    """Give the built-in function at `path` a short name."""
    BUILT_IN[name] = path
    if checks:
        CHECKS.update((name, path))


for _name in ("math:gsm8k", "math:math", "code:code"):
    register(_name.partition(":")[2], f"evenflow.rewards.{_name}", checks=True)


def load_reward(path: str) -> Callable:
    """The function at ``package.module:function``, or a built-in one by its short name.

    Modules of the current folder are found first, as with ``python -m``. Raises UserError that
    names what is wrong: the form, the module, whatever ends its import, or the function.
    """
    return load_object(
        BUILT_IN.get(path, path), "the reward", BUILT_IN, kind="function", importing=importing
    )


def place_of(path: str) -> tuple[str, str]:
    """(module, function) of a reward's path or short name; UserError where it is neither."""
    return split(BUILT_IN.get(path, path), "the reward", BUILT_IN, "function")
