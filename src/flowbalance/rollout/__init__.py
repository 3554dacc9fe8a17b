"""Sampling engines: answers from the policy, with the log-probs of their tokens."""

from flowbalance.rollout.engine import Rollout, generate
from flowbalance.rollout.sampling import Sampling

__all__ = ["Rollout", "Sampling", "generate"]
