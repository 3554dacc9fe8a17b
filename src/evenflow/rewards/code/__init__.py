"""Rewards for programs, judged by tests in the sandbox: see docs/rewards_code.md."""

from evenflow.rewards.code.extract import extract
from evenflow.rewards.code.formats import (
    apps,
    code_contests,
    codeforces,
    humaneval,
    livecodebench,
    mbpp,
    published_tests,
)
from evenflow.rewards.code.judge import Verdict, judge
from evenflow.rewards.code.problems import Problem, parse
from evenflow.rewards.code.reward import code, grade_rows

__all__ = [
    "Problem",
    "Verdict",
    "apps",
    "code",
    "code_contests",
    "codeforces",
    "extract",
    "grade_rows",
    "humaneval",
    "judge",
    "livecodebench",
    "mbpp",
    "parse",
    "published_tests",
]
