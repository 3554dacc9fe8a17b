"""Reward functions by import path."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable

from flowbalance.errors import UserError

BUILT_IN = {
    "code": "flowbalance.rewards.code:code",
    "countdown": "flowbalance.tasks.countdown:reward",
    "gsm8k": "flowbalance.rewards.math:gsm8k",
    "math": "flowbalance.rewards.math:math",
    "programs": "flowbalance.tasks.programs:reward",
    "stories": "flowbalance.tasks.stories:reward",
}


def load_reward(path: str) -> Callable:
    """The function at ``package.module:function``, or a built-in one by its short name.

    Modules of the current folder are found first, as with ``python -m``. Raises UserError that
    names what is wrong: the form, the module, an import inside it, or the function.
    """
    module_name, colon, name = BUILT_IN.get(path, path).partition(":")
    if not (module_name and colon and name):
        raise UserError(
            f"the reward {path!r} is neither package.module:function nor built in "
            f"({', '.join(sorted(BUILT_IN))})"
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise UserError(
                f"the reward {path!r}: there is no module {error.name!r}, neither installed nor "
                f"in {os.getcwd()}"
            ) from None
        raise _import_failed(path, module_name, error) from error
    except Exception as error:  # a module may raise anything when it is run
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


def _import_failed(path: str, module: str, error: Exception) -> UserError:
    return UserError(
        f"the reward {path!r}: importing {module} failed: {type(error).__name__}: {error}"
    )
