"""The stories task: rows, the reward's three parts, and how different texts are."""

import pytest

from evenflow.errors import UserError
from evenflow.rewards import Rewards
from evenflow.tasks import stories
from evenflow.tasks.stories import Stories, measure, reward

rows = Stories().rows

WORDS = ["dog", "ball", "park"]
STORY = (
    "They all went home and had a big dinner with the dog. Then Lily put the ball away and "
    "slept. It was the best day in the park."
)


def test_rows_are_deterministic_and_differ_by_seed():
    assert rows("train", 50, 3) == rows("train", 50, 3)
    assert rows("train", 50, 3) != rows("train", 50, 4)


def test_splits_share_no_words():
    words = {s: {tuple(r["words"]) for r in rows(s, 2000, 0)} for s in ("train", "test")}
    assert words["train"].isdisjoint(words["test"])
    assert len(words["test"]) == 64


def test_all_rows_are_different_and_mention_each_word():
    drawn = rows("test", 64 * 36, 0)
    assert len({row["prompt"] for row in drawn}) == len(drawn)
    for row in drawn:
        assert "{" not in row["prompt"]
        written = stories.WORD.findall(row["prompt"].lower())
        assert all(word in written for word in row["words"])


def test_bad_requests():
    with pytest.raises(UserError, match="the splits train and test, not 'dev'"):
        rows("dev", 1, 0)
    with pytest.raises(UserError, match="has 2304 different rows in the split 'test', fewer than"):
        rows("test", 2305, 0)


@pytest.mark.parametrize(
    ("text", "finished", "expected"),
    [
        (STORY, True, (1.0, 1.0, 1.0)),
        (STORY, False, (1.0, 0.0, 1.0)),  # cut off
        (STORY[:-1], True, (1.0, 0.0, 1.0)),  # no sentence's end
        (STORY[:-1] + '!" \n', True, (1.0, 1.0, 1.0)),
        (STORY.replace("dog", "dogs"), True, (2 / 3, 1.0, 1.0)),  # whole words
        (STORY.upper(), True, (1.0, 1.0, 1.0)),
        ("The dog had the ball in the park.", True, (1.0, 0.0, 1.0)),  # hasty
        ("", True, (0.0, 0.0, 1.0)),
    ],
)
def test_parts(text, finished, expected):
    assert measure(text, WORDS, finished) == pytest.approx(expected)


def test_going_round_in_circles_does_not_pay():
    """40 words, 39 pairs, 4 of them distinct: fresh = (4/39) / 0.85."""
    text = "the dog ball park " * 9 + "the dog ball park."
    assert measure(text, WORDS, True) == pytest.approx((1.0, 1.0, 4 / 39 / 0.85))


def test_reward_is_the_formula():
    """½·(1/3) + ½·0, all of it, and the same for chat messages."""
    chat = [{"role": "assistant", "content": STORY}]
    values = reward(["The dog ran.", STORY, chat], [WORDS] * 3, [True] * 3)
    assert values == pytest.approx([1 / 6, 1.0, 1.0])


def test_reward_through_the_composition():
    drawn = rows("train", 2, 0)
    result = Rewards([("stories", reward, 1.0)])(
        [row["prompt"] for row in drawn],
        [f"{STORY} {' '.join(row['words'])}." for row in drawn],
        {"words": [row["words"] for row in drawn]},
        completion_ids=[[5]] * 2,
        finished=[True, True],
    )
    assert result.total == [1.0, 1.0]
