"""Rewards for programs, judged by tests in the sandbox: see docs/rewards_code.md."""

from flowbalance.rewards.code.extract import extract
from flowbalance.rewards.code.formats import codeforces, humaneval, livecodebench, published_tests
from flowbalance.rewards.code.judge import Verdict, judge
from flowbalance.rewards.code.problems import Problem, parse
from flowbalance.rewards.code.reward import code, grade_rows

__all__ = [
    "Problem",
    "Verdict",
    "code",
    "codeforces",
    "extract",
    "grade_rows",
    "humaneval",
    "judge",
    "livecodebench",
    "parse",
    "published_tests",
]
