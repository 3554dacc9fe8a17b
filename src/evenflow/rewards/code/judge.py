"""One answer against one problem's tests: right, wrong or unknown."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from evenflow.rewards.code.compare import OF_TEXT, Checker, same
from evenflow.rewards.code.joining import joined
from evenflow.rewards.code.problems import Problem
from evenflow.rewards.code.references import Expected, References, failure, values
from evenflow.sandbox import Limits, Result, Sandbox, plain

REFERENCES = References()
WALL = 3.0  # times the processor time, for a machine with other things to do
SLACK = 1 << 20  # bytes
LATE = "the time for all answers was over"


@dataclass(frozen=True)
class Verdict:
    """A verdict, why, and in which sandbox it was reached."""

    verdict: str
    """right, wrong, or unknown: the tests could not be run, which says nothing of the answer."""
    reason: str
    tier: str


def judge(code: str, problem: Problem, sandbox: Sandbox, end: float | None = None) -> Verdict:
    """Run a program (see `extract`) against the tests; a failed sandbox is tried once more.

    Nothing runs on after `end` (by `time.monotonic`), and what is not known by then is unknown.
    """
    verdict = Verdict("unknown", "", sandbox.tier)
    if not code.strip():
        return Verdict("wrong", "no code", sandbox.tier)
    for _ in range(2):
        if end is not None and time.monotonic() >= end:
            return Verdict("unknown", LATE, sandbox.tier)
        try:
            expected = REFERENCES.of(problem, sandbox)
            if expected.trouble:
                return Verdict("unknown", expected.trouble, sandbox.tier)
            of_kind = by_calls if problem.entry_point else by_runs
            said, reason = of_kind(joined(problem.setup, code), problem, expected, sandbox, end)
        except OSError as error:  # no process, no memory, no descriptor left on this machine
            said, reason = "unknown", f"the sandbox did not start ({error})"
        verdict = Verdict(said, reason, sandbox.tier)
        if said != "unknown":
            break
    return verdict


def limits_for(
    expected: Expected, output: int, report: int = 0, end: float | None = None
) -> Limits:
    """The limits of a run; where values are reported, what is printed does not count."""
    limits = Limits(
        cpu=expected.cpu,
        wall=WALL * expected.cpu + 1,
        output=output,
        report=report,
        talkative=report > 0,
    )
    if end is not None:
        limits = replace(limits, wall=max(0.0, min(limits.wall, end - time.monotonic())))
    return limits


def unknown(result: Result, end: float | None = None) -> str:
    """Why a run says nothing about its code; empty if it does."""
    if not result.started:
        return failure(result)
    if end is not None and time.monotonic() >= end and "wall" in result.limits_hit:
        return LATE
    return "the machine was too busy" if result.starved else ""


def by_calls(
    code: str, problem: Problem, expected: Expected, sandbox: Sandbox, end: float | None = None
) -> tuple[str, str]:
    """Calls of a function, all in one process."""
    assert problem.entry_point is not None
    count = len(expected.outputs)
    # What is equal is encoded alike, but for how numbers are written, and tuples for lists.
    report = 4 * sum(map(len, expected.outputs)) + SLACK
    limits = limits_for(expected, SLACK, report, end)
    result = sandbox.calls(code, problem.entry_point, expected.inputs, limits)
    if reason := unknown(result, end):
        return "unknown", reason
    returned = values(result)
    for at, (line, gold) in enumerate(zip(returned, expected.outputs, strict=False)):
        if line == gold and not problem.checker:
            continue
        reason = differs(line, gold, expected.inputs[at], problem, at)
        if reason:
            return "wrong", f"test {at + 1} of {count}: {reason}"
    if len(returned) < count:
        trouble = failure(result) or "ended without a value"
        return "wrong", f"test {len(returned) + 1} of {count}: {trouble}"
    if "cpu" in result.limits_hit:
        return "wrong", failure(result)
    if len(returned) > count:
        return "wrong", f"reported {len(returned)} values for {count} calls"
    return "right", f"{count} of {count} tests"


def differs(line: bytes, gold: bytes, given: bytes, problem: Problem, at: int) -> str:
    """Why the value that a test returned is not right; empty if it is."""
    relation = problem.relations[at] if problem.relations else "=="
    # Far longer than what is expected: not equal, and not worth the work of reading it.
    if relation != "bool" and len(line) > 8 * len(gold) + 1000:
        return "another value"
    try:
        value, wanted = plain.decode(line), plain.decode(gold)
        if problem.checker:
            right = checked(problem.checker, plain.decode(given), value, wanted)
        elif relation == "bool":
            right = truth(value) is wanted
        elif relation == "is":
            right = type(value) is type(wanted) and value == wanted
        else:
            atol = problem.atol[at] if isinstance(problem.atol, tuple) else problem.atol
            right = same(value, wanted, atol, problem.loose, problem.rtol)
    except (ValueError, RecursionError):
        return "a value that is no plain data"
    except CheckerError as error:
        return str(error)
    return "" if right else f"returned {short(value)}"


def truth(value: object) -> bool | None:
    """Whether a value is true; None for what is no plain data, but a match of a pattern is true."""
    if isinstance(value, plain.Other):
        return True if value.name == "Match" else None
    return bool(value)


def by_runs(
    code: str, problem: Problem, expected: Expected, sandbox: Sandbox, end: float | None = None
) -> tuple[str, str]:
    """Runs of a program, each in a process of its own, up to the first that goes wrong."""
    count = len(expected.outputs)
    for at, (given, gold) in enumerate(zip(expected.inputs, expected.outputs, strict=True)):
        if end is not None and time.monotonic() >= end:
            return "unknown", LATE
        limits = limits_for(expected, 4 * len(gold) + SLACK, end=end)
        result = sandbox.script(code, given, limits)
        if reason := unknown(result, end):
            return "unknown", reason
        trouble = failure(result)
        if not trouble:
            printed, wanted, source = (
                text.decode(errors="replace") for text in (result.stdout, gold, given)
            )
            checker = problem.checker or OF_TEXT["lines"]
            try:
                right = checked(checker, source, printed, wanted)
            except CheckerError as error:
                right, trouble = False, str(error)
            if not right and not trouble:
                trouble = f"printed {short(printed)}"
        if trouble:
            return "wrong", f"test {at + 1} of {count}: {trouble}"
    return "right", f"{count} of {count} tests"


class CheckerError(Exception):
    """A checker raised."""


def checked(checker: Checker, given: object, value: object, expected: object) -> bool:
    """What the checker says; most of what makes one raise is output that it cannot read."""
    try:
        return bool(checker(given, value, expected))
    except Exception as error:
        raise CheckerError(f"the checker raised {type(error).__name__}: {error}") from error


def short(value: object) -> str:
    """A value in few words."""
    try:
        shown = repr(value)
    except (ValueError, RecursionError):  # an int of more digits than Python shows
        return f"a large {type(value).__name__}"
    return shown if len(shown) <= 60 else f"{shown[:57]}…"
