"""Numbers in words."""

from __future__ import annotations

import pytest

from evenflow.rewards.math.numerals import in_figures


@pytest.mark.parametrize(
    ("words", "figures"),
    [
        ("zero", "0"),
        ("Twenty-one", "21"),
        ("ninety nine", "99"),
        ("a hundred", "100"),
        ("two hundred and five", "205"),
        ("three thousand four hundred twelve", "3412"),
        ("one million and one", "1000001"),
        ("twelve hundred", None),  # said, but seldom as an answer
        ("half", r"\frac{1}{2}"),
        ("one-half", r"\frac{1}{2}"),
        ("seven eighths", r"\frac{7}{8}"),
        ("twenty-one hundredths", r"\frac{21}{100}"),
    ],
)
def test_values(words: str, figures: str | None) -> None:
    assert in_figures(words) == figures


@pytest.mark.parametrize(
    "words",
    ["", "yes", "two seventy", "five six", "twenty zero", "and five", "five and", "hundred", "x",
     "a", "an", "million", "one or two", "twenty twenty", "third", "no third"],
)  # fmt: skip
def test_what_is_no_number(words: str) -> None:
    assert in_figures(words) is None
