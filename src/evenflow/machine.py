"""What this machine lets the process use, and less of it for code that is not ours."""

from __future__ import annotations

import math
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NoReturn

from evenflow.errors import UserError

QUOTAS = (  # of control groups, version 2 and 1: microseconds of every so many
    ("/sys/fs/cgroup/cpu.max",),
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)


def cores() -> int:
    """The cores that this process may use: those that it may run on, or what the container has of
    their time if that is less, rounded up."""
    allowed = getattr(os, "sched_getaffinity", None)
    there = len(allowed(0)) if allowed else os.cpu_count() or 1
    return max(1, math.ceil(min(there, quota())))


def quota() -> float:
    """How many cores' time the container has; infinite where nothing limits it."""
    for files in QUOTAS:
        try:
            words = " ".join(Path(file).read_text(encoding="ascii") for file in files).split()
        except OSError:
            continue
        if len(words) == 2 and all(map(str.isdecimal, words)) and int(words[1]):
            return int(words[0]) / int(words[1])
    return math.inf


def memory() -> int:
    """Bytes of memory that this process may use: the machine's, or the container's if that is
    less."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(limit).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdecimal():
            return min(there, int(text))
    return there


@contextmanager
def bounded(seconds: float, more: int) -> Iterator[None]:
    """Let Python code run for so long and take so many further bytes, else TimeoutError or
    MemoryError. For what is written in templates; a call in C is stopped when it returns. Outside
    the main thread, where signals do not arrive, the time is not limited; nor is memory where the
    kernel has no /proc to say how much of it there is already (macOS)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    there = used()
    if there is not None and (soft == resource.RLIM_INFINITY or there + more < soft):
        resource.setrlimit(resource.RLIMIT_AS, (there + more, hard))
    timed = threading.current_thread() is threading.main_thread()
    try:
        with _timed(seconds) if timed else nullcontext():
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def _timed(seconds: float) -> Iterator[None]:
    def late(*_: object) -> NoReturn:
        raise TimeoutError(f"not done within {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, late)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


def used() -> int | None:
    """Bytes of address space that this process has; None where the kernel does not say."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def require_memory(needed: int, what: str) -> None:
    """UserError if so many bytes are more than the machine has; `what` names the fields."""
    there = memory()
    if needed > there:
        raise UserError(
            f"{what}: needs at least {needed / 2**30:,.0f} GiB of memory, and this machine has "
            f"{there / 2**30:,.0f}; lower it"
        )


def memory_ran_out(error: Exception) -> bool:
    """Whether it tells of a failed allocation, by Python or PyTorch, whose allocator on the CPU
    raises a plain RuntimeError."""
    if not isinstance(error, RuntimeError):
        return isinstance(error, MemoryError)
    says = str(error)
    return (
        type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in says
        or "not enough memory" in says
    )
