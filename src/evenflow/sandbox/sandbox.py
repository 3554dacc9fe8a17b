"""The way in: a sandbox at least as strong as asked for, and what can be run in it."""

from __future__ import annotations

from collections.abc import Sequence

from evenflow.errors import UserError
from evenflow.sandbox.limits import TIERS, Limits, Result
from evenflow.sandbox.probing import probe
from evenflow.sandbox.process import run


class SandboxError(UserError):
    """The sandbox here is weaker than asked for."""


class Sandbox:
    """Runs code in the strongest sandbox of this machine, never in one weaker than `require`."""

    def __init__(self, require: str = "landlock") -> None:
        """Probe, once a process; SandboxError if what holds here is weaker than `require`."""
        if require not in TIERS:
            raise SandboxError(f"require: {require!r} is none of {', '.join(TIERS)}")
        found = probe()
        if found.tier is None or TIERS.index(found.tier) < TIERS.index(require):
            raise SandboxError(
                f"untrusted code is not run: {require!r} is required, and this machine holds "
                f"{found.tier or 'nothing'} ({found.weaker.get(require, 'no tier holds')}); "
                "`evenflow sandbox` shows what was tried"
            )
        self.tier = found.tier

    def script(self, code: str, stdin: bytes = b"", limits: Limits | None = None) -> Result:
        """A program, as `python FILE` runs one."""
        return run({"mode": "script", "code": code}, self.tier, limits or Limits(), stdin)

    def calls(
        self, code: str, entry_point: str, inputs: Sequence[bytes], limits: Limits | None = None
    ) -> Result:
        """A function on one list of arguments after another (lines of plain.py).

        The report has a line for each value that was returned.
        """
        lines = [line.decode() for line in inputs]
        job = {"mode": "calls", "code": code, "entry_point": entry_point, "calls": lines}
        return run(job, self.tier, limits or Limits())

    def record(
        self, code: str, entry_point: str, check: str, limits: Limits | None = None
    ) -> Result:
        """``check(candidate)`` of a benchmark, with a right solution as the candidate.

        The report has a line for each list of arguments that the check calls it with.
        """
        job = {"mode": "record", "code": code, "entry_point": entry_point, "check": check}
        return run(job, self.tier, limits or Limits())
