"""Inputs and expected values that a problem does not list: what its reference solution returns.

The solution runs in the sandbox, in a process of its own, before any answer is judged; the answers
never share a process with it.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass

from evenflow.rewards.code.joining import joined
from evenflow.rewards.code.problems import TIME_LIMIT, Problem
from evenflow.sandbox import Limits, Result, Sandbox, plain

KEPT, LARGEST = 256 << 20, 64 << 20  # bytes kept in memory: of all problems, of one
REFERENCE_TIME = 60  # seconds
REFERENCE_BYTES = 512 << 20
FASTEST, TIMES = 2, 4  # an answer has 2 s and four times the solution's time


@dataclass(frozen=True)
class Expected:
    """What an answer is compared with."""

    inputs: tuple[bytes, ...]
    outputs: tuple[bytes, ...]
    cpu: int
    """Seconds that an answer may take."""
    trouble: str = ""
    """Why there is nothing to compare with, if so."""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self.inputs)) + sum(map(len, self.outputs))


class References:
    """Expected values by problem, in memory within bounds; what does not fit is computed again."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.known: OrderedDict[tuple[str, Problem], Future[Expected]] = OrderedDict()

    def of(self, problem: Problem, sandbox: Sandbox) -> Expected:
        """The expected values; computed once, whichever thread asks first."""
        if problem.inputs is not None and problem.outputs is not None:
            limit = problem.time_limit or TIME_LIMIT
            return Expected(problem.inputs, problem.outputs, math.ceil(limit))
        key = (sandbox.tier, problem)
        with self.lock:
            mine = key not in self.known
            future = self.known.setdefault(key, Future())
            self.known.move_to_end(key)
        if mine:
            try:
                future.set_result(compute(problem, sandbox))
            except BaseException as error:
                future.set_exception(error)
            self.forget(key, future)
        return future.result()

    def forget(self, key: tuple[str, Problem], future: Future[Expected]) -> None:
        """Drop what failed (it may go better next time) or is too large, and the least used."""
        with self.lock:
            failed = future.exception() or future.result().trouble
            if failed or future.result().size > LARGEST:
                self.known.pop(key, None)
            done = {k: f.result().size for k, f in self.known.items() if f.done()}
            total = sum(done.values())
            for old, size in done.items():
                if total <= KEPT:
                    break
                del self.known[old]
                total -= size


def compute(problem: Problem, sandbox: Sandbox) -> Expected:
    """Run the solution: once to record the inputs of a check, if there are none, once on them."""
    assert problem.entry_point is not None
    assert problem.solution is not None
    limits = Limits(cpu=REFERENCE_TIME, wall=3.0 * REFERENCE_TIME, report=REFERENCE_BYTES)
    code = joined(problem.setup, problem.solution)
    inputs = problem.inputs
    if inputs is None:
        result = sandbox.record(code, problem.entry_point, problem.check or "", limits)
        inputs = values(result)
        if trouble := failure(result):
            return Expected((), (), 0, f"the check of the reference solution: {trouble}")
        if not inputs:
            return Expected((), (), 0, "the check calls the candidate with nothing")
    result = sandbox.calls(code, problem.entry_point, inputs, limits)
    outputs = values(result)
    if trouble := failure(result):
        return Expected((), (), 0, f"the reference solution: {trouble}")
    if len(outputs) != len(inputs):
        return Expected((), (), 0, "the reference solution did not answer every input")
    if problem.check and set(outputs) == {plain.encode(None)}:
        return Expected((), (), 0, "the reference solution returns None whatever it is given")
    if any(plain.OTHER in line for line in outputs):
        return Expected((), (), 0, "the reference solution returns what is no plain data")
    limit = problem.time_limit or FASTEST + TIMES * result.cpu
    return Expected(inputs, outputs, math.ceil(limit))


def values(result: Result) -> tuple[bytes, ...]:
    """The values of a report, without the exception that may end it."""
    lines = result.report.split(b"\n")[:-1]
    return tuple(lines[:-1] if lines and lines[-1].startswith(b"!") else lines)


def failure(result: Result) -> str:
    """How a run ended other than well; empty if it did not."""
    if not result.started:
        said = result.stderr.decode(errors="replace").strip().splitlines()
        return f"the sandbox did not start ({said[-1] if said else 'no reason given'})"
    if result.limits_hit:
        return f"over the limit of {', '.join(result.limits_hit)}"
    if result.signal:
        return f"killed by signal {result.signal}"
    last = result.report.rstrip(b"\n").rpartition(b"\n")[2]
    if last.startswith(b"!"):
        return f"raised {last[1:61].decode(errors='replace')}"
    return f"ended with status {result.exit}" if result.exit else ""
