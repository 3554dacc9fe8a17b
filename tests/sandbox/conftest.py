"""The sandbox of this machine."""

from __future__ import annotations

import pytest

from evenflow.sandbox import Sandbox, SandboxError


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    """The test is skipped where Landlock and seccomp do not hold."""
    try:
        return Sandbox()
    except SandboxError as error:
        pytest.skip(str(error))
