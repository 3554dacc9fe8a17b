"""Codeforces ratings with every number worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowbalance.errors import UserError
from flowbalance.evaluation.benchmarks.rating import (
    BOUNDS,
    Contest,
    contest_rating,
    expected_rank,
    percentile,
    rate,
    rating_of,
    read_contests,
    read_users,
    score_of,
)


def test_scores() -> None:
    assert score_of(500, ["right", "wrong"]) == 500
    assert score_of(500, ["wrong", "wrong", "right"]) == 400
    assert score_of(500, ["wrong", "unknown", "right"]) == 450  # nobody knows the second
    assert score_of(500, ["wrong"] * 16) == 0
    assert score_of(100, ["wrong"] * 3 + ["right"]) == 0  # never below 0


def test_ranks_and_ratings() -> None:
    assert expected_rank(1500, [1500, 1500]) == pytest.approx(2)
    assert rating_of(2, [1500, 1500]) == pytest.approx(1500)
    # Odds of 1 : 10 against one opponent are 400 points.
    assert rating_of(1 + 1 / 11, [1500]) == pytest.approx(1900)
    assert rating_of(1 + 10 / 11, [1500]) == pytest.approx(1100)
    assert rating_of(1, [1500]) == pytest.approx(BOUNDS[1])
    assert rating_of(2, [1500]) == pytest.approx(BOUNDS[0])


CONTEST = Contest({"A": 500, "B": 1000}, [(1400, 400), (1600, 500)])


def test_a_contest() -> None:
    # 500 − 50 = 450 points: behind one of two, and 1500 lies in the middle of them.
    tries = {"A": ["wrong", "right"], "B": ["wrong", "wrong"]}
    assert contest_rating(CONTEST, tries) == pytest.approx(1500)


def test_who_has_as_many_points_is_not_before_us() -> None:
    tied = Contest({"A": 500}, [(1400, 500), (1600, 700)])
    assert contest_rating(tied, {"A": ["right"]}) == pytest.approx(1500)  # second of three


def test_the_mean_over_contests_with_what_was_tried() -> None:
    alone = Contest({"A": 500, "B": 500}, [(1500, 0), (1500, 700)])
    contests = {"1": CONTEST, "2": alone, "3": CONTEST}
    tries = {
        ("1", "A"): ["wrong", "right"],
        ("2", "A"): ["right", "right"],  # 500 points: behind one of two equals
        ("9", "A"): ["right", "right"],
    }
    found = rate(contests, tries, [1000.0, 1400.0, 1500.1, 3000.0])
    assert found["rating"] == pytest.approx((1500 + 1500) / 2)
    assert found["percentile"] == 50.0
    assert (found["contests"], found["problems"], found["problems_tried"]) == (2, 4, 2)
    assert found["tries"] == 2
    assert "percentile" not in rate(contests, tries, None)
    with pytest.raises(UserError, match="none of the contests"):
        rate(contests, {("8", "A"): ["right"]}, None)


def test_percentile() -> None:
    assert percentile(1500, [1000, 1500, 2000, 2500]) == 25.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "must hold a JSON dict"),
        ("{", "cannot read"),
        ('{"1": {"problems": {"A": 500}}}', "participants"),
        ('{"1": {"problems": {"A": 500}, "participants": []}}', "no participants"),
        ('{"1": {"problems": {"A": 500}, "participants": [{"rating": 3}]}}', "points"),
    ],
)
def test_files_that_cannot_be_used(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(UserError, match=says):
        read_contests(str(tmp_path / "c.json"))


def test_files(tmp_path: Path) -> None:
    people = [{"rating": 1400, "points": 400}, {"rating": 1600, "points": 500}]
    value = {"1": {"problems": {"A": 500, "B": 1000}, "participants": people}}
    (tmp_path / "c.json").write_text(json.dumps(value))
    assert read_contests(str(tmp_path / "c.json")) == {"1": CONTEST}
    (tmp_path / "u.json").write_text("[1000, 1500.5]")
    assert read_users(str(tmp_path / "u.json")) == [1000.0, 1500.5]
    (tmp_path / "u.json").write_text('[1000, "x"]')
    with pytest.raises(UserError, match="list of numbers"):
        read_users(str(tmp_path / "u.json"))
