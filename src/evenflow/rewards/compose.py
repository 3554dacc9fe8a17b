"""Several weighted reward functions as one: r = Σ_k w_k·r_k over the functions that apply.

The functions are other people's code, so each call runs in a thread of its own under a time limit:
what is not there by then is unknown, and whatever else it does wrong becomes one sentence that
names it. A function says `None` for
"does not apply to this answer" (left out of the sum) and NaN for "applies, but I do not know" (the
sum is unknown too: a correctness check that timed out must not leave the format bonus standing as
if the answer were wrong).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from evenflow.bounds import is_known
from evenflow.errors import UserError
from evenflow.imports import raised
from evenflow.rewards.deadline import END
from evenflow.rewards.returned import numbers_of
from evenflow.rewards.surroundings import copied, undisturbed

LOG = logging.getLogger(__name__)
NAN = float("nan")
BLOCKED = 0.5  # seconds without a sign of life after which a loop is given up
Outcome = tuple[Any, BaseException | None]
OURS = ("prompts", "completions", "completion_ids", "finished", "opened_thoughts")
CHECKS = "checks"
"""The attribute of a function with what it looks at beforehand: {column: check of its value}."""


@dataclass(frozen=True)
class RewardResult:
    """Rewards of N answers."""

    total: list[float]
    """(N,) weighted sums; NaN is unknown: no function applied, or one gave no finite number."""
    parts: dict[str, list[float]]
    """(N,) of each function, unweighted; NaN where it did not apply or gave no finite number."""
    applied: list[bool]
    """(N,) whether any function applied; where none did there is nothing to know."""

    def __getitem__(self, rows: Sequence[int]) -> RewardResult:
        """Those of some of the answers."""
        return RewardResult(
            [self.total[i] for i in rows],
            {name: [values[i] for i in rows] for name, values in self.parts.items()},
            [self.applied[i] for i in rows],
        )


def refuse_reserved(columns: Iterable[str]) -> None:
    """UserError for a column that a reward could not be told from what it always gets."""
    if clash := [name for name in columns if name in OURS]:
        raise UserError(f"the data column {clash[0]!r} has a name that rewards reserve; rename")


def text_of(completion: str | list[dict[str, Any]]) -> str:
    """A completion's text, whether it came as text or as the assistant's chat message."""
    if isinstance(completion, str):
        return completion
    return content_text(completion[-1].get("content")) if completion else ""


def content_text(content: Any) -> str:
    """What a chat message says: its text, or the texts of its parts; a call of a tool has none."""
    if isinstance(content, list):
        return "".join(content_text(part.get("text")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


class Rewards:
    """Weighted reward functions, called together.

    Async functions run concurrently, each on an event loop of its own that lives as long as this
    object (clients that they keep stay usable from step to step); the others run one after another.
    """

    def __init__(
        self,
        functions: list[tuple[str, Callable, float]],
        timeout: float | None = 60.0,
        setting: str = "reward.timeout",
    ) -> None:
        """`functions` are (name, function, weight); `timeout` is in seconds for each call, and
        `setting` what a user calls it.

        Raises UserError if there is none, a name comes twice or a weight is not finite.
        """
        names = [name for name, _, _ in functions]
        if not functions:
            raise UserError("there is no reward function; name one in reward.functions")
        if len(set(names)) < len(names):
            raise UserError(f"two reward functions have the same name: {', '.join(names)}")
        for name, _, weight in functions:
            if not math.isfinite(weight):
                raise UserError(f"the weight of the reward {name!r} is {weight}; give a number")
        self.functions = functions
        self.timeout, self.setting = timeout, setting
        self._loops: dict[str, asyncio.AbstractEventLoop] = {}
        self._changing = threading.Lock()  # a call that was given up may still be in here
        # Not at the end of the process: the loops' threads end with it.
        weakref.finalize(self, _stop, self._loops).atexit = False

    def require_columns(self, columns: Iterable[str], told: Iterable[str] = OURS) -> None:
        """UserError where a function asks for a column that is not among those of the data (nor in
        what it is `told` besides), or one of these has a name that is ours: found before anything
        is sampled."""
        columns = list(columns)
        refuse_reserved(columns)
        offered = dict.fromkeys([*columns, *told])
        for name, function, _ in self.functions:
            accepted(name, function, offered)

    def check(self, columns: Mapping[str, Any], place: str) -> None:
        """UserError, with the place of the question, where a function cannot read what its columns
        hold, as far as it says so by itself (`portable`): found before anything is sampled."""
        for _, function, _ in self.functions:
            for column, check in getattr(function, CHECKS, {}).items():
                try:
                    if column in columns:
                        check(columns[column])
                except UserError as error:
                    raise UserError(f"{place}: {error}") from None

    @property
    def longest(self) -> float | None:
        """Seconds that a call may take in all: `timeout` for each function that runs by itself."""
        alone = sum(not is_async(function) for _, function, _ in self.functions)
        return None if self.timeout is None else self.timeout * max(1, alone)

    def __call__(
        self,
        prompts: list[str | list[dict[str, Any]]],
        completions: list[str],
        columns: dict[str, list],
        *,
        completion_ids: list[list[int]] | None = None,
        finished: list[bool] | None = None,
        opened_thoughts: list[str] | None = None,
    ) -> RewardResult:
        """Score N answers; every list has N entries, `finished` is False where the limit cut,
        `opened_thoughts` are the marks of the thoughts that the prompts have opened. What is not
        known (None) is not there for the functions.

        Answers to chat prompts reach the functions as ``[{"role": "assistant", "content": …}]``.
        Every function gets lists of its own, which it may change.
        The answers of a call that takes too long are unknown. Raises UserError for a function that
        raises, lacks a column that it asks for, or returns anything but N numbers or Nones.
        """
        refuse_reserved(columns)
        answers = [
            text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
            for prompt, text in zip(prompts, completions, strict=True)
        ]
        offered = {
            "prompts": prompts,
            "completions": answers,
            "completion_ids": completion_ids,
            "finished": finished,
            "opened_thoughts": opened_thoughts,
        }
        offered = {name: told for name, told in offered.items() if told is not None} | columns
        calls = {name: (f, copied(accepted(name, f, offered), {})) for name, f, _ in self.functions}
        with undisturbed():
            outcomes = self._outcomes(calls)
        returned = {name: self._values(name, outcomes[name], len(prompts)) for name in calls}
        known, applied = [True] * len(prompts), [False] * len(prompts)
        total, parts = [NAN] * len(prompts), {}
        for name, _, weight in self.functions:
            values = returned[name]
            parts[name] = [v if v is not None and is_known(v) else NAN for v in values]
            for at, value in enumerate(values):
                if value is None:
                    continue
                applied[at] = True
                total[at] = weight * value + (0.0 if math.isnan(total[at]) else total[at])
                known[at] &= is_known(value) and is_known(total[at])
        totals = [t if k else NAN for t, k in zip(total, known, strict=True)]
        return RewardResult(totals, parts, applied)

    def _outcomes(
        self, calls: dict[str, tuple[Callable, dict[str, Any]]]
    ) -> dict[str, Outcome | None]:
        """What became of each call; None if it took longer than `timeout`."""
        started = {
            name: (self._start_async(name, f, arguments), time.monotonic())
            for name, (f, arguments) in calls.items()
            if is_async(f)
        }
        found = {}
        for name, (f, arguments) in calls.items():
            if name not in started:
                found[name] = self._wait(name, _start(f, arguments, self.timeout), time.monotonic())
        for name, (future, since) in started.items():
            found[name] = self._wait(name, future, since)
        return found

    def unknown(self, answers: int) -> RewardResult:
        """What is said of answers that nobody judged in time."""
        parts = {name: [NAN] * answers for name, _, _ in self.functions}
        return RewardResult([NAN] * answers, parts, [True] * answers)

    def _start_async(self, name: str, function: Callable, arguments: dict[str, Any]) -> Future:
        async def call() -> Outcome:
            try:
                return await function(**arguments), None
            except BaseException as error:  # SystemExit would end the loop for good
                return None, error

        with self._changing:
            if name not in self._loops:
                self._loops[name] = asyncio.new_event_loop()
                threading.Thread(target=_serve, args=(self._loops[name],), daemon=True).start()
            return asyncio.run_coroutine_threadsafe(call(), self._loops[name])

    def _leave(self, name: str, future: Future) -> None:
        """Give a late call up, and its loop if the function blocks it."""
        future.cancel()
        loop = self._loops.get(name)
        if loop is None:
            return
        alive = threading.Event()
        loop.call_soon_threadsafe(alive.set)
        if alive.wait(BLOCKED):
            return
        with self._changing:
            if self._loops.get(name) is loop:
                del self._loops[name]

    def _wait(self, name: str, future: Future, since: float) -> Outcome | None:
        left = None if self.timeout is None else max(0.0, since + self.timeout - time.monotonic())
        try:
            return future.result(left)
        except TimeoutError:
            self._leave(name, future)
            return None

    def _values(self, name: str, outcome: Outcome | None, count: int) -> list[float | None]:
        """The call's `count` values; all NaN if it was late."""
        if outcome is None:
            LOG.warning(
                "the reward %r did not return within %g s; its answers, %d in this call, count as "
                "unknown. Make it faster, or raise %s",
                name,
                self.timeout,
                count,
                self.setting,
            )
            return [NAN] * count
        returned, error = outcome
        if error is None:
            values = numbers_of(name, returned, count)
            _report_unknown(name, values)
            return values
        raise raised(f"the reward {name!r}", error) from error


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def _stop(loops: dict[str, asyncio.AbstractEventLoop]) -> None:
    """End the loops of rewards that nobody holds any more, with the descriptors they have."""
    for loop in loops.values():
        loop.call_soon_threadsafe(loop.stop)


