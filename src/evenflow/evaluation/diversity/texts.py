"""How different texts are by the words that they share."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from statistics import fmean

WORD = re.compile(r"\w+(?:'\w+)?")
# Chinese and Japanese are written without spaces: there each character is a token. Signs are tokens
# too, for x+y and x*y are not the same answer.
UNSPACED = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
TOKEN = re.compile(rf"{UNSPACED}|(?:(?!{UNSPACED})\w)+(?:'\w+)?|[^\w\s]")

Gram = tuple[str, ...]


def bigram_diversity(texts: Sequence[str]) -> float:
    """Mean over pairs of texts of 1 − Jaccard similarity of their sets of word pairs.

    1: no two share a word pair; 0: all the same. NaN for fewer than two texts.
    """
    sets = [set(pairwise(WORD.findall(text.lower()))) for text in texts]
    distances = [1 - len(a & b) / len(a | b) if a | b else 0.0 for a, b in combinations(sets, 2)]
    return fmean(distances) if distances else float("nan")


def tokens(text: str) -> list[str]:
    """Words in lower case, single signs, single Chinese and Japanese characters."""
    return TOKEN.findall(text.lower())


def grams(words: Sequence[str], n: int) -> Iterator[Gram]:
    """All runs of n tokens, in order."""
    return zip(*(words[i:] for i in range(n)), strict=False)


def distinct_n(texts: Sequence[str], n: int) -> float:
    """|different n-grams| / |n-grams|, over all texts of a question together.

    Li et al. 2016 (arXiv 1510.03055), who divide by the number of tokens; for n > 1 this divides
    by the number of n-grams, as most do since, so that 1 means that nothing is repeated.
    K copies of a text that repeats nothing give 1/K. Longer texts repeat more: compare what is of
    equal number and length. NaN where there is no n-gram.
    """
    found = Counter(gram for text in texts for gram in grams(tokens(text), n))
    return len(found) / found.total() if found else math.nan


def self_bleu(texts: Sequence[str], order: int = 4) -> float:
    """Mean over texts of BLEU of a text with all the others as its references.

    BLEU = min(1, e^{1 − r/c})·exp(mean_n log p_n), n = 1 … min(`order`, c), for a text of c tokens;
    r is the length of the reference nearest to c (of two, the shorter), p_n the share of its
    n-grams found in a reference, each as often as in the reference that has it most. Zhu et al.
    2018 (Texygen, arXiv 1802.01886) with BLEU of Papineni et al. 2002. Smoothing as there (NLTK's
    method 1): of an order without any match, 0.1 match is counted. Unlike there, a text shorter
    than `order` has only the orders that it has n-grams of, so that copies score 1 at any length.

    1: every text is another's copy; lower is more diverse. A text without a token scores 1 if there
    is another one, else 0. NaN for fewer than two texts.
    """
    if len(texts) < 2:
        return math.nan
    words = [tokens(text) for text in texts]
    lengths = [len(text) for text in words]
    logs: list[list[float]] = [[] for _ in texts]  # log p_n of each text
    for n in range(1, order + 1):
        counts = [Counter(grams(text, n)) for text in words]
        most = _two_highest(counts)
        for i, own in enumerate(counts):
            if own:
                matches = sum(
                    min(count, most[gram][1 if most[gram][2] == i else 0])
                    for gram, count in own.items()
                )
                logs[i].append(math.log((matches or 0.1) / own.total()))
    return fmean(
        _brevity(lengths, i) * math.exp(fmean(logs[i])) if logs[i] else _empty(lengths)
        for i in range(len(texts))
    )


def _two_highest(counts: Sequence[Counter[Gram]]) -> dict[Gram, tuple[int, int, int]]:
    """Of each n-gram the highest count in a text, the next one, and which text has the highest.

    The highest count among the *other* texts is then at hand without comparing all pairs.
    """
    most: dict[Gram, tuple[int, int, int]] = {}
    for i, own in enumerate(counts):
        for gram, count in own.items():
            first, second, holder = most.get(gram, (0, 0, -1))
            if count > first:
                most[gram] = (count, first, i)
            elif count > second:
                most[gram] = (first, count, holder)
    return most


def _brevity(lengths: Sequence[int], i: int) -> float:
    own = lengths[i]
    others = (length for j, length in enumerate(lengths) if j != i)
    nearest = min(others, key=lambda length: (abs(length - own), length))
    return min(1.0, math.exp(1 - nearest / own))


def _empty(lengths: Sequence[int]) -> float:
    return 1.0 if lengths.count(0) > 1 else 0.0
