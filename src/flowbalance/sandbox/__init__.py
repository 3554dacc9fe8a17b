"""Untrusted code, run so that it cannot get out: see docs/rewards_code.md."""

from flowbalance.sandbox.limits import TIERS, Limits, Result
from flowbalance.sandbox.probing import Probe, probe
from flowbalance.sandbox.sandbox import Sandbox, SandboxError

__all__ = ["TIERS", "Limits", "Probe", "Result", "Sandbox", "SandboxError", "probe"]
