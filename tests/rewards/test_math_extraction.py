"""Where a response states its answer."""

import time

import pytest

from flowbalance.rewards.math import extract


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{4}. Wait, no. \boxed{5}", "5"),
        (r"so \boxed{4}. Wait, no. \boxed{5", None),
        (r"<think>\boxed{4}</think> It is \fbox{5}.", "5"),
        (r"<think>\boxed{4}</think> I have given up", None),
        (r"<think>so \boxed{4}", None),
        (r"a</think>\boxed{1} b</think>\boxed{2}", "2"),
        (r"\boxed{\frac{1}{\sqrt{2}}} is it", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        (r"$\boxed 5$", "5"),
        (r"\boxed{}", None),
        ("4 + 4 = 8\n#### 8\n", "8"),
        ("#### 8\n#### 9", "9"),
        ("Answer: 8", "8"),
        ("**Answer:** 8", "8"),
        ("**Answer**: $8$", "8"),
        ("Answer:\n\n8", "8"),
        ("### Final answer\n8", "8"),
        ("Answer: 7\nAnswer: 8 because 2 + 6.", "8"),
        ("The answer is 8. I checked it twice.", "8"),
        ("The final answer is $8$. I hope it is correct.", "$8$"),
        ("The answer is 3.5.", "3.5"),
        ("The answer is\n$$\\frac{1}{2}.$$", r"\frac{1}{2}."),
        ("The answer is 1.\n\nNo: the answer is 2.", "2"),
        ("The answer is $a$ or $b$.", "$a$ or $b$"),
        (r"Hence $a = 3$ and thus $x = 8$.", "x = 8"),
        (r"Hence \[x = 8.\]", "x = 8."),
        ("8", "8"),
        ("  $\\frac12$ ", r"\frac12"),
        ("2, 3 and 4", "2, 3 and 4"),
        ("Page 5", "Page 5"),
        ("It is on page 5. There are many pages.", None),
        ("First I looked at it.\n\nThen I stopped at 5", None),
        ("", None),
    ],
)
def test_extract(text, answer):
    assert extract(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "{" * 100_000,
        "\\boxed" * 100_000,
        "\\boxed{" * 100_000,
        "$" * 100_000,
        "$ $" * 50_000,
        "\\boxed{" + "\\" * 100_000,
        "answer is " * 50_000,
        "answer" + " " * 100_000,
        "Answer: " + "1, " * 100_000,
        "#" * 100_000,
        "a. " * 50_000,
    ],
)
def test_long_responses_take_no_long_time(text):
    began = time.process_time()
    extract(text)
    assert time.process_time() - began < 1.0
