"""How different texts are by the words that they share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from statistics import fmean

# Chinese and Japanese are written without spaces: there each character is a word.
UNSPACED = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
WORD = re.compile(rf"{UNSPACED}|(?:(?!{UNSPACED})\w)+(?:'\w+)?")
# Signs are tokens too, for x+y and x*y are not the same answer.
TOKEN = re.compile(rf"{WORD.pattern}|[^\w\s]")


def bigram_diversity(texts: Sequence[str]) -> float:
    """Mean over pairs of texts of 1 − Jaccard similarity of their sets of word pairs; of a text of
    one word, the word. A Chinese or Japanese character is a word.

    1: no two share a word pair; 0: all the same. NaN for fewer than two texts.
    """
    words = [WORD.findall(text.lower()) for text in texts]
    sets = [set(pairwise(each)) or set(each) for each in words]
    distances = [1 - len(a & b) / len(a | b) if a | b else 0.0 for a, b in combinations(sets, 2)]
    return fmean(distances) if distances else float("nan")


def tokens(text: str) -> list[str]:
    """Words in lower case, single signs, single Chinese and Japanese characters."""
    return TOKEN.findall(text.lower())


def grams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """All runs of n tokens, in order."""
    return zip(*(words[i:] for i in range(n)), strict=False)
