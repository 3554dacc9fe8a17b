"""What the machine gives."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import pytest

from evenflow import machine
from evenflow.machine import bounded, cores


def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "QUOTAS", ())
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores() == len(allowed)


@pytest.mark.parametrize(
    ("said", "cores_of_64"),
    [
        (["800000 100000\n"], 8),
        (["150000 100000"], 2),
        (["10000 100000"], 1),
        (["max 100000"], 64),
        (["9900000 100000"], 64),
        (["400000\n", "100000\n"], 4),
        (["-1\n", "100000\n"], 64),
        ([""], 64),
        (["5 0"], 64),
        ([], 64),
    ],
)
def test_cores_are_no_more_than_the_container_has(
    said: list[str], cores_of_64: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else programs in sandboxes wait for each other until their time is over."""
    files = [tmp_path / str(at) for at in range(len(said) or 1)]
    for file, text in zip(files, said, strict=False):
        file.write_text(text)
    monkeypatch.setattr(machine, "QUOTAS", (("/nowhere",), tuple(map(str, files))))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert cores() == cores_of_64


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
