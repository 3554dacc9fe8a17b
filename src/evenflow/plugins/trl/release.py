"""The releases of TRL that the plug-in was tested with."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from evenflow.errors import UserError

LOWEST, NEWEST = (1, 12), (1, 16)
"""Minor releases, both tested; those between them are let pass."""
PACKAGE = f"trl>={LOWEST[0]}.{LOWEST[1]},<{NEWEST[0]}.{NEWEST[1] + 1}"


def require_release() -> None:
    """UserError where TRL is not installed, or is another release than those tested."""
    try:
        installed = version("trl")
    except PackageNotFoundError as error:
        raise UserError(
            f"evenflow.plugins.trl needs TRL, which is not installed: pip install '{PACKAGE}'"
        ) from error
    if not LOWEST <= tuple(int(part) for part in re.findall(r"\d+", installed)[:2]) <= NEWEST:
        tested = " to ".join(".".join(map(str, release)) for release in (LOWEST, NEWEST))
        raise UserError(
            f"evenflow.plugins.trl was tested with TRL {tested}, and {installed} is installed, "
            f"whose private methods may differ: pip install '{PACKAGE}'"
        )
