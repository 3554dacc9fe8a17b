"""Stories: go on with the opening of a children's story, use the given words, come to an end.

Made for a base model that writes TinyStories (Eldan & Li, arXiv 2305.07759), such as the 0.26 M
parameter Llama of karpathy/tinyllamas. An opening is the greater part of a story and mentions
three things; the reward asks that the rest comes back to them and closes properly:

    r = fresh · (½ · used + ½ · ended)    in [0, 1]

- used: the fraction of the given words that the *completion* has (whole words; the opening's own
  mention does not count);
- ended: 1 if the model stopped by itself within the limit, after at least `MIN_WORDS` words, with
  a sentence's end; a single hasty sentence is no story;
- fresh: min(1, distinct word pairs / word pairs / `FRESH`), so that going round in circles over
  the given words does not pay. The base model's own stories almost all have fresh = 1.

Nobody can list the right answers here, so how different the stories of one opening are is measured
by `evenflow.evaluation.diversity`. These models open each story with the begin-of-text token,
and so end the one before with it: it belongs to the stop tokens (``rollout.stop: ["<s>"]``).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

from evenflow.errors import UserError
from evenflow.rewards import text_of

MIN_WORDS = 20
FRESH = 0.85

NAMES = ("Lily", "Mia", "Sara", "Anna", "Sue", "Amy")
ANIMALS = ("dog", "cat", "bird", "frog", "bear", "bunny", "mouse", "fish")
TOYS = ("ball", "doll", "car", "kite", "book", "boat", "hat", "drum")
PLACES = ("tree", "park", "garden", "box", "cake", "flower", "rock", "river")

OPENINGS = (
    "She had a {toy} and she loved to play. One day, she went out and met a {animal} near the "
    '{place}. The {animal} was sad. {name} said, "Do not be sad. You can play with me." The '
    "{animal} was happy. They played together all day and became best friends. When it was time "
    "to go home,",
    "She liked to walk to the {place} every day. One day, she saw a {animal}. The {animal} had a "
    '{toy}. "Can I play with it?" asked {name}. "Yes, we can share," said the {animal}. They '
    "laughed and had a lot of fun. Soon the sun went down and they were tired. {name} said "
    "goodbye and",
    "One day, she and her mom saw a big {place}. A little {animal} was stuck there. The {animal} "
    "was scared. {name} wanted to help, so she used her {toy}. The {animal} was safe! Mom said, "
    '"You are very kind and brave." {name} smiled. At the end of the day,',
    "She had a {toy} and a {animal}. They liked to play near the {place}. One day, the {animal} "
    "took the {toy} and ran away. {name} was angry. But the {animal} came back and said sorry. "
    "{name} was not angry any more. She hugged the {animal} and they played again. Her mom "
    "smiled and said,",
    "One day, {name} wanted to give her friend a {toy}. She went to the {place} to find one. She "
    'looked and looked, and then she saw a {animal}. "Do you need help?" asked the {animal}. '
    '"Yes, please," said {name}. The {animal} showed her where it was. {name} was very happy. '
    "She ran home and",
    "It was a sunny day and {name} was playing near the {place}. She heard a loud noise. It was a "
    "{animal}! The {animal} was lost and could not find its home. {name} gave the {animal} her "
    "{toy} and they looked for it together. At last they found it. The {animal} was happy and "
    'said, "Thank you!" When {name} came home,',
)
START = "Once upon a time, there was a little girl named {name}. "

WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
PROPER_END = re.compile(r"""[.!?]["'”’]?\s*$""")


def _triples() -> dict[str, list[tuple[str, str, str]]]:
    """The word triples of each split: one in eight is held out, whatever the opening and seed."""
    triples: list[tuple[str, str, str]] = list(product(ANIMALS, TOYS, PLACES))
    random.Random("stories").shuffle(triples)
    held_out = len(triples) // 8
    return {"test": triples[:held_out], "train": triples[held_out:]}


def reward(
    completions: Sequence[Any],
    words: Sequence[Sequence[str]],
    finished: Sequence[bool],
    **_: Any,
) -> list[float]:
    """r of the module's docstring, in TRL's signature; 1.0 is a story with nothing missing."""
    scores = []
    for completion, given, done in zip(completions, words, finished, strict=True):
        used, ended, fresh = measure(text_of(completion), given, done)
        scores.append(fresh * (0.5 * used + 0.5 * ended))
    return scores


class Stories:
    """The task: openings with given words. No triple of words is in both splits."""

    reward = staticmethod(reward)

    def rows(self, split: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
        """`count` different rows (`prompt`, `words`) of the split ``train`` or ``test``.

        Raises UserError for another split, or for more rows than there are.
        """
        triples = _triples()
        if split not in triples:
            raise UserError(f"the stories task has the splits train and test, not {split!r}")
        everything = list(product(triples[split], OPENINGS, NAMES))
        if count > len(everything):
            raise UserError(
                f"the stories task has {len(everything)} different rows in the split {split!r}, "
                f"fewer than the {count} asked for"
            )
        chosen = random.Random(f"stories {split} {seed}").sample(everything, count)
        return [
            {
                "prompt": (START + opening).format(
                    name=name, animal=words[0], toy=words[1], place=words[2]
                ),
                "words": list(words),
            }
            for words, opening, name in chosen
        ]


def measure(text: str, words: Sequence[str], finished: bool) -> tuple[float, float, float]:
    """(used, ended, fresh) of one completion, each in [0, 1]."""
    written = WORD.findall(text.lower())
    used = sum(word.lower() in written for word in words) / len(words)
    ended = finished and len(written) >= MIN_WORDS and PROPER_END.search(text) is not None
    pairs = list(pairwise(written))
    fresh = min(1.0, len(set(pairs)) / len(pairs) / FRESH) if pairs else 1.0
    return used, float(ended), fresh
