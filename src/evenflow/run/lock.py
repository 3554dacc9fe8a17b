"""One process at a time writes into a folder, whatever its command."""

from __future__ import annotations

import fcntl
import functools
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from evenflow.errors import UserError
from evenflow.run.console import console
from evenflow.run.files import writing

LOCK = ".lock"
T = TypeVar("T")
_held: set[Path] = set()
"""Folders that this process holds."""


@contextmanager
def only_one(folder: Path, *, wait: bool = False) -> Iterator[int]:
    """Hold the folder; UserError that names who does, or with `wait` a line and patience.

    The lock is the system's own on the folder's `.lock`, and ends with the last process that
    inherited its descriptor, which is given, however that process ends: what a killed one leaves
    is a file that holds nothing. Where the file system has no locks, everybody is let in.
    """
    path, own = folder / LOCK, folder.resolve()
    told = False
    while True:
        with writing(folder):
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                who = _holder(handle)
                if not wait:
                    raise UserError(
                        f"{folder}: {who} is at work there; wait for it to end, stop it, or choose "
                        "another folder with output=…"
                    ) from None
                if not told:
                    console.print(f"{folder}: {who} is at work there; waiting for it", markup=False)
                    told = True
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError:  # a file system without locks
                pass
            if not _names(path, handle):  # who held it before has just taken the file away
                continue
            try:
                _sign(handle)
                _held.add(own)
                yield handle
            finally:
                _held.discard(own)
                path.unlink(missing_ok=True)
            return
        finally:
            os.close(handle)


def _sign(handle: int) -> None:
    """Say in the file who holds it, for others to read: this is no part of the lock."""
    command = " ".join(["evenflow", *sys.argv[1:2]])
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    text = f"process {os.getpid()} on {socket.gethostname()} ({command}, since {since})"
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode("utf-8", "replace"), 0)
    except OSError:  # a full disk: the lock holds all the same
        pass


def _holder(handle: int) -> str:
    """Who holds the file, as far as it says."""
    said = os.pread(handle, 500, 0).decode("utf-8", "replace").strip()
    return said if said.startswith("process ") else "another process"


def _names(path: Path, handle: int) -> bool:
    """Whether the path is still that of the open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def no_other(folder: Path) -> AbstractContextManager[object]:
    """`only_one`, but for a folder that this process holds already."""
    return nullcontext() if folder.resolve() in _held else only_one(folder)


def alone(method: Callable[[Any], T]) -> Callable[[Any], T]:
    """A method that holds its object's `folder` while it runs."""

    @functools.wraps(method)
    def held(self: Any) -> T:
        with no_other(self.folder):
            return method(self)

    return held
