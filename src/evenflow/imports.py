"""Objects by import path, ``package.module:name``: rewards, tasks, engines and objectives of one's
own."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from evenflow.errors import UserError


def load_object(
    path: str,
    what: str,
    built_in: Iterable[str] = (),
    *,
    kind: str = "class",
    importing: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Any:
    """What stands at ``package.module:name``, a function or another `kind` of thing to be called.

    Modules of the current folder are found first, as with ``python -m``. `what` names it in the
    UserError that says what is wrong: the form (with the names that are `built_in`), the module,
    whatever ends its import, or the name. `importing` surrounds the import; it may give a list of
    signals that came meanwhile.
    """
    module_name, name = split(path, what, built_in, kind)
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    signals: Any = None
    try:
        with importing() as signals:
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise UserError(
                f"{what} {path!r}: there is no module {error.name!r}, neither installed nor in "
                f"{here}"
            ) from None
        raise _import_failed(path, what, module_name, error) from error
    except BaseException as error:  # a module may raise anything when it is run, SystemExit too
        if signals or (signals is None and isinstance(error, KeyboardInterrupt)):
            raise
        raise _import_failed(path, what, module_name, error) from error
    found = getattr(module, name, None)
    if found is None:
        own = [
            key
            for key, value in vars(module).items()
            if getattr(value, "__module__", "") == module.__name__ and callable(value)
        ]
        raise UserError(
            f"{what} {path!r}: {module_name} has no {name!r}; it has: {', '.join(own) or 'nothing'}"
        )
    if not callable(found):
        raise UserError(f"{what} {path!r}: is a {type(found).__name__}, not a {kind}")
    return found


def split(
    path: str, what: str, built_in: Iterable[str] = (), kind: str = "class"
) -> tuple[str, str]:
    """(module, name) of a path; UserError where it is none."""
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        known = f" ({', '.join(sorted(built_in))})" if built_in else ""
        raise UserError(f"{what} {path!r}: is neither package.module:{kind} nor built in{known}")
    if module.endswith(".py") or os.sep in module:
        own = os.path.basename(module).removesuffix(".py")
        raise UserError(
            f"{what} {path!r}: name the module, not its file: {own}:{name}, in its folder or with "
            "that in PYTHONPATH"
        )
    return module, name


def require_methods(thing: object, methods: Iterable[str], what: str) -> None:
    """UserError that names `what` and the methods that it lacks."""
    if lacking := [name for name in methods if not hasattr(thing, name)]:
        raise UserError(f"{what}: {type(thing).__name__} has no {', '.join(lacking)}")


def _import_failed(path: str, what: str, module: str, error: BaseException) -> UserError:
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return UserError(f"{what} {path!r}: importing {module} failed: {said}")
