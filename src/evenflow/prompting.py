"""How a question is put to a model: a template that is filled in, chat messages, token ids."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from string import Formatter
from typing import Any

from evenflow.errors import UserError
from evenflow.inputs import is_text
from evenflow.machine import bounded

HALF = "half a character (a lone surrogate), which no tokenizer can read; mend the data"
TEMPLATES = {"tools", "documents"}
"""Arguments of `apply_chat_template` that it hands to the template."""
LONGEST = 10_000_000
"""Characters of a prompt in its chat template."""
SLOWEST, LARGEST = 10.0, 2**30
"""Seconds and further bytes that a template may take for one prompt."""

Row = dict[str, Any]
Messages = list[dict[str, Any]]


def put_question(
    row: Row,
    number: int,
    prompt_column: str = "prompt",
    system_prompt: str | None = None,
    chat: bool = False,
    prompt_template: str | None = None,
    field: str = "data.prompt_template",
) -> tuple[str | Messages, str | Messages]:
    """A row's prompt as in the source, and as it is put: plain text in its template, or chat
    messages. UserError for a row without one, and as `build_prompts` says; `field` is the name of
    the template."""
    source = text = source_prompt(row, prompt_column, number)
    if isinstance(text, str) and prompt_template is not None:
        text = fill(prompt_template, row, number, field)
    if isinstance(text, str) and chat:
        text = [{"role": "user", "content": text}]
    if isinstance(text, list):
        if system_prompt and text[0]["role"] != "system":
            text = [{"role": "system", "content": system_prompt}, *text]
    elif system_prompt:
        raise UserError(
            f"row {number}: data.system_prompt needs chat messages, and the prompt is plain "
            "text; set data.chat=true, or put the text into data.prompt_template"
        )
    return source, text


def is_begun(text: str | Messages) -> bool:
    """Whether a prompt ends with the assistant's own words: the policy goes on with them."""
    return not isinstance(text, str) and text[-1]["role"] == "assistant"


def begun(texts: Sequence[str | Messages]) -> str | None:
    """The sentence on prompts that are begun; None if none is."""
    count = sum(map(is_begun, texts))
    if not count:
        return None
    return (
        f"{count:,} of {len(texts):,} questions end with the assistant's words, which answers go "
        "on from; a right answer there is given away"
    )


def unread(ids: Sequence[int], tokenizer: Any) -> str | None:
    """The sentence on a prompt of which the tokenizer lacks characters or words; None if it has all
    of them."""
    unknown = tokenizer.unk_token_id
    count = 0 if unknown is None else sum(each == unknown for each in ids)
    if not count:
        return None
    lacking = f"{count} of its {len(ids)} tokens are {tokenizer.unk_token}"
    return f"{lacking}, which the model's tokenizer says for what it lacks"


def put_guided_question(
    row: Row,
    number: int,
    prompt_column: str,
    system_prompt: str | None,
    chat: bool,
    guide_template: str,
) -> str | Messages:
    """A row's prompt with its gold answer, as it is put. Of chat messages the template stands for
    the last one of the user, whose text it knows by the name of the prompt column. UserError as
    `put_question`."""
    field = "data.guide_template"
    source = source_prompt(row, prompt_column, number)
    if isinstance(source, list):
        places = [at for at, message in enumerate(source) if message["role"] == "user"]
        if not places:
            raise UserError(
                f"row {number}: has no message of the user's, which {field} could stand for"
            )
        at = places[-1]
        asked = fill(guide_template, {**row, prompt_column: source[at]["content"]}, number, field)
        changed = [*source[:at], {**source[at], "content": asked}, *source[at + 1 :]]
        row = {**row, prompt_column: changed}
        return put_question(row, number, prompt_column, system_prompt)[1]
    given = (prompt_column, system_prompt, chat, guide_template)
    return put_question(row, number, *given, field)[1]


def source_prompt(row: Row, column: str, number: int) -> str | Messages:
    """The row's prompt, checked."""
    if column not in row:
        raise UserError(
            f"row {number} has no column {column!r}, which data.prompt_column names; "
            f"there are: {', '.join(map(str, row))}"
        )
    prompt, where = row[column], f"row {number}: the prompt in column {column!r}"
    if isinstance(prompt, str):
        if not prompt.strip():
            raise UserError(f"{where} is empty")
        if not is_text(prompt):
            raise UserError(f"{where} has {HALF}")
        return prompt
    if not isinstance(prompt, list):
        kind = type(prompt).__name__
        raise UserError(f"{where} must be text or a list of chat messages, not {kind}")
    for at, message in enumerate(prompt, 1):
        if not isinstance(message, dict) or not all(
            isinstance(message.get(field), str) for field in ("role", "content")
        ):
            raise UserError(f"row {number}: message {at} needs `role` and `content`, both text")
        if not is_text(message["role"] + message["content"]):
            raise UserError(f"{where}: message {at} has {HALF}")
    if not any(m["content"].strip() for m in prompt):
        raise UserError(f"{where} is empty")
    return prompt


