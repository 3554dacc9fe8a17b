"""Equations: chains, one name solved for, points that tell apart."""

from __future__ import annotations

from fractions import Fraction

import pytest

from evenflow.rewards.math.clauses import same_with_clauses, with_clause
from evenflow.rewards.math.equality import same
from evenflow.rewards.math.equations import shortened
from evenflow.rewards.math.systems import same_equations
from evenflow.rewards.math.values import points


@pytest.mark.parametrize(
    ("gold", "said", "answer"),
    [
        ("x|y|z", "z|x|y", True),
        ("x|y|z", "x|y", False),
        ("x|y", "x|y|z", False),
        ("x|y|z", "x|z|z", False),  # the same sides, but not the same equations
        ("x+y|1", "2x+2y|2", True),
        ("x+y|1", "x+y|2", False),
        ("xy|1", "y|1/x", True),
        ("xy|x", "y|1", False),  # where x is 0 any y solves the first
        ("x^2+y^2|1", "y|\\sqrt{1-x^2}", False),  # half of the circle
        ("y|x^3", "x|\\sqrt[3]{y}", False),  # the same, but not linear in a common name
        ("x|x", "y|y", None),
        ("x|\\foo", "x|1", None),
        ("|".join("abcdefg"), "|".join("abcdefg"), None),  # longer than is read
    ],
)
def test_solutions(gold: str, said: str, answer: bool | None) -> None:
    assert same_equations(gold.split("|"), said.split("|")) is answer


def test_a_chain_is_shortened_by_what_is_one_value() -> None:
    assert shortened(["x", "2+3", "5"]) == ["x", "5"]
    assert shortened(["x", r"\frac{1}{3}", "0.33"]) == ["x", r"\frac{1}{3}"]
    assert shortened(["x", "y", "5"]) == ["x", "y", "5"]
    assert shortened(["2+3", "5"]) == ["2+3", "5"]


def test_points_are_far_and_near_of_both_signs_alike_each_time() -> None:
    found = points(("a", "b"))
    assert found == points(("a", "b"))
    for name in "ab":
        values = [point[name] for point in found]
        assert min(values) < -30 < 30 < max(values)
    assert {(point["a"] > 0, point["b"] > 0) for point in found} == {
        (True, True), (True, False), (False, True), (False, False),
    }  # fmt: skip
    whole = [point for point in found if all(value.denominator == 1 for value in point.values())]
    assert len(whole) >= 2
    assert all(isinstance(value, Fraction) for point in found for value in point.values())


@pytest.mark.parametrize(
    ("text", "value", "clause"),
    [
        (r"x=k\pi, k\in\mathbb{Z}", r"x=k\pi", "k:Z"),
        (r"x=k\pi (k \in \mathbf{Z})", r"x=k\pi", "k:Z"),
        ("2n-1, n is a positive integer", "2n-1", "n:N"),
        (r"\frac{x}{x+1}, x \neq -1", r"\frac{x}{x+1}", r"x\neq-1"),
        ("cx for some constant c", "cx", "c:R"),
        (r"x>1, x\neq 2", r"x>1, x\neq 2", ""),  # the conditions are the answer
        (r"5, x\neq 2", r"5, x\neq 2", ""),  # of a name that is not in it
        ("f(2)", "f(2)", ""),
        ("(1,2)", "(1,2)", ""),
    ],
)
def test_clauses(text: str, value: str, clause: str) -> None:
    assert with_clause(text) == (value, clause)


@pytest.mark.parametrize(
    ("gold", "said", "answer"),
    [
        (r"k\pi\where{k:Z}", r"n\pi\where{n:Z}", True),
        (r"k\pi\where{k:Z}", r"3\pi-n\pi\where{n:Z}", True),
        (r"k\pi\where{k:Z}", r"2n\pi\where{n:Z}", False),
        (r"k\pi\where{k:Z}", r"k\pi+1\where{k:Z}", False),
        (r"k\pi\where{k:N}", r"k\pi+\pi\where{k:N}", False),  # begins one later
        (r"k\pi\where{k:Z}", r"k\pi\where{k:N}", False),
        (r"k\pi\where{k:N}", r"k\pi\where{k:Z}", False),
        (r"k\pi\where{k:Z}", r"k\pi", True),
        (r"\frac{1}{x}\where{x\neq0}", r"\frac{1}{x}\where{x>0}", False),
        (r"\frac{1}{x}", r"\frac{1}{x}\where{x\neq0}", True),
        (r"\frac{1}{x}", r"\frac{2}{x}\where{x\neq0}", False),
    ],
)
def test_families_of_values(gold: str, said: str, answer: bool) -> None:
    assert bool(same_with_clauses(gold, said, same)) is answer
