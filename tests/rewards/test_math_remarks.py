r"""What stands beside an answer: remarks in brackets, sentences around it, tokens behind it."""

from __future__ import annotations

from fractions import Fraction

import pytest

from evenflow.rewards.math import verdict
from evenflow.rewards.math.final_number import final_number
from evenflow.rewards.math.remarks import without_remark


@pytest.mark.parametrize(
    ("said", "value"),
    [
        # the same value once more, or words
        ("12 (60/5)", "12"),
        ("40 (20 + 20).", "40"),
        ("1/2 (0.5)", "1/2"),
        (r"$\frac{1}{2}$ (0.5)", r"$\frac{1}{2}$"),
        (r"72\ (48+24)", "72"),
        ("18 (= 9 × 2)", "18"),
        ("0.25 (25%)", "0.25"),
        ("5 (five)", "5"),
        ("5 (2+3) apples", "5 apples"),
        ("160 minutes (2 hours 40 minutes)", "160 minutes"),
        ("3600 (1 hour)", "3600"),
        ("$42$ (not $43$)", "$42$"),
        # a decimal is an approximation
        ("2/3 (0.67)", r"2/3 \approx 0.67"),
        # products, conditions, residues, bases, large numbers, other values, points
        *[(text, text) for text in ("2 (3+4)", "12 (13)", "2(4)", "3 (mod 7)", "1011 (base 2)")],
        *[(text, text) for text in ("5 (or 6)", "5 (at most)", "5 (not possible)", "5 (million)")],
        *[
            (text, text)
            for text in ("x (2)", "x (x > 0)", "(1,2) (3,4)", "f(2)", "(5)", "5 ()", "")
        ],
        *[(text, text) for text in ("5) (2+3)", "5 (2+3", "12 (" * 9, "5 (less than 6)")],
    ],
)
def test_without_remark(said: str, value: str) -> None:
    assert without_remark(said) == value


RIGHT = {
    "The answer is 12 (60/5).": "12",
    "**Answer:** 40 (20 + 20)": "40",
    r"\boxed{\frac{1}{2} (0.5)}": "0.5",
    r"\boxed{72\ (48+24)}": "72",
    r"Answer: $12$ ($3 \times 4$)": "12",
    r"\boxed{2 (3+4)}": "14",
    "**Final Answer:** The value is **42**.": "42",
    "**Final Answer**\n\nThe total is **42** dollars.": "42",
    "**Final Answer:** The sum of all such $n$ is $42$.": "42",
    "**Final Answer:** After 3 weeks, John will have $12$ apples.": "12",
    "Answer: the numbers are **3** and **5**.": "3, 5",
    "The answer is the interval $(1,2)$.": "(1,2)",
    "The value of the answer is: $x=5$ or $x=6$": "5, 6",
    "The answer is \\boxed{42}.\n\n```python\nprint('\\\\boxed{43}')\n```": "42",
    "```\n\\boxed{5}\n```": "5",
    "Earlier \\boxed{4}.\n```latex\n\\boxed{5}\n```": "5",
    "#### 42<|endoftext|>": "42",
    "The answer is 42.</s>": "42",
    "\\boxed{42}<|im_end|>\n<|endoftext|>": "42",
}
WRONG = {
    "The answer is 12 (60/5).": "144",
    "**Answer:** 40 (20 + 20)": "1600",
    "Answer: 1/2 (0.5)": "0.25",
    "The answer is not **5** but **6**.": "5",
    "The answer is less than $5$.": "5",
    "The answer is either $5$ or $6$.": "5",
    "The final answer is that the total is **12** or 13.": "12",
    "Answer: the numbers are **3** and **5**.": "5",
}


@pytest.mark.parametrize(("response", "gold"), RIGHT.items())
def test_right(response: str, gold: str) -> None:
    assert verdict(response, gold).verdict == "right"


@pytest.mark.parametrize(("response", "gold"), WRONG.items())
def test_wrong(response: str, gold: str) -> None:
    assert verdict(response, gold).verdict == "wrong"


@pytest.mark.parametrize(
    ("response", "number"),
    {
        "#### 12 (60/5)": "12",
        "Answer: 72 (48 + 24)": "72",
        "Answer: 1/2 (50%)": "1/2",
        "**Final Answer**: After 3 weeks, John will have **12** apples.": "12",
        "**Final Answer**: After 3 weeks, John will have $12$ apples.": "12",
        "The answer is that in 5 years he will be 12 years old.": "12",
        "Answer: In April she sold 48 and in May 24, for a total of 72.": "72",
        "Answer: In 5 days she sells 60": "60",
        "The answer is John has 12 apples in 3 boxes": "12",
        "The answer is a total of 72 apples in 3 boxes": "72",
        "The answer is 5 apples in 3 boxes": "5",
        "The answer is 3 × 4 → 12": "12",
        "#### 42<|endoftext|>": "42",
    }.items(),
)
def test_final_number(response: str, number: str) -> None:
    assert final_number(response) == Fraction(number)
