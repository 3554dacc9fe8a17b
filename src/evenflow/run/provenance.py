"""Where the numbers in a folder come from: provenance.json, an entry for each start."""

from __future__ import annotations

import json
import platform
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from evenflow.run.files import write_json
from evenflow.terminal import counted

PROVENANCE = "provenance.json"
PACKAGES = ("evenflow", "torch", "transformers", "vllm")


@contextmanager
def provenance(
    folder: Path,
    device: Any,
    inputs: Mapping[str, str] | None = None,
    goes_on: bool = False,
) -> Iterator[None]:
    """Write down what runs and where, now; and at the end, good or bad, how long it took and how
    much memory at most. Work that `goes_on` adds an entry to those of its earlier starts.
    `inputs`: what it reads → a mark of the contents."""
    began = time.monotonic()
    earlier = starts(folder) if goes_on else []
    entry: dict[str, Any] = {
        "command": command(),
        "commit": commit(),
        "versions": versions(),
        "device": device_name(device),
        "host": f"{socket.gethostname()}, {platform.system()} {platform.machine()}",
        "started": now(),
        "inputs": dict(inputs or {}),
    }
    write_json(folder / PROVENANCE, {"starts": [*earlier, entry]})
    try:
        yield
    finally:
        entry |= {"ended": now(), "seconds": round(time.monotonic() - began, 1)}
        entry |= {"memory": peak_memory(device)}
        write_json(folder / PROVENANCE, {"starts": [*earlier, entry]})


def starts(folder: Path) -> list[dict[str, Any]]:
    """The entries that lie in a folder, the first start first; none where the file is not whole."""
    try:
        found = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))["starts"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def command() -> str:
    """The command that this process runs, as far as it is one of ours."""
    if Path(sys.argv[0]).stem in ("evenflow", "__main__"):
        return shlex.join(["evenflow", *sys.argv[1:]])
    return "# from Python: Trainer(config, …).run()"


def commit() -> str | None:
    """The commit that the current folder's repository is at, and whether files differ from it;
    None outside of one, or without git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, timeout=5, check=True
        )
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide what a run computes."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def device_name(device: Any) -> str:
    """The device, a torch.device, by its maker's name; a CPU with PyTorch's threads."""
    import torch  # seconds, which readers of the file have no use for

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    maker = platform.processor() or platform.machine()
    return f"{maker} CPU, {counted(torch.get_num_threads(), 'thread')}"


def peak_memory(device: Any) -> dict[str, int]:
    """Bytes at most so far: of this process in main memory, and of its tensors on a GPU."""
    found = {}
    try:
        import resource
    except ImportError:  # not on Windows
        pass
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        found["main"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if device.type == "cuda":
        import torch

        found["gpu"] = torch.cuda.max_memory_allocated(device)
    return found


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
