"""Rewards for programs, judged by tests in the sandbox: see docs/rewards_code.md."""

from flowbalance.rewards.code.extract import extract
from flowbalance.rewards.code.judge import Verdict, judge
from flowbalance.rewards.code.problems import Problem, humaneval, parse
from flowbalance.rewards.code.reward import code, grade_rows

__all__ = ["Problem", "Verdict", "code", "extract", "grade_rows", "humaneval", "judge", "parse"]
