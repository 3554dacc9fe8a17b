"""Verdicts on responses to questions of mathematics, one or many, and rewards made of them."""

from __future__ import annotations

import functools
import logging
import re
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Literal, NamedTuple

from evenflow.errors import UserError
from evenflow.rewards.math.claims import LONGEST
from evenflow.rewards.math.denials import says_another
from evenflow.rewards.math.equality import same
from evenflow.rewards.math.equations import last_side, same_named
from evenflow.rewards.math.expressions import DEPTH
from evenflow.rewards.math.extraction import extract
from evenflow.rewards.math.normalisation import named, normalise
from evenflow.rewards.math.notation import apart, with_one_letter
from evenflow.rewards.math.presets import PRESETS, boxed_right, dapo_right
from evenflow.rewards.math.quantities import same_quantities
from evenflow.rewards.math.sets import without_builder
from evenflow.rewards.math.spelling import as_one, written_out
from evenflow.rewards.math.wording import TRUTHS, in_one_word, senses, with_one_word, without_name
from evenflow.rewards.math.workers import TIMEOUT, Workers, shared
from evenflow.rewards.thoughts import spoken, whole_of

AHEAD = 512
"""Rows that are looked at before the verdict of an earlier one is there."""
LIMIT = 40.0
"""Seconds for a batch of rewards: less than the trainer waits (`reward.timeout`), or a few dozen
answers that hang would make all others late."""
UNREAD = re.compile(r"'|\\ldots|_\\infty|,(?=\\ldots|$)")
LOG = logging.getLogger("evenflow.rewards")
NAN = float("nan")


class Verdict(NamedTuple):
    """What is known about a response."""

    verdict: Literal["right", "wrong", "unknown"]
    """Unknown: the gold cannot be read, or the comparison did not end in time."""
    reason: str
    """In a few words, what decided."""


def verdict(response: str, gold: Any, preset: str = "default", timeout: float = TIMEOUT) -> Verdict:
    """Whether the response's final answer (`extract`) is the gold's.

    In this order: equal text after `normalise`; equal structure, exact rationals, values within
    a relative 1e-9 (`equality.same`); math-verify, in a process of its own, for what is left.
    `preset` grades as others do (`presets`); `timeout` is in seconds for one such comparison,
    which is tried twice.
    """
    return _result(_judge(response, gold, preset, shared(timeout)))


def verdicts(
    pairs: Iterable[tuple[str, Any]],
    preset: str = "default",
    timeout: float = TIMEOUT,
    limit: float | None = None,
) -> Iterator[Verdict]:
    """Verdicts of (response, gold), in order, while others are still being compared.

    What is not known `limit` seconds after the start stays unknown.
    """
    workers = shared(timeout)
    end = None if limit is None else time.monotonic() + limit
    ahead: deque[Verdict | _Pending] = deque()
    for response, gold in pairs:
        ahead.append(_judge(response, gold, preset, workers))
        while ahead and (len(ahead) > AHEAD or isinstance(ahead[0], Verdict)):
            yield _result(ahead.popleft(), end)
    while ahead:
        yield _result(ahead.popleft(), end)


def grade_rows(
    rows: Iterable[dict[str, Any]], preset: str = "default", timeout: float = TIMEOUT
) -> Iterator[tuple[str, str]]:
    """(verdict, reason) of each row's `response` and `gold`, in order."""
    return verdicts(((whole_of(row), as_one(row["gold"])) for row in rows), preset, timeout)


def rewards(
    answers: list[str], golds: list | None, preset: str, values: tuple[float, float]
) -> list[float]:
    """`values` are those of a right and a wrong answer; an unknown one gets NaN."""
    if golds is None:
        raise UserError("the math reward needs the right answers: a column `answer` or `gold`")
    right, wrong = values
    score = {"right": right, "wrong": wrong, "unknown": NAN}
    pairs = zip(answers, map(as_one, golds), strict=True)
    found = list(verdicts(pairs, preset, limit=LIMIT))
    if reasons := Counter(each.reason for each in found if each.verdict == "unknown"):
        listed = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))
        LOG.warning("unknown verdicts, %d of %d: %s", reasons.total(), len(found), listed)
    return [score[each.verdict] for each in found]


