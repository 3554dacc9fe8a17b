"""Distinct-n and self-BLEU on hand-computed texts."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import permutations

import pytest

from evenflow.evaluation.diversity.texts import distinct_n, grams, self_bleu, tokens


def test_tokens():
    assert tokens("It's 3.5, no?") == ["it's", "3", ".", "5", ",", "no", "?"]
    assert tokens("x+y≠x*y") == ["x", "+", "y", "≠", "x", "*", "y"]
    assert tokens("答案是42。") == ["答", "案", "是", "42", "。"]
    assert tokens("Ответ ёж") == ["ответ", "ёж"]
    assert tokens(" \n\t") == []


def test_distinct_n_on_paper():
    """a b a | a c: 3 of 5 words and 3 of 3 pairs differ; ab ba | ab ba: 2 of 4 pairs."""
    assert distinct_n(["a b a", "a c"], 1) == pytest.approx(3 / 5)
    assert distinct_n(["a b a", "a c"], 2) == 1.0
    assert distinct_n(["a b a", "a b a"], 2) == pytest.approx(2 / 4)
    assert distinct_n(["a", "b"], 1) == 1.0
    assert math.isnan(distinct_n(["a", "b"], 2))
    assert math.isnan(distinct_n([""], 1))
    assert math.isnan(distinct_n([], 1))


@pytest.mark.parametrize("copies", [1, 2, 16])
def test_copies_have_the_least_distinct_n(copies):
    assert distinct_n(["a b c d"] * copies, 1) == pytest.approx(1 / copies)
    assert distinct_n(["a b c d"] * copies, 2) == pytest.approx(1 / copies)


def test_pairs_do_not_cross_from_one_answer_to_the_next():
    assert distinct_n(["a b", "a b"], 2) == 0.5  # with a b|b a|a b it would be 2/3


def test_self_bleu_on_paper():
    """a b c d | a b c e: p = 3/4, 2/3, 1/2, and 0.1 of 1, of equal length; both the same."""
    expected = (3 / 4 * 2 / 3 * 1 / 2 * 0.1) ** (1 / 4)
    assert self_bleu(["a b c d", "a b c e"]) == pytest.approx(expected)


def test_self_bleu_of_unequal_lengths():
    """a b against a b c d: p = 1, 1, two orders, e^{1 − 4/2}. The other way: p = 2/4, 1/3, 0.1/2,
    0.1/1, no penalty."""
    short = math.exp(-1)
    long = (2 / 4 * 1 / 3 * 0.1 / 2 * 0.1) ** (1 / 4)
    assert self_bleu(["a b", "a b c d"]) == pytest.approx((short + long) / 2)


def test_self_bleu_counts_a_word_no_more_often_than_a_reference():
    """a a a against a b: p = 1/3, 0.1/2, 0.1/1. a b against a a a: p = 1/2, 0.1/1, e^{1 − 3/2}."""
    first = (1 / 3 * 0.1 / 2 * 0.1) ** (1 / 3)
    second = (1 / 2 * 0.1) ** (1 / 2) * math.exp(-0.5)
    assert self_bleu(["a a a", "a b"]) == pytest.approx((first + second) / 2)


@pytest.mark.parametrize("text", ["", "a", "a b c", "a b c d e a b", "x=3, y=½·π", "答案"])
def test_copies_have_self_bleu_1(text):
    assert self_bleu([text] * 5) == pytest.approx(1.0)


def test_self_bleu_of_nothing_in_common_and_of_too_few():
    assert self_bleu(["a b c d", "e f g h"]) == pytest.approx(
        (0.1 / 4 * 0.1 / 3 * 0.1 / 2 * 0.1) ** (1 / 4)
    )
    assert self_bleu(["", "a"]) == pytest.approx((0 + 0.1) / 2)
    assert math.isnan(self_bleu(["a"]))
    assert math.isnan(self_bleu([]))


def directly(texts: list[str]) -> float:
    """BLEU by its definition, one text after the other, each with all others as references."""
    words = [text.split() for text in texts]
    total = 0.0
    for i, own in enumerate(words):
        others = words[:i] + words[i + 1 :]
        log = 0.0
        for n in range(1, 5):
            counts = Counter(grams(own, n))
            best = {g: max(Counter(grams(o, n))[g] for o in others) for g in counts}
            found = sum(min(count, best[g]) for g, count in counts.items())
            log += math.log((found or 0.1) / counts.total()) / 4
        nearest = min((abs(len(o) - len(own)), len(o)) for o in others)[1]
        total += min(1.0, math.exp(1 - nearest / len(own))) * math.exp(log)
    return total / len(words)


def test_self_bleu_is_bleu_against_all_others():
    draw = random.Random(0)
    for _ in range(40):
        texts = [
            " ".join(draw.choices("abcd", k=draw.randint(4, 12))) for _ in range(draw.randint(2, 6))
        ]
        assert self_bleu(texts) == pytest.approx(directly(texts), abs=1e-12)


def test_the_order_of_the_answers_is_nothing():
    for measure in (self_bleu, lambda texts: distinct_n(texts, 2)):
        orders = permutations(["a b c", "a b d d", "b", ""])
        assert len({round(measure(order), 12) for order in orders}) == 1
