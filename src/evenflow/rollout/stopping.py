"""How a chat template ends a turn, and prompts with tokens that a model does not know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from evenflow.config import DataConfig
from evenflow.data import Prompt
from evenflow.errors import UserError
from evenflow.policy.stops import vocabulary

SAID = "Sure"
"""What the assistant says where a chat template is asked how it ends a turn."""


def chat_ends(
    prompts: Iterable[Prompt], data: DataConfig, tokenizer: PreTrainedTokenizerBase, model: Any
) -> list[int]:
    """The token that the chat template ends a turn of the assistant with, where prompts are chats.

    A model often learned to end its turns with another token than its end token, and its
    generation config does not always list it: answers would then run on to the limit.
    """
    if not (data.chat or any(isinstance(prompt.text, list) for prompt in prompts)):
        return []
    end = turn_end(tokenizer, data.chat_template, data.chat_template_kwargs, data.system_prompt)
    return [end] if end is not None and end < vocabulary(model) else []


def turn_end(
    tokenizer: PreTrainedTokenizerBase,
    template: str = "auto",
    arguments: dict[str, Any] | None = None,
    system: str | None = None,
) -> int | None:
    """The special token after an assistant's message in a chat template; None where there is none.

    Some templates close a turn only where another one follows, and some demand a system message.
    """
    special = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    special.discard(cast(int, tokenizer.unk_token_id))  # of text that the tokenizer cannot spell
    asked, told = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": SAID}
    lead = {"role": "system", "content": system or "Be brief."}
    plain = [[asked, told], [asked, told, asked]]
    led = [[lead, *messages] for messages in plain]
    for messages in [*led, *plain] if system else [*plain, *led]:
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


def require_vocabulary(
    prompts: Iterable[Prompt], tokenizer: PreTrainedTokenizerBase, model: Any
) -> None:
    """Refuse a prompt with a token that the model has no embedding for."""
    rows = vocabulary(model)
    for prompt in prompts:
        token = max((*prompt.ids, *(prompt.guide or ())))
        if token >= rows:
            shown = str(prompt.text)
            raise UserError(
                f"model.path: the tokenizer has {len(tokenizer)} tokens and the model embeddings "
                f"for {rows}, too few for {tokenizer.convert_ids_to_tokens(token)!r} (id {token}) "
                f"in the prompt {shown[:40] + '…' * (len(shown) > 40)!r}; take the tokenizer that "
                "belongs to the model"
            )
