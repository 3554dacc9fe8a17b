"""Questions: rows from a file or a Hugging Face data set, made into tokenized prompts.

A row is a mapping with a prompt column, text or chat messages; every other column goes to the
reward by name. Rows are numbered from 1 in messages. `docs/data.md` is the page for users.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from evenflow.errors import UserError
from evenflow.inputs import an_object, expanded, files_of, json_rows, read_json
from evenflow.installation import how_to_install
from evenflow.prompting import Messages, Row, encode, put_guided_question, put_question
from evenflow.rewards.thoughts import opened_by

LOG = logging.getLogger(__name__)
JSON_NAMES = (".json", ".json.gz", ".jsonl", ".jsonl.gz")
HUB_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(:(?P<config>[\w.-]+))?")
PROMPT_END = 32
"""Tokens that hold the mark of a thought, if a chat template ends with one."""
GUIDED = " with its gold answer"
NO_FILE = "there is no file {}; check data.train and data.test"


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
    guide: tuple[int, ...] = ()
    """The token ids of the question with its gold answer; empty where nobody reads them."""

    @property
    def longest(self) -> int:
        """Tokens before an answer, with the gold answer where that is read."""
        return max(len(self.ids), len(self.guide))


def load_rows(source: str, split: str = "train") -> list[Row]:
    """Rows of a JSON, JSONL (also .gz) or Parquet file, or of a Hugging Face data set.

    `source` is a path, a pattern of several (``train-*.parquet``, read in the order of their
    names), or ``org/name`` or ``org/name:config``; `split` counts for the latter only. Rows of
    verl's own form get a column with their right answer (`with_truth`).
    Raises UserError for a source that is missing, cannot be read or has no rows.
    """
    rows = [with_truth(row) for part in files_of(source) for row in _read(part, split)]
    if not rows:
        raise UserError(f"the data {source!r} have no rows")
    return rows


def with_truth(row: Row) -> Row:
    """A row with its right answer in a column, where it is of verl's own form and has none there:
    `tests` where the ability that it asks for is code, else `answer`."""
    truth = row.get("reward_model")
    name = "tests" if row.get("ability") == "code" else "answer"
    known = row.get(name) is not None
    if known or not isinstance(truth, dict) or "ground_truth" not in truth:
        return row
    return {**row, name: truth["ground_truth"]}


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
    guide_template: str | None = None,
    gold: Callable[[Row], str] | None = None,
    max_prompt_length: int,
    long_prompts: Literal["refuse", "drop"] = "refuse",
) -> list[Prompt]:
    """Tokenize the rows' prompts; lengths are in tokens, the separator included.

    Messages always go through the chat template; plain text does so when `chat` is set, as one
    user message. `chat_template` is ``auto`` (the tokenizer's own) or Jinja text, and
    `system_prompt` goes before messages that do not bring a system message of their own.
    `prompt_template` is a `str.format` template over the row's columns for plain text.
    `separator_id` is appended to every prompt. A prompt's `guide` is made by `guide_template`, put
    as the prompt is, or of `gold`, a right answer to a row of columns: the question, the answer,
    the end, and the question again. Raises UserError for a row without the prompt column, with an
    empty or malformed prompt, or longer than `max_prompt_length` (unless `long_prompts` is
    ``drop``), for a missing chat template, and if no row is left.
    """
    arguments = chat_template_kwargs or {}
    suffix = [] if separator_id is None else [separator_id]
    prompts, dropped = [], 0
    for number, row in enumerate(rows, 1):
        source, text = put_question(
            row, number, prompt_column, system_prompt, chat, prompt_template
        )
        ids = encode(text, tokenizer, chat_template, arguments, number)
        columns = {name: value for name, value in row.items() if name != prompt_column}
        guide = []
        if guide_template is not None:
            asked = put_guided_question(
                row, number, prompt_column, system_prompt, chat, guide_template
            )
            guide = encode(asked, tokenizer, chat_template, arguments, number) + suffix
        elif gold is not None:
            end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
            answer = tokenizer(gold(columns), add_special_tokens=False).input_ids
            guide = [*ids, *answer, *end, *ids, *suffix]
        ids += suffix
        if max(len(ids), len(guide)) > max_prompt_length:
            if long_prompts == "refuse":
                too_long, what = (ids, "") if len(ids) > max_prompt_length else (guide, GUIDED)
                raise UserError(
                    f"row {number}: the prompt{what} has {len(too_long)} tokens and the limit is "
                    f"{max_prompt_length}; raise data.max_prompt_length, "
                    "or set data.long_prompts=drop to leave such rows out"
                )
            dropped += 1
            continue
        opened = opened_by(text) or opened_by(tokenizer.decode(ids[-PROMPT_END:]))
        prompts.append(
            Prompt(_key(source, columns), source, tuple(ids), columns, opened, tuple(guide))
        )
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


def _read(source: str, split: str) -> list[Row]:
    path = expanded(source)
    hub = HUB_NAME.fullmatch(source)
    if source.endswith(JSON_NAMES):
        return _read_json(path, by_line=source.removesuffix(".gz").endswith(".jsonl"))
    if path.suffix == ".parquet":
        return _read_parquet(path)
    if hub and not path.exists():
        return _read_hub(hub["name"], hub["config"], split)
    allowed = ", ".join((*JSON_NAMES, ".parquet"))
    raise UserError(
        f"cannot tell how to read the data {source!r}: give a file that ends in {allowed}, "
        "or a Hugging Face name as org/name or org/name:config"
    )


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


def _key(source: str | Messages, columns: Row) -> str:
    """Half of a SHA-256: no collision to be feared below 2^64 questions."""
    try:
        content = json.dumps([source, columns], sort_keys=True, default=str)
    except TypeError:  # keys of several types, which have no order
        content = repr([source, columns])
    return hashlib.sha256(content.encode()).hexdigest()[:32]
