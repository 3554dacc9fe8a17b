"""What other people's code may change: it gets copies of its arguments, and what holds for the
whole process is put back when it is done.

A reward that replaces standard output, or asks PyTorch for another default type, has its reasons;
what is sampled, learned and shown beside it must not depend on them. Three things are left as the
code leaves them: the current directory (paths are made full before anybody can move it), the
environment, and the states of random generators (a run draws from its own).
"""

from __future__ import annotations

import locale
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

STREAMS = {"stdout": 1, "stderr": 2}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Setting = tuple[Callable[[], Any], Callable[[Any], Any]]


def copied(value: Any, known: dict[int, Any]) -> Any:
    """Lists, tuples and dictionaries anew, all the way down; all else, which data files cannot hold
    in a form that changes, as it is. What was one thing in several places is one again: `known`."""
    kind = type(value)
    if kind not in (list, dict, tuple):
        return value
    if id(value) not in known:
        if kind is dict:
            known[id(value)] = {k: copied(v, known) for k, v in value.items()}
        else:
            known[id(value)] = kind(copied(v, known) for v in value)
    return known[id(value)]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Around calls, which run in threads of their own: what holds for all threads."""
    with ExitStack() as stack:
        for name, number in STREAMS.items():
            stack.enter_context(_open_stream(name, number))
        stack.enter_context(_kept(_of_process()))
        yield


@contextmanager
def importing() -> Iterator[list[int]]:
    """Around an import, which runs in our own thread: what holds for it, too, and who is told of
    signals. Gives the signals that came meanwhile: a KeyboardInterrupt without one is the code's.
    """
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        came.append(number)
        signal.default_int_handler(number, frame)

    with undisturbed(), _kept(_of_thread()):
        if threading.current_thread() is not threading.main_thread():
            yield came
            return
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        if handlers[signal.SIGINT] is signal.default_int_handler:
            signal.signal(signal.SIGINT, note)
        try:
            yield came
        finally:
            for number, handler in handlers.items():
                if handler is not None:  # None: not set from Python, and nothing to set it to
                    signal.signal(number, handler)


@contextmanager
def _kept(settings: list[Setting]) -> Iterator[None]:
    before = [(read, write, read()) for read, write in settings]
    try:
        yield
    finally:
        for read, write, value in before:
            if read() != value:
                write(value)


def _of_process() -> list[Setting]:
    found: list[Setting] = [(lambda: locale.setlocale(locale.LC_ALL), _set_locale)]
    torch: Any = sys.modules.get("torch")  # whoever has not imported it has nothing to lose
    if torch is not None:
        found += [
            (torch.get_default_dtype, torch.set_default_dtype),
            (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
            (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
        ]
    return found


def _of_thread() -> list[Setting]:
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return []
    return [
        (torch.get_num_threads, torch.set_num_threads),
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (torch.get_default_device, torch.set_default_device),
    ]


def _set_locale(value: str) -> None:
    with suppress(locale.Error):  # one that the system has no more
        locale.setlocale(locale.LC_ALL, value)


@contextmanager
def _open_stream(name: str, number: int) -> Iterator[None]:
    """Keep sys.stdout or sys.stderr, its descriptor open and the stream itself, too."""
    before = getattr(sys, name)
    try:
        spare = os.dup(number)
    except OSError:  # closed before we came
        spare = None
    try:
        yield
    finally:
        if spare is not None:
            try:
                os.fstat(number)
            except OSError:
                os.dup2(spare, number)
            os.close(spare)
        if before is not None and not _usable(before):
            before = _opened(number)
        setattr(sys, name, before)


def _opened(number: int) -> Any:
    """A stream for the rest of the process."""
    return open(number, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)


def _usable(stream: Any) -> bool:
    try:
        return not getattr(stream, "closed", False)
    except ValueError:  # its buffer was taken away
        return False
