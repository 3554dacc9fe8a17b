"""Vendi score and vectors: matrices whose answer is known."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from evenflow.errors import UserError
from evenflow.evaluation.diversity.vectors import (
    ModelVectors,
    NgramVectors,
    load_model,
    vendi_score,
)

WORDS = ["the", "cat", "sat", "on", "mat", "dog", "ran", "far"]


@pytest.mark.parametrize("n", [1, 2, 7])
def test_vendi_of_orthogonal_and_of_same(n):
    assert vendi_score(np.eye(n)) == pytest.approx(n)
    assert vendi_score(np.ones((n, n))) == pytest.approx(1.0)


def test_vendi_on_paper():
    """[[1, ½], [½, 1]]/2 has the eigenvalues ¾ and ¼. Two same and one orthogonal: ⅔ and ⅓."""
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert vendi_score(np.array([[1, 0.5], [0.5, 1]])) == pytest.approx(expected)
    expected = math.exp(-(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)))
    assert vendi_score(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1.0]])) == pytest.approx(expected)
    assert math.isnan(vendi_score(np.zeros((0, 0))))


def test_ngram_cosine_on_paper():
    """a b and a c: a, b, ab against a, c, ac: 1/(√3·√3). a a and a: a twice, aa against a: 2/√5."""
    assert NgramVectors().cosines(["a b", "a c"])[0, 1] == pytest.approx(1 / 3)
    assert NgramVectors().cosines(["a a", "a"])[0, 1] == pytest.approx(2 / math.sqrt(5))


def test_ngrams_of_empty_answers():
    expected = [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert NgramVectors().cosines(["", " \n", "a"]) == pytest.approx(np.array(expected))


def test_signs_count():
    assert NgramVectors().cosines(["x+y", "x*y"])[0, 1] < 0.5


def test_many_ngrams_are_taken_in_parts():
    """More different n-grams than a block holds: as one product of the whole matrix."""
    draw = random.Random(0)
    texts = [" ".join(str(draw.randint(0, 5000)) for _ in range(3000)) for _ in range(3)]
    found = NgramVectors().cosines([*texts, texts[0]])
    assert np.diag(found) == pytest.approx(np.ones(4))
    assert found[0, 3] == pytest.approx(1.0)
    counts = [Counter([*t.split(), *pairwise(t.split())]) for t in texts[:2]]
    dot, *squares = (
        sum(count * b[gram] for gram, count in a.items())
        for a, b in [(counts[0], counts[1]), (counts[0], counts[0]), (counts[1], counts[1])]
    )
    assert found[0, 1] == pytest.approx(dot / math.sqrt(squares[0] * squares[1]))


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    """The folder of a real, random BERT: Sentence Transformers takes the mean over its tokens."""
    pytest.importorskip("sentence_transformers")
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bert")
    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    plain = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="[PAD]", unk_token="[UNK]", model_max_length=8
    )
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=8,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_sentence_embedding_model(embedder):
    vectors = ModelVectors(embedder, load_model(embedder))
    texts = ["the cat sat", "the cat sat", "dog ran far", "far " * 9 + "cat"]
    found = vectors.cosines(texts)
    assert found.shape == (4, 4)
    assert np.diag(found) == pytest.approx(np.ones(4), abs=1e-5)
    assert found[0, 1] == pytest.approx(1.0, abs=1e-5)
    assert found[0, 2] < 0.99
    assert vendi_score(found[:2, :2]) == pytest.approx(1.0, abs=1e-3)
    described = vectors.describe()
    assert described["vectors"] == embedder
    assert described["reads_tokens"] == 8
    assert (described["answers_cut"], described["answers_read"]) == (1, 4)


def test_a_sentence_embedding_model_reads_half_characters(embedder):
    """A lone surrogate is read as a question mark."""
    vectors = ModelVectors(embedder, load_model(embedder))
    found = vectors.cosines(["the cat \ud800", "the cat ?", "dog ran far"])
    assert found[0, 1] == pytest.approx(1.0, abs=1e-5)
    assert found[0, 2] < 0.99


def test_no_such_model(tmp_path):
    pytest.importorskip("sentence_transformers")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"embed: .*empty: no sentence-embedding model"):
        load_model(str(tmp_path / "empty"))
