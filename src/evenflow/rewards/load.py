"""Reward functions by import path, and the short names that some of them have."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable

from evenflow.errors import UserError
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
    module_name, name = place_of(path)
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    signals: list[int] = []
    try:
        with importing() as signals:
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise UserError(
                f"the reward {path!r}: there is no module {error.name!r}, neither installed nor "
                f"in {here}"
            ) from None
        raise _import_failed(path, module_name, error) from error
    except BaseException as error:  # a module may raise anything when it is run, SystemExit too
        if signals:
            raise
        raise _import_failed(path, module_name, error) from error
    function = getattr(module, name, None)
    if function is None:
        own = [
            key
            for key, value in vars(module).items()
            if getattr(value, "__module__", "") == module.__name__ and callable(value)
        ]
        raise UserError(
            f"the reward {path!r}: {module_name} has no {name!r}; it has: "
            f"{', '.join(own) or 'no functions'}"
        )
    if not callable(function):
        raise UserError(f"the reward {path!r} is a {type(function).__name__}, not a function")
    return function


def place_of(path: str) -> tuple[str, str]:
    """(module, function) of a reward's path or short name; UserError where it is neither."""
    module, colon, name = BUILT_IN.get(path, path).partition(":")
    if not (module and colon and name):
        raise UserError(
            f"the reward {path!r} is neither package.module:function nor built in "
            f"({', '.join(sorted(BUILT_IN))})"
        )
    if module.endswith(".py") or os.sep in module:
        own = os.path.basename(module).removesuffix(".py")
        raise UserError(
            f"the reward {path!r}: name the module, not its file: {own}:{name}, in its folder or "
            "with that in PYTHONPATH"
        )
    return module, name


def _import_failed(path: str, module: str, error: BaseException) -> UserError:
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return UserError(f"the reward {path!r}: importing {module} failed: {said}")