def _start(function: Callable, arguments: dict[str, Any], timeout: float | None) -> Future:
    """Call in a daemon thread: one that hangs does not keep the process from ending."""
    future: Future = Future()
    future.set_running_or_notify_cancel()  # from here on cancel() does nothing: a thread runs on

    def work() -> None:
        END.set(None if timeout is None else time.monotonic() + timeout)  # in this thread alone
        try:
            future.set_result((function(**arguments), None))
        except BaseException as error:  # also SystemExit: a reward may not end the run unnamed
            future.set_result((None, error))

    threading.Thread(target=work, daemon=True).start()
    return future


def is_async(function: Callable) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 (an object whose __call__ is async)
    )


def accepted(name: str, function: Callable, offered: dict[str, Any]) -> dict[str, Any]:
    """The arguments that the function takes; UserError if it needs one that is not there."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # written in C, without a signature
        return offered
    for p in parameters:
        if p.kind is p.POSITIONAL_ONLY:
            raise UserError(f"the reward {name!r} must take {p.name!r} by name, not by position")
        needed = p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        if needed and p.name not in offered:
            columns = ", ".join(n for n in offered if n not in OURS) or "none"
            raise UserError(
                f"the reward {name!r} needs the column {p.name!r}, which the data lack; "
                f"there are: {columns}"
            )
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return offered
    taken = {p.name for p in parameters}
    return {key: value for key, value in offered.items() if key in taken}


def _report_unknown(name: str, values: list[float | None]) -> None:
    bad = [at for at, v in enumerate(values, 1) if v is not None and not is_known(v)]
    if bad:
        place = f"answer {bad[0]} of {len(values)}"
        text = "the reward %r gave %s for %s; such values, %d in this call, count as unknown"
        LOG.warning(text, name, values[bad[0] - 1], place, len(bad))
