"""The reward function, and verdicts for many rows, over all cores."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from evenflow.errors import UserError
from evenflow.machine import cores
from evenflow.rewards.code.extract import extract
from evenflow.rewards.code.formats import published_tests
from evenflow.rewards.code.judge import LATE, Verdict, judge
from evenflow.rewards.code.problems import parse
from evenflow.rewards.deadline import shortly_before
from evenflow.rewards.portable import portable
from evenflow.rewards.thoughts import whole, whole_of
from evenflow.sandbox import Sandbox

LOG = logging.getLogger("evenflow.rewards")
T = TypeVar("T")
U = TypeVar("U")
REWARD = {"right": 1.0, "wrong": 0.0, "unknown": float("nan")}
AHEAD = 4  # rows a worker that are read before their turn


@portable("tests", check=parse)
def code(completions: list, tests: list, **columns: Any) -> list[float]:
    """1.0 where the answer's program passes every test of its row's `tests`, else 0.0.

    NaN where the tests could not be run, which says nothing of the answer, or not in the time that
    the caller waits (`deadline`), after which nothing runs on. UserError if the
    sandbox here is weaker than Landlock and seccomp, or `tests` is malformed.
    """
    end = shortly_before()
    sandbox = Sandbox()
    answers = whole(completions, **columns)
    distinct = {id(each): each for each in tests}  # a group's answers share theirs
    text_at = {place: written(each) for place, each in distinct.items()}
    texts = [text_at[id(each)] for each in tests]
    problems = {text: parse(json.loads(text)) for text in dict.fromkeys(texts)}
    keys = [
        (extract(answer, problems[text].entry_point), text)
        for answer, text in zip(answers, texts, strict=True)
    ]
    unique = list(dict.fromkeys(keys))  # a policy repeats itself within a group
    # All at once: behind one that never ends a few would wait for it, and all cores idle.
    verdicts = ordered(
        lambda key: judge(key[0], problems[key[1]], sandbox, end), unique, ahead=len(unique)
    )
    found = dict(zip(unique, verdicts, strict=True))
    if late := sum(verdict.reason == LATE for verdict in found.values()):
        LOG.warning(
            "%d of %d programs were not judged in the time for a call and are unknown; raise "
            "reward.timeout, or give fewer tests or a smaller time_limit",
            late,
            len(found),
        )
    return [REWARD[found[key].verdict] for key in keys]


def written(tests: Any) -> str:
    """Tests as JSON text, by which equal ones are told; NumPy's arrays and numbers as lists and
    numbers. UserError for what JSON has not."""

    def plain(value: Any) -> Any:
        if hasattr(value, "tolist"):
            return value.tolist()
        raise TypeError(f"{type(value).__name__} is no value of JSON")

    try:
        return json.dumps(tests, sort_keys=True, default=plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"tests: cannot be written as JSON: {error}") from None


def grade_rows(
    rows: Iterable[dict[str, Any]], *, require: str = "landlock", workers: int | None = None
) -> Iterator[tuple[str, str]]:
    """(verdict, reason) of each row, in order: right, wrong or unknown.

    A row has `response` and either `tests` or the fields of a benchmark (`formats`), and may have
    `opened_thought`. UserError names a row that lacks them; SandboxError if the sandbox here is
    weaker than `require`.
    """
    sandbox = Sandbox(require)

    def graded(row: tuple[int, dict[str, Any]]) -> Verdict:
        number, fields = row
        try:
            if not isinstance(fields.get("response"), str | list):
                raise UserError("there is no text `response`")
            problem = parse(published_tests(fields))
            answer = whole_of(fields)
        except KeyError as error:
            raise UserError(f"row {number}: HumanEval's field {error} is missing") from None
        except UserError as error:
            raise UserError(f"row {number}: {error}") from None
        return judge(extract(answer, problem.entry_point), problem, sandbox)

    for verdict in ordered(graded, enumerate(rows, 1), workers):
        yield verdict.verdict, f"{verdict.reason} ({verdict.tier})"


def ordered(
    function: Callable[[T], U],
    items: Iterable[T],
    workers: int | None = None,
    ahead: int | None = None,
) -> Iterator[U]:
    """``map(function, items)`` over threads that each wait for a sandbox; so many items are read
    before the first of them is done, or a few a worker."""
    workers = workers or cores()
    ahead = AHEAD * workers if ahead is None else ahead
    pending: deque[Future[U]] = deque()
    queue: SimpleQueue[tuple[Future[U], T] | None] = SimpleQueue()

    def serve() -> None:
        while (job := queue.get()) is not None:
            future, item = job
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(item))
                except BaseException as error:
                    future.set_exception(error)

    # Daemons, which an executor's threads are not: a call that was given up keeps no process alive.
    threads = [Thread(target=serve, name="sandbox", daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for item in items:
            pending.append(Future())
            queue.put((pending[-1], item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
        for _ in threads:
            queue.put(None)
        for thread in threads:
            thread.join()
