"""Sampling: what an engine is, the groups that it gives, and their rewards beside it."""

from evenflow.rollout.engine import Engine, Limits, build_engine, sample
from evenflow.rollout.group import Group
from evenflow.rollout.sampling import Sampling

__all__ = ["Engine", "Group", "Limits", "Sampling", "build_engine", "sample"]
