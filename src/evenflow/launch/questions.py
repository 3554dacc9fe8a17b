"""A recipe's questions in the files that verl reads."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evenflow.config import TrainConfig, dump
from evenflow.config.effect import idle_templates
from evenflow.data import lacks_package
from evenflow.errors import UserError
from evenflow.launch.job import Files
from evenflow.launch.reward import TOLD
from evenflow.prompting import is_begun, put_question
from evenflow.rewards.thoughts import ENDS
from evenflow.run.files import write_atomic, writing
from evenflow.run.tracking import next_verl_log

TRUTHS = ("answer", "tests", "gold", "solution")
"""Columns that are shown as verl's `ground_truth`; rewards get every column by its own name."""
TRAIN, TEST = "train.parquet", "test.parquet"
KEYS = ("name", "reasoning_content", "tool_calls", "tool_call_id")
"""Of a message's keys, beside role and content, those that the chat protocol has."""
AS_IT_IS = "{% for message in messages %}{{ message.content }}{% endfor %}"
"""A chat template that adds nothing."""


def write_files(config: TrainConfig, folder: Path) -> Files:
    """The recipe, and its questions as verl's Parquet files, in the folder of the run. UserError
    for questions that verl could not put as they are, that lack what the rewards ask for, or that
    are others than those of the checkpoints that are there."""
    from evenflow.policy.loading import load_tokenizer
    from evenflow.training.build import build_rewards, read_rows

    train, test, _ = read_rows(config)
    rewards = build_rewards(config)
    for rows in filter(None, (train, test)):
        rewards.require_columns(dict.fromkeys(columns_of(rows, config.data.prompt_column)), TOLD)
        for number, row in enumerate(rows, 1):
            rewards.check(row, f"row {number}")
    put = [in_verl(row, number, config) for number, row in enumerate(train, 1)]
    held_out = [in_verl(row, number, config) for number, row in enumerate(test, 1)]
    plain = {row["extra_info"]["plain"] for row in (*put, *held_out)}
    if len(plain) > 1:
        raise UserError(
            "data.prompt_column: some prompts are plain text and some chat messages, and verl has "
            "one template for all; make all of them messages, or set data.chat=true"
        )
    template = None
    try:
        tokenizer = load_tokenizer(config.model.path)
    except UserError as error:
        if plain == {True}:
            raise
        unseen = "neither the prompts' lengths nor the thoughts that its chat template opens are"
        opened, remarks = "", [f"take care: {unseen} known here ({error})"]
    else:
        opened, remarks = tokenized(train, test, tokenizer, config)
        template = plain_template(tokenizer) if plain == {True} else None
    chats = [isinstance(row[config.data.prompt_column], list) for row in (*train, *test)]
    remarks += [f"no effect: {sentence}" for sentence in idle_templates(config.data, chats)]
    tables = {name: rows for name, rows in ((TRAIN, put), (TEST, held_out)) if rows}
    if any(folder.glob("global_step_*")):
        for name, rows in tables.items():
            refuse_others(rows, folder / name)
    recipe = folder / "config.yaml"
    write_atomic(recipe, dump(config))
    for name, rows in tables.items():
        write_parquet(rows, folder / name)
    return Files(
        folder=folder,
        recipe=recipe,
        train=folder / TRAIN,
        log=next_verl_log(folder),
        questions=len(put),
        test=folder / TEST if held_out else None,
        template=template,
        opened_thought=opened,
        remarks=remarks,
    )


