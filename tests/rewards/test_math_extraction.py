"""Where a response states its answer."""

import time
import tracemalloc

import pytest

from evenflow.rewards.math import extract


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
        ("#### Working\n3 + 5\n#### Conclusion\nThe answer is 8.", "8"),
        ("#### 1. Working\n3 + 5\n\n#### 2. Conclusion\nAnswer: 8", "8"),
        ("#### Evelyn", "Evelyn"),
        ("<answer> 8\n</answer>", "8"),
        (r"<answer>\boxed{8}</answer>", "8"),
        (r"\boxed{7} <answer>The answer is 8.</answer>", "8"),
        ("<answer>7</answer> Wait. <answer>8</answer>", "8"),
        ("<answer>8", "8"),
        ("The answer is **12** apples.", "12"),
        ("The answer is **B** (12).", "B"),
        ("The answer is **12** and **13**.", "12** and **13"),
        ("The answer is 12, obtained by multiplying 3 and 4.", "12"),
        ("Answer: 12 (since 3*4=12)", "12"),
        ("The answer is $12$ by Vieta's formulas.", "$12$"),
        ("The answer is 3 by 4.", "3 by 4"),
        ("The answer is 12, and we're done.", "12"),
        ("The answer is 12.\n\nNote: the answer is independent of n.", "12"),
        ("Answer: B\nExplanation: the answer is found by adding.", "B"),
        ("The answer is 12. No, the answer is 13.", "13"),
        ("答案是 5。", "5"),
        ("所以答案为 $5$。", "$5$"),
        ("La respuesta es $5$.", "5"),
        ("Die Antwort ist 5.", "5"),
        (r"The solutions are $x_1 = \boxed{1}$ and $x_{2} = \boxed{-2}$.", "1, -2"),
        ("<answer>7</answer> or <answer>8</answer>", "7, 8"),
        ("<answer></answer>", None),
        ("<think><answer>8</answer></think>", None),
        ("a</think> b <think> <answer>8</answer>", None),
        (r"\boxed{7} or \boxed{8}", "7, 8"),
        (r"$x = \boxed{7}$ and $x = \boxed{8}$", "7, 8"),
        (r"\boxed{7}, then one more: \boxed{8}", "8"),
        (r"\boxed{8} or, as before, \boxed{8}", "8"),
        (r"\boxed{\boxed{7} + 1}", "{7} + 1"),
        (r"\boxed{7} \boxed{", None),
        (r"\boxed{7 is cut off, \boxed{8}", "8"),
        ("The correct option is C.", "C."),
        ("Option C is correct.", "C"),
        ("**Answer: C) 8 apples**", "C) 8 apples"),
        ("Answer: C. 8 apples", "C. 8 apples"),
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
        *(piece * 10_000 for piece in ("final answer is 2 ", "no, wait, ", "7! ", "$x = 1$, ")),
        "\\boxed{1} " + "final answer is 2 " * 6_000,
        "The answer is 5, " + "so a = 5, " * 10_000,
        "in \\boxed{" + ". " * 50_000,
        "So it is.\n\n" + "Total: 5, " * 10_000,
    ],
)
def test_long_responses_take_no_long_time(text):
    began = time.process_time()
    extract(text)
    assert time.process_time() - began < 1.0


PIECES = [
    "\\boxed{",
    "\\boxed{1} ",
    "answer is ",
    "option A is right. ",
    "#### 5\n",
    "<answer>1</answer>",
]


@pytest.mark.parametrize("piece", PIECES)
def test_what_is_not_looked_at_is_not_kept(piece):
    """A hundred thousand matches at once are twenty times the memory of the response, and set off
    the garbage collector, whose time grows with all that the process holds."""
    text = piece * 100_000
    tracemalloc.start()
    extract(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(text)
