"""Questions: rows from a file or a Hugging Face data set, made into tokenized prompts.

A row is a mapping with a prompt column, text or chat messages; every other column goes to the
reward by name. Rows are numbered from 1 in messages. `docs/data.md` is the page for users.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from evenflow.errors import UserError
from evenflow.inputs import an_object, is_text, json_rows, read_json
from evenflow.installation import how_to_install
from evenflow.machine import bounded
from evenflow.rewards.thoughts import opened_by

LOG = logging.getLogger(__name__)
JSON_NAMES = (".json", ".json.gz", ".jsonl", ".jsonl.gz")
HUB_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(:(?P<config>[\w.-]+))?")
PROMPT_END = 32
"""Tokens that hold the mark of a thought, if a chat template ends with one."""
NO_FILE = "there is no file {}; check data.train and data.test"
HALF = "half a character (a lone surrogate), which no tokenizer can read; mend the data"
TEMPLATES = {"tools", "documents"}
"""Arguments of `apply_chat_template` that it hands to the template."""
LONGEST = 10_000_000
"""Characters of a prompt in its chat template."""
SLOWEST, LARGEST = 10.0, 2**30
"""Seconds and further bytes that a template may take for one prompt."""

Row = dict[str, Any]
Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Prompt:
    """One question as the trainer holds it."""

    key: str
    """Stable identity (hash of the prompt and its columns): the running log Z is kept under it."""
    text: str | Messages
    """The prompt as in the source; rewards receive it as one of `prompts`."""
    ids: tuple[int, ...]
    """The token ids that the policy is conditioned on."""
    columns: Row
    """All other columns, for the reward."""
    opened_thought: str = ""
    """The mark (``<think>``) of a thought that the prompt leaves open; empty if there is none."""


def load_rows(source: str, split: str = "train") -> list[Row]:
    """Rows of a JSON, JSONL (also .gz) or Parquet file, or of a Hugging Face data set.

    `source` is a path, or ``org/name`` or ``org/name:config``; `split` counts for the latter only.
    Raises UserError for a source that is missing, cannot be read or has no rows.
    """
    path = Path(source).expanduser()
    hub = HUB_NAME.fullmatch(source)
    if source.endswith(JSON_NAMES):
        rows = _read_json(path, by_line=".jsonl" in path.name)
    elif path.suffix == ".parquet":
        rows = _read_parquet(path)
    elif hub and not path.exists():
        rows = _read_hub(hub["name"], hub["config"], split)
    else:
        allowed = ", ".join((*JSON_NAMES, ".parquet"))
        raise UserError(
            f"cannot tell how to read the data {source!r}: give a file that ends in {allowed}, "
            "or a Hugging Face name as org/name or org/name:config"
        )
    if not rows:
        raise UserError(f"the data {source!r} have no rows")
    return rows


def build_prompts(
    rows: Iterable[Row],
    tokenizer: Any,
    *,
    prompt_column: str = "prompt",
    system_prompt: str | None = None,
    chat: bool = False,
    chat_template: str = "auto",
    chat_template_kwargs: dict[str, Any] | None = None,
    prompt_template: str | None = None,
    separator_id: int | None = None,
    max_prompt_length: int,
    long_prompts: Literal["refuse", "drop"] = "refuse",
) -> list[Prompt]:
    """Tokenize the rows' prompts; lengths are in tokens, the separator included.

    Messages always go through the chat template; plain text does so when `chat` is set, as one
    user message. `chat_template` is ``auto`` (the tokenizer's own) or Jinja text, and
    `system_prompt` goes before messages that do not bring a system message of their own.
    `prompt_template` is a `str.format` template over the row's columns for plain text.
    `separator_id` is appended to every prompt. Raises UserError for a row without the prompt
    column, with an empty or malformed prompt, or longer than `max_prompt_length` (unless
    `long_prompts` is ``drop``), for a missing chat template, and if no row is left.
    """
    arguments = chat_template_kwargs or {}
    suffix = [] if separator_id is None else [separator_id]
    prompts, dropped = [], 0
    for number, row in enumerate(rows, 1):
        source = text = _source_prompt(row, prompt_column, number)
        if isinstance(text, str) and prompt_template is not None:
            text = _fill(prompt_template, row, number)
        if isinstance(text, str) and chat:
            text = [{"role": "user", "content": text}]
        if isinstance(text, list):
            if system_prompt and text[0]["role"] != "system":
                text = [{"role": "system", "content": system_prompt}, *text]
            ids = _encode_chat(text, tokenizer, chat_template, arguments, number)
        elif system_prompt:
            raise UserError(
                f"row {number}: data.system_prompt needs chat messages, and the prompt is plain "
                "text; set data.chat=true, or put the text into data.prompt_template"
            )
        else:
            ids = _encode(text, tokenizer)
        if not ids:
            raise UserError(
                f"row {number}: no token is left of the prompt once its template is filled in; "
                "see data.prompt_template and data.chat_template"
            )
        ids += suffix
        if len(ids) > max_prompt_length:
            if long_prompts == "refuse":
                raise UserError(
                    f"row {number}: the prompt has {len(ids)} tokens and the limit is "
                    f"{max_prompt_length}; raise data.max_prompt_length, "
                    "or set data.long_prompts=drop to leave such rows out"
                )
            dropped += 1
            continue
        columns = {name: value for name, value in row.items() if name != prompt_column}
        opened = opened_by(text) or opened_by(tokenizer.decode(ids[-PROMPT_END:]))
        prompts.append(Prompt(_key(source, columns), source, tuple(ids), columns, opened))
    if dropped:
        LOG.warning("%d prompts longer than %d tokens were dropped", dropped, max_prompt_length)
    if not prompts:
        limit = f"data.max_prompt_length={max_prompt_length} tokens"
        raise UserError(f"no rows are left: {dropped} of {dropped} are longer than {limit}")
    return prompts


def question_order(count: int, seed: int, start: int, number: int) -> list[int]:
    """Indices, each below `count`, of the `number` questions after the first `start` of a run.

    The run goes through an endless chain of permutations, one an epoch, each drawn from (seed,
    epoch) alone: no question comes twice in an epoch, a step may straddle two, and a resumed run
    needs to know nothing but how many questions were asked.
    """
    positions = range(start, start + number)
    return [_permutation(count, seed, at // count)[at % count] for at in positions]


@lru_cache(maxsize=2)  # a step touches one epoch, or two
def _permutation(count: int, seed: int, epoch: int) -> Sequence[int]:
    order = list(range(count))
    # A string seed is hashed with SHA-512: the same in every process, unlike hash().
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return order


# --- sources --------------------------------------------------------------------------------


def _read_json(path: Path, *, by_line: bool) -> list[Row]:
    if not os.path.exists(path):
        raise UserError(NO_FILE.format(path))
    if by_line:
        return [row for _, row in json_rows(path)]
    rows = read_json(path)
    if not isinstance(rows, list):
        raise UserError(f"{path} must hold a JSON list of rows; one row a line is .jsonl")
    return [an_object(row, f"{path}, row {number}") for number, row in enumerate(rows, 1)]


def lacks_package(what: str, package: str) -> UserError:
    """The sentence for data that a package of the extra would read."""
    return UserError(f"{what} need the package {package}: {how_to_install('data')}")


def _read_parquet(path: Path) -> list[Row]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise lacks_package("Parquet files", "pyarrow") from None
    if not os.path.exists(path):
        raise UserError(NO_FILE.format(path))
    try:
        return parquet.read_table(path).to_pylist()
    except Exception as error:  # the library raises many kinds: damage, types that Python lacks
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"cannot read {path} as Parquet: {reason or type(error).__name__}"
        ) from error


def _read_hub(name: str, config: str | None, split: str) -> list[Row]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise lacks_package("Hugging Face data sets", "datasets") from None
    try:
        return [dict(row) for row in load_dataset(name, config, split=split)]
    except Exception as error:  # the library raises many kinds: network, names, splits, formats
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{name!r} is no file here, and loading it as a Hugging Face data set "
            f"(configuration {config}, split {split}) failed: {reason}"
        ) from error


# --- prompts --------------------------------------------------------------------------------


def _source_prompt(row: Row, column: str, number: int) -> str | Messages:
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


def _fill(template: str, row: Row, number: int) -> str:
    if not template.strip():
        raise UserError(
            "data.prompt_template: is empty, and so would be every prompt; leave it out, or write "
            "{prompt} where the question belongs"
        )
    try:
        with bounded(SLOWEST, LARGEST):
            text = template.format_map(row)
    except KeyError as error:
        raise UserError(
            f"row {number} has no column {error.args[0]!r}, which data.prompt_template names; "
            f"there are: {', '.join(map(str, row))}"
        ) from None
    except Exception as error:  # also what a column's own type says to a format of numbers
        reason = str(error) or type(error).__name__
        raise UserError(
            f"row {number}: data.prompt_template cannot be filled: {reason}; "
            "columns are written as {name}, a brace of the text as {{ or }}"
        ) from None
    if not is_text(text):
        raise UserError(f"row {number}: a column that data.prompt_template names has {HALF}")
    if len(text) > LONGEST:
        raise UserError(f"row {number}: data.prompt_template makes {len(text):,} characters of it")
    return text


def _encode(text: str, tokenizer: Any) -> list[int]:
    ids = list(tokenizer(text).input_ids)
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
    prefilled = messages[-1]["role"] == "assistant"  # the policy goes on with what is there
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
    try:
        with bounded(SLOWEST, LARGEST):
            # As text first: a template that writes without end would keep the tokenizer for hours.
            text = tokenizer.apply_chat_template(messages, tokenize=False, **settings)
        if len(text) <= LONGEST and is_text(text):
            return tokenizer.apply_chat_template(messages, return_dict=False, **settings)
        reason = f"it writes {len(text):,} characters" if is_text(text) else f"it writes {HALF}"
    except Exception as error:  # Jinja's errors, and whatever a template raises by itself
        reason = f"{type(error).__name__}: {error}"
    raise UserError(f"row {number}: the chat template failed: {reason}")


def _key(source: str | Messages, columns: Row) -> str:
    """Half of a SHA-256: no collision to be feared below 2^64 questions."""
    content = json.dumps([source, columns], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:32]