class _Pending(NamedTuple):
    answer: Future[bool | str]


def _result(found: Verdict | _Pending, end: float | None = None) -> Verdict:
    if isinstance(found, Verdict):
        return found
    try:
        answer = found.answer.result(None if end is None else max(0.0, end - time.monotonic()))
    except TimeoutError:
        found.answer.cancel()
        return Verdict("unknown", "too many slow comparisons before it")
    if isinstance(answer, str):
        return Verdict("unknown", answer)
    return Verdict("right" if answer else "wrong", "math-verify")


def _judge(response: str, gold: Any, preset: str, workers: Workers) -> Verdict | _Pending:
    if preset not in PRESETS:
        raise UserError(f"there is no preset {preset!r} for math; choose {', '.join(PRESETS)}")
    if isinstance(gold := _text_of(gold), Verdict):
        return gold
    if not gold.strip():
        return Verdict("unknown", "the gold is empty")
    if spoken(response) is None:
        return Verdict("wrong", "the thought does not end")
    if preset == "math-verify":
        return _Pending(workers.ask(gold, response, whole=True))
    if preset != "default":
        right, reason = (dapo_right if preset == "dapo" else boxed_right)(response, gold)
        return Verdict("right" if right else "wrong", reason)
    said = extract(response)
    if said is None:
        return Verdict("wrong", "no answer")
    if len(said) > max(LONGEST, 2 * len(gold)):
        return Verdict("wrong", "too long for an answer")
    gold = _gold(gold)
    if says_another(gold, said):
        return Verdict("wrong", "words before it make another value")
    if (ours := senses(gold)) and (theirs := senses(said)) and ours != theirs:
        return Verdict("wrong", "another direction")
    if apart(gold, said):
        return Verdict("wrong", "another angle, derivative or function")
    gold, said = with_one_letter(gold, said)
    if (alike := same_quantities(gold, said)) is not None:
        return _of_values(alike)
    if "=" in gold and "=" in said and (found := _compare_equations(gold, said)):
        return found
    if normalise(gold).casefold() in TRUTHS:
        said = in_one_word(said)
    said = with_one_word(gold, without_name(gold, said))
    return _compare(normalise(gold), normalise(said), workers)


def _text_of(gold: Any) -> str | Verdict:
    """A gold as text, or why it is none."""
    try:
        return written_out(gold)
    except ValueError as error:
        return Verdict("unknown", str(error))


def _compare(gold: str, said: str, workers: Workers) -> Verdict | _Pending:
    if gold == said:
        return Verdict("right", "the same text")
    if not said:
        return Verdict("wrong", "no answer")
    if not gold:
        return Verdict("unknown", "the gold is empty")
    if _depth(gold) > DEPTH:
        return Verdict("unknown", "the gold's brackets are nested too deep")
    if _depth(said) > DEPTH:
        return Verdict("wrong", "brackets nested too deep for an answer")
    try:
        said = ("=" in said and last_side(gold, said, same)) or said
        answer = same(gold, said)
    except RecursionError:
        return Verdict("wrong", "nested too deep for an answer")
    whole = answer is None and "." not in said and UNREAD.search(said)
    if whole and UNREAD.sub("", said) == gold:
        return Verdict("wrong", "goes on after the gold")  # math-verify leaves that out
    if answer is None:
        return _Pending(workers.ask(without_builder(gold), without_builder(said)))
    return _of_values(answer)


def _of_values(alike: bool) -> Verdict:
    return Verdict("right", "the same value") if alike else Verdict("wrong", "another value")


def _compare_equations(gold: str, said: str) -> Verdict | None:
    """A gold that is an equation, x = 3, is not answered by another one, y = 3."""
    a, b = named(gold), named(said)
    if max(_depth(a), _depth(b)) > DEPTH:
        return None
    answer = same_named(a, b, same)
    if answer is None:
        return None
    return Verdict("right" if answer else "wrong", "the same equation" if answer else "another one")


def _depth(text: str) -> int:
    deepest = depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


@functools.lru_cache(maxsize=8192)
def _gold(gold: str) -> str:
    """A gold may be a whole solution: then its answer counts."""
    marked = "\\boxed" in gold or "\\fbox" in gold or "####" in gold
    return (extract(gold) if marked else None) or gold
