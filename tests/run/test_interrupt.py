"""Signals: the first asks for an end in good order."""

from __future__ import annotations

import os
import signal

import pytest

from evenflow.run import interrupt
from evenflow.run.interrupt import Interrupt


def test_a_signal_is_noted_though_nobody_reads_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C on `evenflow train … | tee log` ends tee first: the step at hand goes on."""

    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(interrupt.console, "print", gone)
    before = signal.getsignal(signal.SIGTERM)
    with Interrupt() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.requested
        assert asked.number == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == before  # once more ends at once
