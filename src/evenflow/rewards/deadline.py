"""When the call of a reward function is given up, for functions that would rather say what they
know by then than go on for nobody."""

from __future__ import annotations

import time
from contextvars import ContextVar

END: ContextVar[float | None] = ContextVar("end", default=None)
"""By `time.monotonic`, in the thread of a call; None where nobody gives up."""
SHARE, BEFORE = 0.05, 0.5
"""Of the time, and in seconds (of a short time, a tenth): to come back before it is over."""


def in_time(timeout: float) -> float:
    """After how many of `timeout` seconds such a function comes back."""
    return max(0.0, (1 - SHARE) * timeout - min(BEFORE, timeout / 10))


def shortly_before() -> float | None:
    """When to come back so as not to be late; to be asked at the start of a call."""
    end, now = END.get(), time.monotonic()
    return None if end is None else now + in_time(end - now)