def tokenized(
    train: list[dict[str, Any]], test: list[dict[str, Any]], tokenizer: Any, config: TrainConfig
) -> tuple[str, list[str]]:
    """The mark of the thought that the chat template opens, and what to be aware of. UserError for
    a prompt that is too long, where the recipe refuses it: verl would cut off its beginning."""
    from evenflow.training.build import tokenize

    data, path = config.data, config.model.path
    first = put_question(
        train[0], 1, data.prompt_column, data.system_prompt, data.chat, data.prompt_template
    )[1]
    if isinstance(first, list) and data.chat_template == "auto" and not tokenizer.chat_template:
        return "", [f"take care: the tokenizer of {path} has no chat template, which verl needs"]
    boundless = data.model_copy(update={"max_prompt_length": sys.maxsize})
    (begun,) = tokenize(train[:1], tokenizer, boundless, None)
    if data.long_prompts == "refuse":
        for rows in filter(None, (train, test)):
            tokenize(rows, tokenizer, data, None)
    mark = begun.opened_thought
    ids = tokenizer(ENDS[mark.lower()], add_special_tokens=False).input_ids if mark else []
    if len(ids) == 1 and ids[0] in tokenizer.all_special_ids:
        return "", [
            f"take care: {ENDS[mark.lower()]} is a special token, which verl leaves out of the "
            "text that rewards get: they cannot tell thoughts from answers"
        ]
    return mark, []


def columns_of(rows: Sequence[dict[str, Any]], prompt: str) -> list[str]:
    """Every column but the prompt."""
    return [name for row in rows for name in row if name != prompt]


def in_verl(row: dict[str, Any], number: int, config: TrainConfig) -> dict[str, Any]:
    """A row of verl's. What rewards get lies in `extra_info.row` as JSON text: a table would give
    every row the columns of all, and other types."""
    data = config.data
    source, put = put_question(
        row, number, data.prompt_column, data.system_prompt, data.chat, data.prompt_template
    )
    if is_begun(put):
        raise UserError(
            f"row {number}: the prompt ends with the assistant's words, which verl would close; "
            "leave that message out"
        )
    if isinstance(put, list) and (
        lost := [key for key in KEYS if any(message.get(key) for message in put)]
    ):
        raise UserError(
            f"row {number}: a message has {lost[0]!r}, which chat templates read and verl's rows "
            "do not have; leave it out"
        )
    columns = {name: row[name] for name in columns_of([row], data.prompt_column)}
    truth = next((columns[name] for name in TRUTHS if name in columns), "")
    try:
        told = json.dumps({"prompt": source, "columns": columns})
    except (TypeError, ValueError) as error:
        raise UserError(f"row {number}: has a column that JSON cannot hold: {error}") from None
    return {
        "data_source": data.task or data.train,
        "prompt": [{key: each[key] for key in ("role", "content")} for each in put]
        if isinstance(put, list)
        else [{"role": "user", "content": put}],
        "reward_model": {
            "style": "rule",
            "ground_truth": truth if isinstance(truth, str) else json.dumps(truth),
        },
        "extra_info": {"index": number - 1, "plain": isinstance(put, str), "row": told},
    }


def plain_template(tokenizer: Any) -> str:
    """A template under which plain text is tokenized as by the tokenizer itself, with its begin
    token where it has one."""
    begin = tokenizer.bos_token_id
    starts = begin is not None and tokenizer("x").input_ids[:1] == [begin]
    return ("{{ bos_token }}" if starts else "") + AS_IT_IS


def write_parquet(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """One file; its folder is there."""
    arrow, parquet = with_arrow()
    with writing(path):
        scratch = path.with_name(f".{path.name}.tmp")
        parquet.write_table(arrow.Table.from_pylist(list(rows)), scratch)
        scratch.replace(path)


def refuse_others(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """UserError where the file is there and holds other questions."""
    arrow, parquet = with_arrow()
    if not path.is_file():
        return
    if parquet.read_table(path).to_pylist() != arrow.Table.from_pylist(list(rows)).to_pylist():
        raise UserError(
            f"{path}: holds other questions than the recipe names now, and the run would go on "
            "with those; put back what was there, or give another folder with output=…"
        )


def with_arrow() -> tuple[Any, Any]:
    """pyarrow and its Parquet module; UserError where it is missing."""
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise lacks_package("verl's files of questions", "pyarrow") from None
    return arrow, parquet
