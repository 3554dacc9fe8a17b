"""The terminal: what may be printed there, standard streams that are closed, full or broken,
and the signals that end a command."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and newline (the escape that begins a terminal's commands is one),
those that turn the direction of writing, and halves of characters."""


def printable(text: str) -> str:
    r"""The text with unprintable characters spelled as Python does (``\x1b``): answers and files
    that are quoted on a terminal must not command it."""
    return UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def counted(number: int, noun: str) -> str:
    """``1 step``, ``1,200 steps``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def prepare_streams() -> None:
    """Let every standard stream be there and take any text.

    A descriptor that was closed (``>&-``) leads nowhere: left free, it would go to the next file
    that is opened, and what C code prints would land in that. What the encoding of the terminal
    lacks is spelled out (``\\u03b2``).
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 (to the end)
            setattr(sys, name, stream)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def complain(text: str) -> None:
    """Print to standard error, if it can be printed to."""
    with suppress(OSError, ValueError):
        print(printable(text), file=sys.stderr, flush=True)


def drop_output() -> None:
    """Let what is left of the output go nowhere: nobody reads it, or its place is full, and Python
    flushes again at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def system_error(error: OSError) -> str:
    """What the system refused, in a sentence."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return f"the system refuses: {reason}"
    place = error.filename if isinstance(error.filename, str) else repr(error.filename)
    if len(place) > 200:
        place = f"{place[:100]}…{place[-80:]}"
    return f"{place}: {reason}"


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and a terminal that closes end the work as Ctrl-C does, by an exception, so that
    what cleans up behind it has its turn: SystemExit, with the status that shells expect."""

    def leave(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP and sys.stdout.isatty():
            drop_output()  # to a terminal that is gone nothing can be written
        raise SystemExit(128 + number)

    main = threading.current_thread() is threading.main_thread()
    ends = (signal.SIGTERM, signal.SIGHUP) if main else ()  # elsewhere there is nothing to set
    kept = [number for number in ends if signal.getsignal(number) == signal.SIG_IGN]  # by nohup
    previous = {number: signal.signal(number, leave) for number in ends if number not in kept}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
