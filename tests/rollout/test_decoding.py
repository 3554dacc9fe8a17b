"""Answers as text: nothing of an answer is lost, and nothing is added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from evenflow.policy.loading import load_tokenizer
from evenflow.rollout.decoding import AnswerDecoder, decoder_of

SPECIAL = ("<s>", "</s>", "[/INST]")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789().,:+-=\n"


def fast(core: Tokenizer, special: tuple[str, ...] = SPECIAL) -> PreTrainedTokenizerFast:
    core.add_special_tokens(list(special))
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")


def vocabulary(*more: str) -> dict[str, int]:
    """Letters, spaces of one to four, bytes."""
    spaces = ["▁" * count for count in range(1, 5)]
    tokens = ["<unk>", *BYTES, *LETTERS, *spaces, *(f"▁{c}" for c in LETTERS if c != "\n"), *more]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}


def sentencepiece(prepend: str) -> PreTrainedTokenizerFast:
    """As Transformers 5 makes Llama-like tokenizers: Metaspace before and after."""
    core = Tokenizer(models.BPE(vocabulary(), merges(), unk_token="<unk>", byte_fallback=True))
    core.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend, split=False)  # type: ignore[assignment]
    core.decoder = decoders.Sequence(  # type: ignore[assignment]
        [decoders.ByteFallback(), decoders.Metaspace("▁", prepend, split=False)]
    )
    return fast(core)


def llama() -> PreTrainedTokenizerFast:
    """As the files of Llama 2 have it: a space before every piece of text, off again by Strip."""
    core = Tokenizer(models.BPE(vocabulary(), merges(), unk_token="<unk>", byte_fallback=True))
    core.normalizer = normalizers.Sequence(  # type: ignore[assignment]
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    core.decoder = decoders.Sequence(  # type: ignore[assignment]
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return fast(core)


def merges() -> list[tuple[str, str]]:
    spaces = [("▁", "▁"), ("▁▁", "▁▁"), ("▁▁", "▁")]
    return [*spaces, *(("▁", letter) for letter in LETTERS if letter != "\n")]


def byte_level(add_prefix_space: bool) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)  # type: ignore[assignment]
    core.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    return fast(core)


TOKENIZERS = {
    "Metaspace, always": lambda: sentencepiece("always"),
    "Metaspace, first": lambda: sentencepiece("first"),
    "Metaspace, never": lambda: sentencepiece("never"),
    "Llama 2": llama,
    "bytes": lambda: byte_level(False),
    "bytes with a space before": lambda: byte_level(True),
}
ANSWERS = [
    "    return x",
    " yes",
    "yes",
    "  two",
    "\n    a\n",
    "    ",
    " ",
    "",
    "é",
    " é und 😀",
    "x  y   z ",
]


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return TOKENIZERS[request.param]()


@pytest.mark.parametrize("prompt", ["def f(x):\n", "say:", "a b", "é"])
def test_prompt_and_answer_are_the_whole_text(tokenizer: Any, prompt: str) -> None:
    """Whatever way the text was split into tokens: between two tokens, after the prompt's own."""
    given = tokenizer.encode(prompt, add_special_tokens=False)
    written = []
    for answer in ANSWERS:
        ids = tokenizer.encode(prompt + answer, add_special_tokens=False)
        if ids[: len(given)] == given:  # else a token lies across
            written.append((answer, ids[len(given) :]))
    assert len(written) > 5
    texts = AnswerDecoder(tokenizer)(given, [ids for _, ids in written])
    assert texts == [answer for answer, _ in written]


@pytest.mark.parametrize("text", ["Once", "once more", "x"])
@pytest.mark.parametrize("special", ["<s>", "</s>", "[/INST]"])
def test_after_a_special_token_as_the_tokenizer_has_it(
    tokenizer: Any, special: str, text: str
) -> None:
    decode = AnswerDecoder(tokenizer)
    given = [*tokenizer.encode("a b", add_special_tokens=False), *ids_of(tokenizer, special)]
    whole = tokenizer.encode(f"a b{special}{text.lower()}", add_special_tokens=False)
    assert whole[: len(given)] == given
    (found,) = decode(given, [whole[len(given) :]])
    assert found.strip() == text.lower()
    if decode.anchor is not None:
        assert found == text.lower()


