"""The number that an answer ends up with, and GSM8K's own solutions as the oracle."""

from fractions import Fraction
from pathlib import Path

import pytest

from evenflow.data import load_rows
from evenflow.rewards.math import final_number, gsm8k

GSM8K = Path(__file__).parents[3] / "shared" / "data" / "gsm8k_train.jsonl"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("48/2 = 24\n#### 72", 72),
        ("#### 5\nWait.\n#### 6 apples", 6),
        (r"so \boxed{4}. No: \boxed{5}", 5),
        (r"\boxed{\frac{1}{2}}", Fraction(1, 2)),
        (r"\boxed{x = -\dfrac{3}{4}}", Fraction(-3, 4)),
        ("#### 7, and \\boxed{8}", 8),
        ("#### Conclusion\nThe answer is 7.", 7),
        ("#### Step 1\n3 + 4\n#### 18", 18),
        ("#### 3 + 4 = 7", 7),
        ("#### 4 or 5", None),
        ("The answer is not 5.", None),
        ("The answer is not 5, but 6.", 6),
        ("The answer is 5, not 6.", 5),
        ("Answer: neither 5 nor 6", None),
        ('{"answer": "5 apples"}', 5),
        ('{"answer": 5} or {"answer": 6}', None),
        ("#### ４２", 42),
        ("The answer is 12 × 5 = 60 apples, 5 each.", 60),
        ("The answer is 12 × 5 = 30 × 2 = 60.", 60),
        ("The answer is 12 × 5.", 60),
        ("The answer is 60 = 12 × 5.", 60),
        ("The answer is about 5.", 5),
        ("The total is ４２", 42),
        (r"\boxed{4} or \boxed{5}", None),
        (r"\boxed{\text{The answer is }5}", 5),
        ("<answer>42</answer> as 6 × 7 is", 42),
        ("<answer>\n\\boxed{42}\n</answer>", 42),
        ("<answer>x = 42</answer>", 42),
        ("<answer>41</answer> No: <answer>42</answer>", 42),
        ("<answer>41</answer> or <answer>42</answer>", None),
        ("<answer></answer> 42", None),
        ("<think><answer>42</answer>", None),
        ("<think><answer>42</answer></think> I give up", None),
        ("<think>9</think> 10 <think> 11", None),
        ("The answer is 12. I had 30 before.", 12),
        ("Answer: $1,234.50", Fraction("1234.5")),
        ("**Answer:** **18**", 18),
        ("answer is 3. Hm, the answer is: 4", 4),
        ("First 3, then 4, so 10 - 3 = 7.", 7),
        ("That is 1,000,000.", 1000000),
        ("1,2,3", 3),
        ("it costs \\$15\\%", 15),
        ("-$5", -5),
        ("the range 5-3", 3),
        ("−8", -8),
        ("3 / 4", Fraction(3, 4)),
        (".5", Fraction(1, 2)),
        ("72.", 72),
        ("072.00", 72),
        ("so it is 1.5e3", 1500),
        ("so it is $1.5E+3.", 1500),
        ("so it is -2e-3", Fraction(-2, 1000)),
        ("1e3 / 4", 250),
        ("so 1.5 x 10^3 dollars", 1500),
        (r"so 1.5\times 10^{3}", 1500),
        ("so 1.5 × 10³", 1500),
        ("so 1.5*10**3", 1500),
        ("so 1.5 × 10^−3", Fraction("0.0015")),
        ("the area is 5²", 5),
        ("2*3", 3),
        ("so **18**.", 18),
        ("*18*", 18),
        ("2e", 2),
        ("flat 5e3b", 3),
        ("3 eggs", 3),
        ("1e999999999", None),
        ("#### 1e999999999", None),
        ("<think>9</think> 10", 10),
        ("thought 9</think>#### 10", 10),
        ("<think>the answer is 9", None),
        ("#### none", None),
        (r"\boxed{", None),
        (r"\boxed{5", None),
        ("no number", None),
        ("", None),
        ("1/0", None),
        ("9" * 5000, None),
    ],
)
def test_final_number(text, number):
    assert final_number(text) == number


def test_scores():
    completions = ["#### 72", "#### 71", [{"role": "assistant", "content": "72.0"}], "none", "72"]
    answers = ["72", 72, 72.0, "72", "unknown"]
    assert gsm8k(completions=completions, answer=answers, hint=[]) == [1.0, 0.0, 1.0, 0.0, None]


def test_a_gold_that_python_writes_with_an_exponent():
    """1e-05 is no 5, and 1e17 no 17."""
    golds = [1e-5, 1e-5, -2.5e-7, 1e17, 1e17, 6.02e23]
    texts = ["0.00001", "5", "-0.00000025", "1" + 17 * "0", "17", "602" + 21 * "0"]
    assert gsm8k(texts, golds) == [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    assert gsm8k(["0", "3"], [-0.0, float("nan")]) == [1.0, None]


def test_a_gold_in_a_list_is_its_value_and_an_object_is_none():
    golds = [["5"], [5], {"a": 5}, [], None, True, float("inf")]
    assert gsm8k(["5"] * 7, golds) == [1.0, 1.0, None, None, None, None, None]


def test_one_third_is_not_its_decimal():
    assert gsm8k(["1/3", "0.333"], ["1/3", "1/3"]) == [1.0, 0.0]


def test_long_answers_take_no_long_time():
    """Linear in the length: an answer of a hundred thousand characters is no trap."""
    for text in (
        "1," * 50_000,
        "-" * 100_000,
        "\\boxed{" * 15_000,
        "1/" * 50_000,
        "\\frac{" * 15_000,
        "5" + "*" * 100_000 + "5",
        "1e" * 50_000,
        "1 x 10 ^ {" * 20_000,
    ):
        final_number(text)


@pytest.mark.skipif(not GSM8K.exists(), reason="the GSM8K file is not at hand")
def test_gsm8k_solutions_are_right_and_only_they():
    rows = load_rows(str(GSM8K))
    solutions = [row["solution"] for row in rows]
    assert gsm8k(solutions, [row["answer"] for row in rows]) == [1.0] * len(rows)
    # The data set's original answer column holds the whole solution.
    assert gsm8k(solutions, solutions) == [1.0] * len(rows)
    shifted = [str(int(row["answer"].replace(",", "")) + 1) for row in rows]
    assert gsm8k(solutions, shifted) == [0.0] * len(rows)
