"""How alike texts are, as cosines of their n-grams or of any sentence-embedding model, and to how
many different ones they come."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from scipy.sparse import csr_array

from evenflow.errors import UserError
from evenflow.evaluation.diversity.texts import grams, tokens
from evenflow.installation import how_to_install
from evenflow.run.files import writable


def vendi_score(cosines: np.ndarray) -> float:
    """exp(−Σ λ_i log λ_i), λ the eigenvalues of K/n: the effective number of different texts.

    Friedman & Dieng 2023 (arXiv 2210.02410), with the cosine as the kernel. n where
    all are orthogonal, 1 where all are the same. `cosines` is K, (n, n); negative eigenvalues are
    rounding and count as 0. NaN for no text.
    """
    n = len(cosines)
    if not n:
        return math.nan
    eigenvalues = np.linalg.eigvalsh((cosines + cosines.T) / (2 * n))
    shares = eigenvalues[eigenvalues > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))


class Vectors(Protocol):
    """What turns the texts of a question into cosines."""

    def cosines(self, texts: Sequence[str]) -> np.ndarray:
        """(N,) texts → (N, N), 1 on the diagonal."""
        ...

    def describe(self) -> dict[str, Any]:
        """What a reader must know to measure the same."""
        ...


class NgramVectors:
    """Counts of words and word pairs. No model, no training; blind to meaning."""

    def cosines(self, texts: Sequence[str]) -> np.ndarray:
        """Two texts without a token are alike (1), one without and one with are not (0)."""
        counts = [_counts(text) for text in texts]
        columns: dict[tuple[str, ...], int] = {}
        rows, cols, values = [], [], []
        for row, found in enumerate(counts):
            for gram, count in found.items():
                rows.append(row)
                cols.append(columns.setdefault(gram, len(columns)))
                values.append(float(count))
        table = csr_array((values, (rows, cols)))
        products = (table @ table.T).toarray()
        lengths = np.sqrt(np.diag(products))
        return products / np.outer(lengths, lengths)

    def describe(self) -> dict[str, Any]:
        return {"vectors": "counts of word 1-grams and 2-grams, cosine"}


def _counts(text: str) -> Counter[tuple[str, ...]]:
    words = tokens(text)
    return Counter([*grams(words, 1), *grams(words, 2)]) or Counter([()])


def load_model(name: str) -> Any:
    """A model of Sentence Transformers (Reimers & Gurevych 2019, arXiv 1908.10084)."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise UserError(
            f"embed needs a package: {how_to_install('diversity')}; "
            "without it, n-gram vectors are used"
        ) from None
    try:
        return SentenceTransformer(name)
    except (OSError, ValueError, KeyError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"embed: {name}: no sentence-embedding model ({first})") from None


class ModelVectors:
    """A sentence-embedding model, from `load_model`.

    Such models read a limited number of tokens and drop the rest of a longer text without a word:
    `cut` counts the texts that this befell.
    """

    def __init__(self, name: str, model: Any) -> None:
        self.name, self.model = name, model
        self.cut = self.texts = 0

    def cosines(self, texts: Sequence[str]) -> np.ndarray:
        texts = [writable(text) for text in texts]  # tokenizers refuse half a character
        vectors = self.model.encode(
            texts, normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True
        )
        vectors = np.asarray(vectors, dtype=np.float64)
        self.texts += len(texts)
        limit = self.model.max_seq_length
        if limit is not None:
            ids = self.model.tokenizer(texts, truncation=False, verbose=False)["input_ids"]
            self.cut += sum(len(row) > limit for row in ids)
        return vectors @ vectors.T

    def describe(self) -> dict[str, Any]:
        return {
            "vectors": self.name,
            "reads_tokens": self.model.max_seq_length,
            "answers_cut": self.cut,
            "answers_read": self.texts,
        }
