"""Token ids of answers as text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerBase

from evenflow.rewards.thoughts import MARK

SPACE = "▁"
"""How SentencePiece spells the space with which a token begins."""


class AnswerDecoder:
    """Answers as text, as they read after their prompt.

    Tokenizers made with SentencePiece take the first space off a text, for they put it there before
    they encode it; some take all of an indentation. An answer is no such text: its first space is
    its own. It is decoded after a token that stands for the prompt's last one, and cut off behind
    it. For tokenizers that take nothing off, this is ``batch_decode``.

    Special tokens are left out, except marks of thoughts: rewards go by them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Try out what the tokenizer does; milliseconds."""
        self.tokenizer: Any = tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", {})
        special = {index: str(token) for index, token in added.items() if token.special}
        self.special = {*special, *tokenizer.all_special_ids}
        marks = {index for index, text in special.items() if MARK.fullmatch(text)}
        self.left_out = self.special - marks if marks else None
        """Ids to be left out by hand, where `skip_special_tokens` would take marks, too."""
        self.anchor = self._anchor()
        """A token after which first spaces stay; none where they do anyway."""
        self.begins_anew = self.anchor is not None and self._begins_anew()
        """Whether the tokenizer puts a space after a special token, too, and takes it off again."""

    def __call__(self, prompt: Sequence[int], answers: Sequence[Sequence[int]]) -> list[str]:
        """The texts of answers to one prompt."""
        if self.anchor is None:
            return self._decode(answers)
        alone, *longer = self._decode([[self.anchor], *([self.anchor, *ids] for ids in answers)])
        texts = [text[len(alone) :] for text in longer]
        before = prompt[-1:] if self.begins_anew else prompt
        if all(index in self.special for index in before):
            # The first space is the tokenizer's own; more than one it does not put.
            begun = self._decode(answers)
            return [b if len(t) - len(b) <= 1 else t for t, b in zip(texts, begun, strict=True)]
        return texts

    def _decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        if self.left_out is None:
            return self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        kept = [[index for index in ids if index not in self.left_out] for ids in rows]
        return self.tokenizer.batch_decode(kept, skip_special_tokens=False)

    def _anchor(self) -> int | None:
        spaced = [
            index
            for token, index in self.tokenizer.get_vocab().items()
            if token.startswith(SPACE) and index not in self.special
        ]
        if not spaced:
            return None
        token = min(spaced)
        alone, twice = self._decode([[token], [token, token]])
        return None if twice == alone + alone else token

    def _begins_anew(self) -> bool:
        end = self.tokenizer.eos_token
        ids = self.tokenizer.encode(f"{end}a", add_special_tokens=False) if end else []
        after = self.tokenizer.convert_ids_to_tokens(ids[1:])
        return bool(after) and ids[0] in self.special and after[0].startswith(SPACE)


@lru_cache(maxsize=4)
def decoder_of(tokenizer: PreTrainedTokenizerBase) -> AnswerDecoder:
    """The decoder of a tokenizer, made once."""
    return AnswerDecoder(tokenizer)


def texts_of(
    tokenizer: PreTrainedTokenizerBase | None,
    prompt: Sequence[int],
    answers: Sequence[Sequence[int]],
    finished: Sequence[bool],
) -> list[str]:
    """The texts of answers to one prompt, without the token that ended them; empty where there is
    no tokenizer."""
    if tokenizer is None:
        return [""] * len(answers)
    pairs = zip(answers, finished, strict=True)
    return decoder_of(tokenizer)(prompt, [ids[:-1] if whole else ids for ids, whole in pairs])
