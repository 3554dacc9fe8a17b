"""Codeforces ratings with every number worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evenflow.errors import UserError
from evenflow.evaluation.benchmarks.rating import (
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
        ("2", "Z"): ["right", "right", "right"],  # an index that the contest does not have
        ("3", "Z"): ["right", "right"],  # and one in a contest without any other
        ("9", "A"): ["right", "right"],
    }
    found = rate(contests, tries, [1000.0, 1400.0, 1500.1, 3000.0])
    assert found["rating"] == pytest.approx((1500 + 1500) / 2)
    assert found["percentile"] == 50.0
    assert (found["contests"], found["problems"], found["problems_tried"]) == (2, 4, 2)
    assert found["tries"] == 2
    assert found["problems_unknown"] == 0
    assert "percentile" not in rate(contests, tries, None)
    for nobody in (("8", "A"), ("1", "Z")):
        with pytest.raises(UserError, match="none of the problems"):
            rate(contests, {nobody: ["right"]}, None)


def test_problems_of_which_nothing_is_known_are_counted() -> None:
    tries = {("1", "A"): ["wrong", "right"], ("1", "B"): ["unknown", "unknown"]}
    found = rate({"1": CONTEST}, tries, None)
    assert (found["problems_tried"], found["problems_unknown"]) == (2, 1)
    assert found["rating"] == pytest.approx(1500)  # as if B had failed
    tries["1", "B"] = ["unknown", "wrong"]
    assert rate({"1": CONTEST}, tries, None)["problems_unknown"] == 0


def test_percentile() -> None:
    assert percentile(1500, [1000, 1500, 2000, 2500]) == 25.0


CONTEST_TEXT = '{"1": {"problems": {"A": %s}, "participants": [{"rating": %s, "points": %s}]}}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "must hold a JSON dict"),
        ("{", "is not JSON"),
        ('{"1": {"problems": {"A": 500}}}', "participants"),
        ('{"1": {"problems": {"A": 500}, "participants": []}}', "no participants"),
        ('{"1": {"problems": {"A": 500}, "participants": [{"rating": 3}]}}', "points"),
        (CONTEST_TEXT % ("500", "-4e8", "3"), r"the rating -400000000.0 is beyond ±10000"),
        (CONTEST_TEXT % ("500", "NaN", "3"), "nan is no finite number"),
        (CONTEST_TEXT % ("500", "3", "Infinity"), "inf is no finite number"),
        (CONTEST_TEXT % ("NaN", "3", "3"), "nan is no finite number"),
        (CONTEST_TEXT % ("1" + 400 * "0", "3", "3"), "too large"),
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
    for bad in ('[1000, "x"]', "[NaN]", "[null]", f"[1{400 * '0'}]", "[1e9]"):
        (tmp_path / "u.json").write_text(bad)
        with pytest.raises(UserError, match="list of numbers"):
            read_users(str(tmp_path / "u.json"))
    (tmp_path / "u.json").write_text("[]")
    with pytest.raises(UserError, match="has no ratings"):
        read_users(str(tmp_path / "u.json"))
