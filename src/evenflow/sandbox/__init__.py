"""Untrusted code, run so that it cannot get out: see docs/rewards_code.md."""

from evenflow.sandbox.limits import TIERS, Limits, Result
from evenflow.sandbox.probing import Probe, probe
from evenflow.sandbox.sandbox import Sandbox, SandboxError

__all__ = ["TIERS", "Limits", "Probe", "Result", "Sandbox", "SandboxError", "probe"]
