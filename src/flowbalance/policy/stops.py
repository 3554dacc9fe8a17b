"""The tokens that end an answer."""

from __future__ import annotations

from typing import Any

from flowbalance.errors import UserError


def stop_ids(
    stop: list[str | int],
    tokenizer: Any,
    model: Any,
    field: str = "rollout.stop",
) -> tuple[int, ...]:
    """All tokens that end an answer: the tokenizer's, the generation config's, and those of `stop`,
    by number or text. UserError that names `field` for a number or text that is no token's, and
    where no token is named at all."""
    found: set[int] = set()
    sources: list[Any] = [tokenizer.eos_token_id, model.generation_config.eos_token_id]
    for source in sources:
        if source is not None:
            found |= {source} if isinstance(source, int) else set(source)
    size = model.get_input_embeddings().num_embeddings
    for number in (token for token in stop if isinstance(token, int)):
        if not 0 <= number < size:
            raise UserError(f"{field}: there is no token {number}; the model has 0 to {size - 1}")
        found.add(number)
    texts = [token for token in stop if isinstance(token, str)]
    for text, ids in tokens_of(texts, tokenizer).items():
        if not ids:
            count = len(tokenizer.encode(text, add_special_tokens=False))
            raise UserError(
                f"{field}: {text!r} is {f'{count} tokens' if count != 1 else 'no token'} of this "
                "tokenizer; only single tokens can end an answer"
            )
        found |= ids
    if not found:
        raise UserError(f"{field}: the tokenizer names no end token; name one here")
    return tuple(sorted(found))


def tokens_of(texts: list[str], tokenizer: Any) -> dict[str, set[int]]:
    """Text → the tokens that are decoded to just that, by themselves or after others.

    How a text is encoded does not say: SentencePiece puts a space before what begins a text, so
    that "." becomes "▁." or two tokens, while answers hold the token "." that follows a word.
    """
    vocabulary = tokenizer.get_vocab()
    added = tokenizer.get_added_vocab()
    found: dict[str, set[int]] = {text: {added[text]} for text in texts if text in added}
    rest = [text for text in dict.fromkeys(texts) if text not in added]
    ids = sorted(vocabulary.values()) if rest else []
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
