"""What sandboxed code may use, what came of a run, and how strong a sandbox can be."""

from __future__ import annotations

from dataclasses import dataclass

TIERS = ("rlimits", "seccomp", "landlock", "bubblewrap")
"""From weak to strong; each has what those before it have.

rlimits: resource limits, a clean environment, no capabilities, no new privileges. seccomp: no
network, processes, signals to others. landlock: no files but the interpreter's own. bubblewrap:
namespaces around it all, in which other processes and files are not even named.
"""

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Limits of one run."""

    cpu: int = 10
    """Seconds of processor time, all threads together."""
    wall: float = 20.0
    """Seconds from the start of the code."""
    memory: int = 1024 * MIB
    """Bytes of address space."""
    output: int = MIB
    """Bytes of standard output; more of it ends the run. Of standard error as much is kept."""
    talkative: bool = False
    """Whether standard output, too, may be longer, and is not kept beyond that."""
    report: int = 64 * MIB
    """Bytes of returned values."""
    threads: int = 64
    file_size: int = 16 * MIB
    """Bytes of each file."""
    files: int = 0
    """Files and folders in the working directory, which can be written to only if it is not 0."""


@dataclass(frozen=True)
class Result:
    """What came of a run."""

    tier: str
    started: bool
    """Whether the sandbox was closed and the code begun; if not, the code is not to blame."""
    exit: int | None
    """Exit status; None after a signal."""
    signal: int | None
    stdout: bytes
    stderr: bytes
    report: bytes
    """Lines of the harness; the code can write them too."""
    limits_hit: tuple[str, ...]
    starved: bool
    """Whether the run, over its wall clock, mostly waited for a processor that others had."""
    wall: float
    """Seconds from the start of the code."""
    cpu: float
    """Seconds, the interpreter's start included."""
