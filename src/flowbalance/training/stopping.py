"""Which tokens end an answer, and which tokens a model knows at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from flowbalance.config import DataConfig
from flowbalance.data import Prompt
from flowbalance.errors import UserError

SAID = "Sure"
"""What the assistant says where a chat template is asked how it ends a turn."""


def stop_ids(
    stop: Sequence[str | int], tokenizer: PreTrainedTokenizerBase, model: Any
) -> tuple[int, ...]:
    """All tokens that end an answer: the tokenizer's, the generation config's, and those given.

    What the generation config lists beyond the model's vocabulary can never be sampled, and is left
    out. Raises UserError for others that cannot, and where none is left.
    """
    rows = vocabulary(model)
    found = {end for end in ids_of(model.generation_config.eos_token_id) if 0 <= end < rows}
    if tokenizer.eos_token_id is not None:
        found |= {
            _known(end, rows, f"the tokenizer's end token {tokenizer.eos_token}")
            for end in ids_of(tokenizer.eos_token_id)
        }
    for token in stop:
        ids = (
            [token] if isinstance(token, int) else tokenizer.encode(token, add_special_tokens=False)
        )
        if len(ids) != 1:
            raise UserError(
                f"rollout.stop: {token!r} is {len(ids)} tokens of this tokenizer; only single "
                "tokens can end an answer"
            )
        found.add(_known(ids[0], rows, f"rollout.stop: {token!r}"))
    if not found:
        raise UserError("rollout.stop: the tokenizer names no end token; name one here")
    return tuple(sorted(found))


def ids_of(ends: Any) -> list[int]:
    """One id, several, or none, as a generation config has them."""
    ends = [] if ends is None else ends if isinstance(ends, list | tuple) else [ends]
    if any(isinstance(end, bool) or not isinstance(end, int) for end in ends):
        raise UserError(
            f"model.path: eos_token_id of generation_config.json must be token ids, not {ends}"
        )
    return list(ends)


def _known(token: int, rows: int, what: str) -> int:
    if not 0 <= token < rows:
        raise UserError(
            f"{what} has the id {token}, and the model knows the {rows} tokens from 0 to "
            f"{rows - 1}, so it can never end an answer; name one that the model has"
        )
    return token


def chat_ends(
    prompts: Iterable[Prompt], data: DataConfig, tokenizer: PreTrainedTokenizerBase, model: Any
) -> list[int]:
    """The token that the chat template ends a turn of the assistant with, where prompts are chats.

    A model often learned to end its turns with another token than its end token, and its
    generation config does not always list it: answers would then run on to the limit.
    """
    if not (data.chat or any(isinstance(prompt.text, list) for prompt in prompts)):
        return []
    end = turn_end(tokenizer, data.chat_template, data.chat_template_kwargs)
    return [end] if end is not None and end < vocabulary(model) else []


def turn_end(
    tokenizer: PreTrainedTokenizerBase,
    template: str = "auto",
    arguments: dict[str, Any] | None = None,
) -> int | None:
    """The special token after an assistant's message in a chat template; None where there is none.

    Some templates close a turn only where another one follows.
    """
    special = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    special.discard(cast(int, tokenizer.unk_token_id))  # of text that the tokenizer cannot spell
    asked, told = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": SAID}
    for messages in ([asked, told], [asked, told, asked]):
        try:
            text: Any = tokenizer.apply_chat_template(
                messages,
                chat_template=None if template == "auto" else template,
                tokenize=False,
                **(arguments or {}),
            )
        except Exception:  # a template may refuse such a conversation in any way that it likes
            continue
        rest = text.rpartition(SAID)[2] if SAID in text else ""
        for token in tokenizer.encode(rest.lstrip(), add_special_tokens=False)[:1]:
            if token in special:
                return token
    return None


def vocabulary(model: Any) -> int:
    """How many tokens a model has embeddings for."""
    return model.get_input_embeddings().weight.shape[0]


def require_vocabulary(
    prompts: Iterable[Prompt], tokenizer: PreTrainedTokenizerBase, model: Any
) -> None:
    """Refuse a prompt with a token that the model has no embedding for."""
    rows = vocabulary(model)
    for prompt in prompts:
        token = max(prompt.ids)
        if token >= rows:
            shown = str(prompt.text)
            raise UserError(
                f"model.path: the tokenizer has {len(tokenizer)} tokens and the model embeddings "
                f"for {rows}, too few for {tokenizer.convert_ids_to_tokens(token)!r} (id {token}) "
                f"in the prompt {shown[:40] + '…' * (len(shown) > 40)!r}; take the tokenizer that "
                "belongs to the model"
            )
