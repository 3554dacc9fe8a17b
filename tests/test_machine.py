"""What the machine gives."""

from __future__ import annotations

import os
import resource
import time

import pytest

from evenflow import machine
from evenflow.machine import bounded, cores


def test_cores_are_those_that_the_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores() == len(allowed)


def test_code_is_bounded_where_the_kernel_does_not_say_what_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on macOS: the time still is."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    monkeypatch.setattr(machine, "used", lambda: None)
    with bounded(60, 1):
        assert resource.getrlimit(resource.RLIMIT_AS) == limits
    with pytest.raises(TimeoutError), bounded(0.01, 1):
        time.sleep(60)
    monkeypatch.undo()
    with bounded(60, 1 << 40):
        assert resource.getrlimit(resource.RLIMIT_AS)[0] > 1 << 40
    assert resource.getrlimit(resource.RLIMIT_AS) == limits
