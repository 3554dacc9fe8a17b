"""How texts are cut into words, and word-pair diversity on hand-computed ones."""

from __future__ import annotations

import math
from itertools import permutations

import pytest

from evenflow.evaluation.diversity import bigram_diversity as diversity
from evenflow.evaluation.diversity.texts import tokens


def test_tokens():
    assert tokens("It's 3.5, no?") == ["it's", "3", ".", "5", ",", "no", "?"]
    assert tokens("x+y≠x*y") == ["x", "+", "y", "≠", "x", "*", "y"]
    assert tokens("答案是42。") == ["答", "案", "是", "42", "。"]
    assert tokens("Ответ ёж") == ["ответ", "ёж"]
    assert tokens(" \n\t") == []


def test_diversity_on_paper():
    """ab bc | ab bd: 1 − 1/3. With a third, disjoint one: mean of 2/3, 1, 1."""
    assert diversity(["a b c", "a b d"]) == pytest.approx(2 / 3)
    assert diversity(["a b c", "A b, d", "x y"]) == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert diversity(["a b c"] * 3) == 0.0
    assert diversity(["", ""]) == 0.0
    assert math.isnan(diversity(["a b c"]))


def test_diversity_ignores_order():
    orders = permutations(["a b c", "a b d", "b c d"])
    assert len({round(diversity(order), 12) for order in orders}) == 1


def test_answers_of_one_word():
    assert diversity(["yes", "no", "maybe"]) == 1.0
    assert diversity(["12", "12"]) == 0.0
    assert diversity(["yes", "yes it is"]) == 1.0


def test_chinese_is_compared_by_characters():
    """先算 算和 | 先算 算差: 1 − 1/3; a clause is not one word."""
    assert diversity(["先算和。", "先算差。"]) == pytest.approx(2 / 3)
