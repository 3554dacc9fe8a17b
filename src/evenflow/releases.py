"""The newest releases of what this version stands on that it was tested with."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

TESTED = {
    "torch": "2.13",
    "transformers": "5.24",
    "tokenizers": "0.23",
    "safetensors": "0.8",
    "numpy": "2.4",
    "pydantic": "2.14",
    "peft": "0.21",
    "datasets": "5.2",
    "math-verify": "0.9",
}
"""Package → newest minor release tested, that of constraints/cpu.txt. Newer ones are not refused;
where something fails, their being newer is the first thing to know."""


def newer_than_tested() -> list[str]:
    """A line for each package whose installed release is newer than the newest tested one."""
    found = []
    for package, tested in TESTED.items():
        try:
            installed = version(package)
        except PackageNotFoundError:
            continue
        if _minor(installed) > _minor(tested):
            found.append(
                f"note: {package} {installed} is newer than the newest release tested with this "
                f"version ({tested})"
            )
    return found


def _minor(release: str) -> tuple[int, ...]:
    """Major and minor number: (2, 13) of ``2.13.1+cpu``; a patch release changes no interface."""
    return tuple(int(part) for part in re.findall(r"\d+", release)[:2])
