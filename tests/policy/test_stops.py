"""Which tokens a stop stands for, in tokenizers of several kinds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from evenflow.errors import UserError
from evenflow.policy.loading import load_tokenizer
from evenflow.policy.stops import stop_ids, tokens_of


def wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    tokenizer.add_special_tokens([AddedToken("</s>", special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


@pytest.fixture
def llama_like() -> PreTrainedTokenizerFast:
    """SentencePiece's way: a space is put before the text, and bytes stand for what is unknown."""
    words = ["<unk>", "<0x0A>", "<0x2E>", "▁", ".", "▁.", "a", "▁a", "the", "▁the"]
    vocabulary = {word: number for number, word in enumerate(words)}
    bpe = models.BPE(
        vocabulary, [("▁", "a"), ("▁", ".")], unk_token="<unk>", byte_fallback=True, fuse_unk=True
    )
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    return wrapped(tokenizer)


@pytest.fixture
def byte_level() -> PreTrainedTokenizerFast:
    """GPT-2's way."""
    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġ.", "ĊĊ"]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("Ġ", "."), ("Ċ", "Ċ")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return wrapped(tokenizer)


def pieces(text: str, tokenizer: Any) -> set[str]:
    return set(tokenizer.convert_ids_to_tokens(sorted(tokens_of([text], tokenizer)[text])))


def test_a_token_inside_a_text_and_at_its_beginning(llama_like: Any) -> None:
    assert llama_like.tokenize(".") == ["▁."]
    assert pieces(".", llama_like) == {".", "▁.", "<0x2E>"}
    assert pieces(" .", llama_like) == {"▁."}
    assert pieces("the", llama_like) == {"the", "▁the"}
    assert pieces(" the", llama_like) == {"▁the"}
    assert pieces("\n", llama_like) == {"<0x0A>"}
    assert pieces("</s>", llama_like) == {"</s>"}
    assert pieces("a.", llama_like) == pieces("", llama_like) == set()


def test_tokens_of_bytes(byte_level: Any) -> None:
    assert pieces(".", byte_level) == {"."}
    assert pieces(" .", byte_level) == {"Ġ."}
    assert pieces("\n\n", byte_level) == {"ĊĊ"}
    assert pieces("é", byte_level) == set()  # two of them


def test_a_checkpoint_of_others(shared: Path) -> None:
    tokenizer: Any = load_tokenizer(str(shared / "models" / "stories260k"))
    once = tokenizer("Once upon a time there was a dog. It ran.").input_ids
    stops = tokens_of(["."], tokenizer)["."]
    assert once[-1] in stops
    assert sum(number in stops for number in once) == 2


def test_refusals_name_the_field(llama_like: Any) -> None:
    class Model:
        generation_config = SimpleNamespace(eos_token_id=None)

        def get_input_embeddings(self) -> Any:
            return SimpleNamespace(weight=SimpleNamespace(shape=(11, 4)))

    end = llama_like.eos_token_id
    assert set(stop_ids([".", 6], llama_like, Model())) == {2, 4, 5, 6, end}
    for stop, says in [
        ("", "'' is 0 tokens"),
        ("a.a", r"'a\.a' is \d tokens"),
        (-1, "-1 has the id -1, and the model knows the 11 tokens from 0 to 10"),
        (11, "11 has the id 11"),
    ]:
        with pytest.raises(UserError, match=f"--stop: {says}"):
            stop_ids([stop], llama_like, Model(), "--stop")
