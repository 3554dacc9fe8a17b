"""A Codeforces rating from tries at past contests, beside the people who took part.

The score in a contest is Σ max(0, points − 50·failed tries before the first right one) over its
problems; the rank is 1 + the number of rated participants with more points; the rating r is that
for which the rank is the expected one, 1 + Σ_i 1/(1 + 10^((r − R_i)/400)) = rank (Elo's odds of
each participant i doing better, as Codeforces computes seeds). The answer is the mean over
contests. It flatters: tries cost no time here, and the number of tries is ours to choose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from scipy.optimize import root_scalar

from evenflow.errors import UserError
from evenflow.inputs import expanded, read_json

PENALTY = 50
"""Points for each failed try before the first right one."""
FARTHEST = 10_000.0
"""Ratings beyond ± this are mistakes: Codeforces' lie between −100 and 4500."""
BOUNDS = (0.0, 5000.0)
"""Between which a rating is sought: to be first, or behind all, has no finite one."""


@dataclass(frozen=True)
class Contest:
    """A past contest."""

    points: Mapping[str, float]
    """What each problem is worth, by its index (A, B, …)."""
    participants: Sequence[tuple[float, float]]
    """(rating, points) of each rated participant."""


def score_of(points: float, verdicts: Sequence[str]) -> float:
    """Points for a problem by the verdicts on tries at it, in order; unknown ones do not count."""
    failed = 0
    for verdict in verdicts:
        if verdict == "right":
            return max(0.0, points - PENALTY * failed)
        failed += verdict == "wrong"
    return 0.0


def expected_rank(rating: float, ratings: Sequence[float]) -> float:
    """The rank to be expected of a rating among others."""
    return 1 + sum(1 / (1 + 10 ** ((rating - other) / 400)) for other in ratings)


def rating_of(rank: float, ratings: Sequence[float]) -> float:
    """The rating of which that rank is expected, within `BOUNDS`."""
    low, high = BOUNDS
    if rank >= expected_rank(low, ratings):
        return low
    if rank <= expected_rank(high, ratings):
        return high
    found = root_scalar(lambda rating: expected_rank(rating, ratings) - rank, bracket=BOUNDS)
    return float(found.root)


def contest_rating(contest: Contest, tries: Mapping[str, Sequence[str]]) -> float:
    """The rating that the tries at a contest's problems (index → verdicts) are worth."""
    score = sum(score_of(points, tries.get(index, ())) for index, points in contest.points.items())
    rank = 1 + sum(points > score for _, points in contest.participants)
    return rating_of(rank, [rating for rating, _ in contest.participants])


def percentile(rating: float, ratings: Sequence[float]) -> float:
    """The share of users, in percent, whose rating is lower."""
    return 100 * sum(other < rating for other in ratings) / len(ratings)


def rate(
    contests: Mapping[str, Contest],
    tries: Mapping[tuple[str, str], Sequence[str]],
    users: Sequence[float] | None,
) -> dict[str, Any]:
    """The mean rating over the contests that were tried; `tries`: (contest, index) → verdicts.

    A problem of a contest that was not tried, or of whose tries nothing is known, counts as not
    solved; `problems_unknown` says how many are of the second kind.
    """
    asked = {
        (contest, index): verdicts
        for (contest, index), verdicts in tries.items()
        if contest in contests and index in contests[contest].points
    }
    tried = sorted({contest for contest, _ in asked})
    if not tried:
        raise UserError("contest_ratings: has none of the problems of these questions")
    by_contest = {
        name: {index: verdicts for (contest, index), verdicts in asked.items() if contest == name}
        for name in tried
    }
    ratings = [contest_rating(contests[name], by_contest[name]) for name in tried]
    problems = sum(len(contests[name].points) for name in tried)
    found: dict[str, Any] = {
        "rating": fmean(ratings),
        "contests": len(tried),
        "problems": problems,
        "problems_tried": len(asked),
        "problems_unknown": sum(set(verdicts) == {"unknown"} for verdicts in asked.values()),
        "tries": max(len(verdicts) for verdicts in asked.values()),
    }
    if users is not None:
        found["percentile"] = percentile(found["rating"], users)
    return found


def read_contests(path: str) -> dict[str, Contest]:
    """Contests by id: {"1": {"problems": {"A": 500, …}, "participants": [{"rating": 1500,
    "points": 980}, …]}, …}. UserError names what is missing."""
    contests = {}
    for name, value in _read(path, dict, "contest_ratings").items():
        try:
            people = [(_rating(p["rating"]), _number(p["points"])) for p in value["participants"]]
            contests[name] = Contest({i: _number(p) for i, p in value["problems"].items()}, people)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(
                f"contest_ratings: {path}, contest {name}: needs `problems` (index → points) and "
                f"`participants` (a list of rating and points each): {error!r}"
            ) from None
        if not people:
            raise UserError(f"contest_ratings: {path}, contest {name}: has no participants")
    return contests


def read_users(path: str) -> list[float]:
    """All users' ratings: a JSON list of numbers."""
    values = _read(path, list, "user_ratings")
    try:
        ratings = [_rating(value) for value in values]
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"user_ratings: {path}: must be a list of numbers: {error}") from None
    if not ratings:
        raise UserError(f"user_ratings: {path}: has no ratings")
    return ratings


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is no finite number")
    return number


def _rating(value: Any) -> float:
    rating = _number(value)
    if abs(rating) > FARTHEST:
        raise ValueError(f"the rating {value!r} is beyond ±{FARTHEST:g}")
    return rating


def _read(path: str, kind: type, field: str) -> Any:
    try:
        value = read_json(expanded(path))
    except UserError as error:
        raise UserError(f"{field}: {error}") from None
    if not isinstance(value, kind):
        raise UserError(f"{field}: {path} must hold a JSON {kind.__name__}")
    return value
