"""The tokens that end an answer, and how many tokens a model knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evenflow.errors import UserError
from evenflow.inputs import is_text


def stop_ids(
    stop: Sequence[str | int],
    tokenizer: Any,
    model: Any,
    field: str = "rollout.stop",
) -> tuple[int, ...]:
    """All tokens that end an answer: the tokenizer's, the generation config's, and those of `stop`,
    by number or text.

    What the generation config lists beyond the model's vocabulary can never be sampled, and is left
    out. UserError that names `field` for a number or text that is no token's, or one's that the
    model lacks, and where no token is named at all.
    """
    rows = vocabulary(model)
    found = {end for end in ids_of(model.generation_config.eos_token_id) if 0 <= end < rows}
    for end in ids_of(tokenizer.eos_token_id):
        found.add(_known(end, rows, f"the tokenizer's end token {tokenizer.eos_token}"))
    for number in (token for token in stop if isinstance(token, int)):
        found.add(_known(number, rows, f"{field}: {number}"))
    texts = [token for token in stop if isinstance(token, str)]
    if bad := [text for text in texts if not is_text(text)]:
        raise UserError(f"{field}: {bad[0]!a} is not UTF-8 text")
    for text, ids in tokens_of(texts, tokenizer).items():
        if not ids:
            count = len(tokenizer.encode(text, add_special_tokens=False))
            raise UserError(
                f"{field}: {text!r} is {f'{count} tokens' if count != 1 else 'no token'} of this "
                "tokenizer; only single tokens can end an answer"
            )
        found |= {_known(each, rows, f"{field}: {text!r}") for each in ids}
    if not found:
        raise UserError(f"{field}: the tokenizer names no end token; name one here")
    return tuple(sorted(found))


def ids_of(ends: Any) -> list[int]:
    """One id, several, or none, as a generation config has them."""
    ends = [] if ends is None else ends if isinstance(ends, list | tuple) else [ends]
    if any(isinstance(end, bool) or not isinstance(end, int) for end in ends):
        raise UserError(
            f"model.path: eos_token_id of generation_config.json must be token ids, not {ends}"
        )
    return list(ends)


def vocabulary(model: Any) -> int:
    """How many tokens a model has embeddings for."""
    return model.get_input_embeddings().weight.shape[0]


def _known(token: int, rows: int, what: str) -> int:
    if not 0 <= token < rows:
        raise UserError(
            f"{what} has the id {token}, and the model knows the {rows} tokens from 0 to "
            f"{rows - 1}, so it can never end an answer; name one that the model has"
        )
    return token


def tokens_of(texts: list[str], tokenizer: Any) -> dict[str, set[int]]:
    """Text → the tokens that are decoded to just that, by themselves or after others.

    How a text is encoded does not say: SentencePiece puts a space before what begins a text, so
    that "." becomes "▁." or two tokens, while answers hold the token "." that follows a word.
    """
    known = tokenizer.get_vocab()
    added = tokenizer.get_added_vocab()
    found: dict[str, set[int]] = {text: {added[text]} for text in texts if text in added}
    rest = [text for text in dict.fromkeys(texts) if text not in added]
    ids = sorted(known.values()) if rest else []
    alone = decoded([[number] for number in ids], tokenizer)
    for text in rest:
        found[text] = {n for n, said in zip(ids, alone, strict=True) if text and said == text}
        before = tokenizer.encode(text, add_special_tokens=False)
        (prefix,) = decoded([before], tokenizer)
        if text and prefix:
            after = decoded([[*before, number] for number in ids], tokenizer)
            found[text] |= {n for n, said in zip(ids, after, strict=True) if said == prefix + text}
    return found


def decoded(rows: list[list[int]], tokenizer: Any) -> list[str]:
    """Each row's text, as it is."""
    return tokenizer.batch_decode(
        rows, skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
