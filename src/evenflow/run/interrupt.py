"""Ctrl-C, SIGTERM and a terminal that closes: finish the step, save, and say how to go on; and the
end of a parent."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Self

from evenflow.run.console import console
from evenflow.terminal import drop_output

LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
PR_SET_PDEATHSIG = 1


class Interrupt:
    """While active, the first signal sets `requested`; a second one ends the process at once."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, piece: str = "step") -> None:
        self.piece = piece  # of the work: what is finished before it ends
        self.number = 0  # of the signal that came
        self.previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        # Elsewhere there is nothing to set: signals go to the main thread.
        main = threading.current_thread() is threading.main_thread()
        for number in self.SIGNALS if main else ():
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # by nohup: the run is to outlive its terminal
            self.previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    @property
    def requested(self) -> bool:
        return self.number > 0

    def _restore(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self._restore()
        if number == signal.SIGHUP and sys.stdout.isatty():
            drop_output()  # to a terminal that is gone nothing can be written
        # It ends what reads the output, too (`| tee`): that is found where there is time to save.
        with suppress(OSError):
            console.print(
                f"\n{signal.Signals(number).name}: finishing this {self.piece}, then saving; once "
                "more to stop at once (what was saved before stays)"
            )


def end_with_parent() -> None:
    """In a new process: be asked to save and end (SIGTERM) when its parent is killed.

    Linux only. Elsewhere it goes on, and the next command in its folder waits for it.
    """
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
