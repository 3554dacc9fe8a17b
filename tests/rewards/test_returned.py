"""What a reward function may return, and what not."""

import logging
from decimal import Decimal
from fractions import Fraction

import pytest
from tests.rewards.scoring import same, score

from evenflow.errors import UserError


def test_arrays_and_their_scalars_are_taken():
    numpy = pytest.importorskip("numpy")
    array = numpy.array([1.0, 0.5], dtype="float32")
    same(score(("f", lambda completions: array, 1.0)).total, [1.0, 0.5])
    same(score(("f", lambda completions: list(array), 1.0)).total, [1.0, 0.5])


def test_every_kind_of_number_is_taken():
    numpy, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    for one, half in [
        (Fraction(1), Fraction(1, 2)),
        (Decimal(1), Decimal("0.5")),
        (numpy.float16(1), numpy.array(0.5)),
        (numpy.bool_(True), numpy.float64(0.5)),
        (torch.tensor(1), torch.tensor(0.5, dtype=torch.bfloat16)),
        (True, torch.tensor(0.5, requires_grad=True)),
    ]:
        same(score(("f", lambda completions, v=(one, half): list(v), 1.0)).total, [1.0, 0.5])


@pytest.mark.parametrize(
    "value",
    [10**400, -(10**400), 10**5000, Fraction(10**400), Decimal("sNaN"), Decimal("-Infinity")],
    ids=["huge", "negative", "unprintable", "fraction", "decimal NaN", "decimal infinity"],
)
def test_a_number_that_no_float_holds_is_unknown(value, caplog):
    with caplog.at_level(logging.WARNING):
        result = score(("f", lambda completions: [value, 1.0], 1.0))
    same(result.total, [None, 1.0])
    assert "for answer 1 of 2; such values, 1 in this call, count as unknown" in caplog.text


@pytest.mark.parametrize("weight", [1.0, -1.0])
def test_what_float32_cannot_compute_with_is_unknown(weight, caplog):
    """Its square, or the sum of a batch, would be infinite."""
    with caplog.at_level(logging.WARNING):
        result = score(("f", lambda completions: [1e300, 1e18], weight))
    same(result.total, [None, weight * 1e18])
    assert "the reward 'f' gave 1e+300 for answer 1 of 2" in caplog.text


class Hostile:
    """Nothing can be asked of it."""

    def tolist(self):
        raise ZeroDivisionError

    __repr__ = __len__ = __iter__ = tolist


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1.0], "'f' returned 1 values for 2 answers"),
        ([1.0, 2.0, 3.0], "'f' returned 3 values for 2 answers"),
        (None, "'f' must return a list with one number an answer, not NoneType"),
        (1.0, "'f' must return a list with one number an answer, not float"),
        (
            [1.0, "0.5"],
            r"'f' returned '0.5' \(str\) for answer 2 of 2; it must be a number or None",
        ),
        ([[1.0], [1.0]], r"'f' returned \[1.0\] \(list\) for answer 1 of 2"),
        ([1j, 0], r"'f' returned 1j \(complex\) for answer 1 of 2"),
        ([[10**5000], 0], r"'f' returned something \(list\) for answer 1 of 2"),
        ((x for x in [1.0, 2.0]), "must return a list .*, not generator"),
        ({0: 1.0, 1: 2.0}, "must return a list .*, not dict"),
        ("12", "must return a list .*, not str"),
        (Hostile(), "what the reward 'f' returned cannot be read: ZeroDivisionError"),
        ([Hostile(), 1.0], r"'f' returned something \(Hostile\) for answer 1 of 2"),
    ],
)
def test_wrong_returns_are_refused(returned, message):
    with pytest.raises(UserError, match=message):
        score(("f", lambda completions: returned, 1.0))