def ids_of(tokenizer: Any, special: str) -> list[int]:
    return [tokenizer.convert_tokens_to_ids(special)]


@pytest.mark.parametrize("text", ["    return 1", "one"])
def test_an_answer_to_nothing_but_special_tokens_begins_the_text(text: str) -> None:
    for make in (llama, lambda: sentencepiece("always"), lambda: sentencepiece("first")):
        tokenizer = make()
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert AnswerDecoder(tokenizer)(ids_of(tokenizer, "<s>"), [ids]) == [text]
    tokenizer = llama()  # the others encode a text and that text after a space alike
    ids = tokenizer.encode(f" {text}", add_special_tokens=False)
    assert AnswerDecoder(tokenizer)(ids_of(tokenizer, "<s>"), [ids]) == [f" {text}"]


def test_special_tokens_and_broken_characters(tokenizer: Any) -> None:
    decode = AnswerDecoder(tokenizer)
    given = tokenizer.encode("a:", add_special_tokens=False)
    ids = tokenizer.encode("a: b", add_special_tokens=False)[len(given) :]
    (end,) = ids_of(tokenizer, "</s>")
    assert decode(given, [[*ids, end], [end, *ids], [end], []])[0] == " b"
    assert decode(given, [[end], []]) == ["", ""]
    smile = tokenizer.encode("a:😀", add_special_tokens=False)[len(given) :]
    whole, cut = decode(given, [smile, smile[:-1]])
    assert whole == "😀"
    assert "😀" not in cut
    assert set(cut) <= {"\ufffd"}


def test_only_what_begins_texts_with_a_space_is_decoded_otherwise() -> None:
    makers = {name: AnswerDecoder(make()).anchor for name, make in TOKENIZERS.items()}
    lossy = {name for name, anchor in makers.items() if anchor is not None}
    assert lossy == {"Metaspace, always", "Metaspace, first", "Llama 2"}
    words = Tokenizer(models.WordLevel({"<unk>": 0, "w1": 1, "w2": 2}, unk_token="<unk>"))
    assert AnswerDecoder(fast(words))([1], [[2, 1], []]) == ["w2 w1", ""]


@pytest.mark.parametrize("name", ["builtin:countdown", "builtin:programs"])
def test_the_built_in_models_texts_are_as_before(name: str) -> None:
    tokenizer: Any = load_tokenizer(name)
    rows = [[i % len(tokenizer), (7 * i) % len(tokenizer), 3] for i in range(50)]
    decode = decoder_of(tokenizer)
    assert decode.anchor is None
    assert decode([3], rows) == tokenizer.batch_decode(rows, skip_special_tokens=True)
    assert decoder_of(tokenizer) is decode


@pytest.mark.parametrize("special", [False, True])
def test_marks_of_thoughts_are_text(special: bool) -> None:
    """Some models' marks are special tokens, which are left out otherwise."""
    core = Tokenizer(models.WordLevel({"<unk>": 0, "hm": 1, "4": 2}, unk_token="<unk>"))
    core.decoder = decoders.Fuse()  # type: ignore[assignment]
    tokenizer = fast(core, (*SPECIAL, *(("[THINK]", "[/THINK]") if special else ())))
    if not special:
        tokenizer.add_tokens(["[THINK]", "[/THINK]"])
    opened, closed, end = tokenizer.convert_tokens_to_ids(["[THINK]", "[/THINK]", "</s>"])  # type: ignore[misc]
    assert AnswerDecoder(tokenizer)([1], [[opened, 1, closed, 2, end]]) == ["[THINK]hm[/THINK]4"]


def test_stories(shared: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(shared / "models" / "stories260k")
    prompt = tokenizer.encode("def f(x):\n")
    for answer in ANSWERS:
        ids = tokenizer.encode("def f(x):\n" + answer)
        assert ids[: len(prompt)] == prompt
        assert AnswerDecoder(tokenizer)(prompt, [ids[len(prompt) :]]) == [answer]
    assert AnswerDecoder(tokenizer)([1], [tokenizer.encode("Once")[1:]]) == ["Once"]
