"""Sampling engines: answers from the policy, with the log-probs of their tokens."""

from evenflow.rollout.embedded.generate import Rollout, generate
from evenflow.rollout.sampling import Sampling

__all__ = ["Rollout", "Sampling", "generate"]