@cache
def require_columns(template: str, field: str) -> None:
    """Refuse a template that names no column, or what a column has inside."""
    columns = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    if not columns:
        raise UserError(
            f"{field}: names no column, so that every prompt would be the same text; write "
            "{prompt} where the question belongs"
        )
    if hidden := [name for name in columns if "." in name.partition("[")[0]]:
        raise UserError(f"{field}: {{{hidden[0]}}} is no column; columns are written as {{name}}")


def fill(template: str, row: Row, number: int, field: str) -> str:
    """The template with a row's columns; UserError that names its field."""
    if not template.strip():
        raise UserError(
            f"{field}: is empty, and so would be every prompt; leave it out, or write "
            "{prompt} where the question belongs"
        )
    try:
        require_columns(template, field)
        with bounded(SLOWEST, LARGEST):
            text = template.format_map(row)
    except UserError:
        raise
    except KeyError as error:
        raise UserError(
            f"row {number} has no column {error.args[0]!r}, which {field} names; "
            f"there are: {', '.join(map(str, row))}"
        ) from None
    except Exception as error:  # also what a column's own type says to a format of numbers
        reason = str(error) or type(error).__name__
        raise UserError(
            f"row {number}: {field} cannot be filled: {reason}; "
            "columns are written as {name}, a brace of the text as {{ or }}"
        ) from None
    if not is_text(text):
        raise UserError(f"row {number}: a column that {field} names has {HALF}")
    if len(text) > LONGEST:
        raise UserError(f"row {number}: {field} makes {len(text):,} characters of it")
    return text


def encode(
    text: str | Messages, tokenizer: Any, chat_template: str, arguments: Row, number: int
) -> list[int]:
    """The token ids of text, or of chat messages in their template."""
    if isinstance(text, list):
        ids = _encode_chat(text, tokenizer, chat_template, arguments, number)
    else:
        ids = _encode(text, tokenizer)
    if not ids:
        raise UserError(
            f"row {number}: no token is left of the prompt once its template is filled in; "
            "see data.prompt_template and data.chat_template"
        )
    return ids


def _encode(text: str, tokenizer: Any) -> list[int]:
    ids = list(tokenizer(text, verbose=False).input_ids)  # too long is for us to say
    # Text that was rendered for a chat brings its begin token: the tokenizer's own is one too many.
    begin = tokenizer.bos_token_id
    if begin is not None and ids[:2] == [begin, begin] and text.startswith(tokenizer.bos_token):
        del ids[0]
    # Some tokenizers close every text with the end token; after it the policy would start anew.
    if ids[-1:] == [tokenizer.eos_token_id] and not text.endswith(tokenizer.eos_token):
        ids.pop()
    return ids


def _encode_chat(
    messages: Messages, tokenizer: Any, template: str, arguments: Row, number: int
) -> list[int]:
    if template == "auto" and not tokenizer.chat_template:
        raise UserError(
            f"row {number} needs a chat template and the tokenizer has none; take a model whose "
            "tokenizer has one, or plain-text prompts with data.chat=false"
        )
    prefilled = is_begun(messages)
    own = inspect.signature(tokenizer.apply_chat_template).parameters.keys() - TEMPLATES
    if taken := sorted(own & arguments.keys()):
        raise UserError(
            f"data.chat_template_kwargs: {taken[0]} is no argument of the template but of the call "
            "around it, which has its own; leave it out"
        )
    settings: Row = {
        "chat_template": None if template == "auto" else template,
        "add_generation_prompt": not prefilled,
        "continue_final_message": prefilled,
        **arguments,
    }
    blind = False
    try:
        with bounded(SLOWEST, LARGEST):
            # As text first: a template that writes without end would keep the tokenizer for hours.
            text = tokenizer.apply_chat_template(messages, tokenize=False, **settings)
            if number == 1 and template != "auto":
                asked = {**messages[-1], "content": f"{messages[-1]['content']}?"}
                other = [*messages[:-1], asked]
                blind = text == tokenizer.apply_chat_template(other, tokenize=False, **settings)
        if len(text) <= LONGEST and is_text(text) and not blind:
            return tokenizer.apply_chat_template(messages, return_dict=False, **settings)
        reason = f"it writes {len(text):,} characters" if is_text(text) else f"it writes {HALF}"
    except Exception as error:  # Jinja's errors, and whatever a template raises by itself
        reason = f"{type(error).__name__}: {error}"
    if blind:
        raise UserError(
            "data.chat_template: shows nothing of the last message, so that all questions would be "
            "one; it is the template itself, not the name of a file"
        )
    raise UserError(f"row {number}: the chat template failed: {reason}")
