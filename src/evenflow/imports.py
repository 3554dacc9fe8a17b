"""Objects by import path, ``package.module:name``: rewards, tasks, engines and objectives of one's
own."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

from evenflow.errors import UserError
from evenflow.machine import memory_ran_out

T = TypeVar("T")
HERE = os.path.dirname(__file__) + os.sep


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
                f"{here}; go to the folder that has it, or name that folder in PYTHONPATH"
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


def ask(what: str, thing: object, method: str, *arguments: Any, gives: type[T]) -> T:
    """What the method gives; UserError that names both where it raises, or gives another type."""
    with calling(what, thing, method):
        found = getattr(thing, method)(*arguments)
    if not isinstance(found, gives):
        gave = type(found).__name__
        raise UserError(f"{named(what, thing, method)} gave {gave}, not {gives.__name__}")
    return found


@contextmanager
def calling(what: str, thing: object, method: str) -> Iterator[None]:
    """Around a call of other people's code: whatever it raises becomes one sentence that names it.

    What our own code raises stays as it is, a defect; so does a shortage of memory, which is told
    by what was done (`run.out_of_memory`).
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if is_ours(thing) or memory_ran_out(error):
            raise
        file = getattr(sys.modules.get(type(thing).__module__), "__file__", None)
        raise raised(named(what, thing, method), error, file) from error


def is_ours(thing: object) -> bool:
    """Whether an object's class is one of this package."""
    return type(thing).__module__.startswith("evenflow.")


def named(what: str, thing: object, method: str) -> str:
    """A method, as sentences name it."""
    return f"{what}: {type(thing).__name__}.{method}"


def raised(what: str, error: BaseException, file: str | None = None) -> UserError:
    """The sentence for an exception of other people's code, with the line that raised it: the last
    one in `file`, if any is there, else the last that is not of this package."""
    frames = traceback.extract_tb(error.__traceback__)
    # A call that fails by its arguments, before a line of theirs runs, has no frames but ours.
    theirs = [frame for frame in frames if not frame.filename.startswith(HERE)]
    own = [frame for frame in frames if frame.filename == file] or theirs
    place = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    return UserError(f"{what} raised {_said(error)}{place}")


def _import_failed(path: str, what: str, module: str, error: BaseException) -> UserError:
    return UserError(f"{what} {path!r}: importing {module} failed: {_said(error)}")


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
