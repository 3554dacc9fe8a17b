"""One evaluation at a time in a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowbalance.errors import UserError
from flowbalance.report.files import writing


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder, or UserError if another evaluation does: two of them would write over each
    other. The lock ends with the process, however that ends."""
    path = folder / ".lock"
    while True:
        with writing(folder):
            handle = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"{folder}: another evaluation is at work there; wait for it to end, or choose "
                    "another folder with output=…"
                ) from None
            except OSError:  # a file system without locks
                pass
            if not _names(path, handle):  # who held it before has just taken the file away
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
        finally:
            os.close(handle)


def _names(path: Path, handle: int) -> bool:
    """Whether the path is still that of the open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
