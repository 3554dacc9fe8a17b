"""From a benchmark's rows to questions: one form whatever the source calls its columns."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from evenflow.config import BenchmarkConfig
from evenflow.data import JSON_NAMES, Prompt, Row, build_prompts, load_rows
from evenflow.errors import UserError, did_you_mean
from evenflow.evaluation.benchmarks.registry import (
    BENCHMARKS,
    NAME,
    TASK_QUESTIONS,
    Benchmark,
    of_file,
    of_task,
)
from evenflow.evaluation.benchmarks.verdicts import PRESETS
from evenflow.installation import how_to_install
from evenflow.policy.loading import separator_id
from evenflow.rewards.code.formats import checked_cases, seconds, without_tests
from evenflow.rewards.math.spelling import as_one, written_out
from evenflow.run.checkpoints import recipe_of, speaks_in_chat
from evenflow.tasks import TASKS, get_task

STDIN = "Write a Python program that reads standard input and writes to standard output."
METHOD = "Complete this class in Python:\n\n```python\n{starter_code}\n```"


@dataclass(frozen=True)
class Questions:
    """The questions of an evaluation, before anybody is asked."""

    name: str
    benchmark: Benchmark
    source: str
    """Where they are from: a file, a dataset with its split, a task."""
    rows: list[Row]
    """All columns of the source, and `id`, `prompt` and `gold`."""
    left_out: dict[str, int]
    """How many rows cannot be graded, by reason."""


def load_questions(config: BenchmarkConfig) -> Questions:
    """Read the questions that a configuration asks for; UserError says what is missing."""
    name, benchmark, source = find(config)
    split = config.split or benchmark.split
    if source is None:
        with said_of_fields():
            task = get_task(name, config.task_options)
        count = config.skip + (config.questions or TASK_QUESTIONS)
        rows, shown = task.rows(config.split or "test", count), f"task {name}"
    elif benchmark.files and source == benchmark.source:
        rows, shown = load_files(source, split, benchmark.files), f"{source} {split}"
    else:
        with said_of_fields():
            rows = load_rows(source, split)
        shown = source if is_file(source) else f"{source} {split}"
    usable, left_out = [], Counter[str]()
    for row in rows:
        reason = without_tests(row) if config.benchmark == "codeforces" else ""
        if reason:
            left_out[reason] += 1
        else:
            usable.append(row)
    end = None if config.questions is None else config.skip + config.questions
    numbered = list(zip(names(usable), usable, strict=True))[config.skip : end]
    if not numbered:
        raise UserError(f"no question is left of the {len(rows)} of {shown}; see skip")
    return Questions(
        name,
        benchmark,
        shown,
        [checked(read_row(row, key, benchmark, config)) for key, row in numbered],
        dict(left_out),
    )


def find(config: BenchmarkConfig) -> tuple[str, Benchmark, str | None]:
    """(name, row of the table, source) of what `benchmark` names; a task has no source."""
    asked = config.benchmark
    if asked in BENCHMARKS:
        return asked, BENCHMARKS[asked], config.data or BENCHMARKS[asked].source
    if asked in TASKS:
        if config.data is not None:
            raise UserError(f"data: the task {asked} makes its own questions; leave data out")
        return asked, of_task(asked), None
    if is_file(asked):
        return Path(asked).name.split(".")[0], of_file(config.grader), config.data or asked
    known = [*BENCHMARKS, *TASKS]
    hint = did_you_mean(asked, known) or f"there are {', '.join(known)}; "
    raise UserError(
        f"benchmark: there is no {asked!r}; {hint}your own questions are a .jsonl file, or a .json "
        "or .parquet one"
    )


def is_file(source: str) -> bool:
    """Whether a source is read from a file, rather than from Hugging Face."""
    return source.endswith((*JSON_NAMES, ".parquet"))


def load_files(source: str, split: str, files: Sequence[str]) -> list[Row]:
    """The rows of a dataset that is a script, which `datasets` runs no more, by its plain files."""
    versions = {f"v{number}": file for number, file in enumerate(files, 1)}
    if split not in versions:
        raise UserError(f"split: {source} has {', '.join(versions)}, not {split!r}")
    try:
        from datasets import load_dataset
    except ImportError:
        raise UserError(f"Hugging Face data sets need: {how_to_install('data')}") from None
    address = f"hf://datasets/{source}/{versions[split]}"
    try:
        return [dict(row) for row in load_dataset("json", data_files=address, split="train")]
    except Exception as error:  # the library raises many kinds: network, names, formats
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"loading {address} failed: {reason}; data=FILE reads a copy") from error


def names(rows: Sequence[Row]) -> list[str]:
    """An id for each row: the first column of `NAME` that tells all rows apart, else the place."""
    for column in NAME:
        found = [str(row[column]) for row in rows if row.get(column) is not None]
        if len(found) == len(rows) and len(set(found)) == len(rows):
            return found
    return [str(place) for place in range(1, len(rows) + 1)]


def read_row(row: Row, key: str, benchmark: Benchmark, config: BenchmarkConfig) -> Row:
    """A row of the source with `id`, `prompt` (and what its template needs) and `gold`."""
    known = config.benchmark  # a file may be called as a benchmark is
    columns = (config.prompt_column,) if config.prompt_column else benchmark.question
    question = first(row, columns, f"question {key}", "prompt_column")
    if known == "codeforces" and isinstance(question, str) and "title" in row:
        try:
            question = problem_text(row, question)
        except UserError as error:
            raise UserError(f"question {key}: {error}") from None
    if known == "olympiad" and isinstance(row.get("context"), str) and row["context"].strip():
        question = f"{row['context']}\n\n{question}"
    made = {**row, "id": key, "prompt": question}
    if "{instruction}" in benchmark.template:
        starter = row.get("starter_code") or ""
        made["instruction"] = METHOD.format(starter_code=starter) if starter.strip() else STDIN
    grader = config.grader or benchmark.grader
    if grader in ("code", *TASKS):
        return made | {"gold": None}
    columns = (config.gold_column,) if config.gold_column else benchmark.gold
    if grader not in PRESETS and not any(row.get(column) is not None for column in columns):
        return made | {"gold": None}  # a reward function may know by itself what is right
    made["gold"] = short(first(row, columns, f"question {key}", "gold_column"))
    if grader not in PRESETS and (config.gold_column or row.get("answer") is None):
        made["answer"] = made["gold"]  # where reward functions look for it
    return made


def checked(row: Row) -> Row:
    """The row, if its question can be put and its answers can be written; else UserError."""
    key, prompt = row["id"], row["prompt"]
    messages = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    if not messages or not all(
        isinstance(message, dict)
        and all(isinstance(message.get(field), str) for field in ("role", "content"))
        for message in messages
    ):
        raise UserError(
            f"question {key}: must be text, or a list of chat messages whose `role` and `content` "
            "are text"
        )
    gold = json.dumps(row["gold"], ensure_ascii=False)
    for name, text in (("id", key), ("prompt", text_of(prompt)), ("gold", gold)):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"question {key!a}: its {name} has half a character "
                f"({error.object[error.start]!a}, a lone surrogate), which no file can hold; mend "
                "the data"
            ) from None
    return row


def text_of(question: str | list[dict[str, Any]]) -> str:
    """The question as text, whatever stands around it."""
    if isinstance(question, str):
        return question
    return "\n\n".join(message["content"] for message in question)


def refuse_others(lines: Iterable[Row], rows: Iterable[Row], source: str, what: str) -> None:
    """UserError for the first answer to a question that is not among the rows as it was put;
    `what` to do about it."""
    texts = {row["id"]: text_of(row["prompt"]) for row in rows}
    other = next((line for line in lines if texts.get(line["id"]) != line["prompt"]), None)
    if other is not None:
        found = "has changed in" if other["id"] in texts else "is gone from"
        raise UserError(
            f"question {other['id']}: {found} {source} since its answers were sampled; {what}"
        )


def first(row: Row, columns: Sequence[str], place: str, field: str) -> Any:
    """The value of the first of the columns that the row has."""
    for column in columns:
        if row.get(column) is not None:
            return row[column]
    if empty := [column for column in columns if column in row]:
        raise UserError(f"{place}: column {empty[0]!r} is empty (null); see {field}")
    raise UserError(
        f"{place}: has none of the columns {', '.join(columns)}; name one with {field}; there are: "
        f"{', '.join(map(str, row))}"
    )


def short(gold: Any) -> Any:
    """A gold as one answer: what follows ``####``; what is no number of JSON as the rewards write
    it out (several right values as a list of them, Parquet's decimals and dates); what they cannot
    read, an object say, as JSON has it."""
    if isinstance(gold, str):
        return gold.rpartition("####")[2].strip() if "####" in gold else gold
    if isinstance(gold, int | float):
        return gold
    try:
        return written_out(as_one(gold))
    except ValueError:
        unreadable = isinstance(gold, bytes | Decimal)  # as text it would be a wrong gold
        return None if unreadable else json.loads(json.dumps(gold, default=str))


def problem_text(row: Row, description: str) -> str:
    """A problem of Codeforces: title, limits, description, input, output, examples, note."""
    parts = [f"{row['title']}\n\n{description}"]
    if row.get("time_limit"):
        parts[0] = f"{row['title']} (time limit: {seconds(row):g} s)\n\n{description}"
    sections = (("input_format", "Input"), ("output_format", "Output"))
    parts += [f"{title}\n{row[column]}" for column, title in sections if row.get(column)]
    for example in checked_cases(row.get("examples") or [], "Codeforces: examples"):
        shown = f"Input:\n{example['input'].rstrip()}\nOutput:\n{example['output'].rstrip()}"
        parts.append(f"Example\n{shown}")
    if row.get("note"):
        parts.append(f"Note\n{row['note']}")
    return "\n\n".join(parts)


@dataclass(frozen=True)
class PromptFormat:
    """How questions are put to a model."""

    template: str
    chat: bool
    system_prompt: str | None
    arguments: dict[str, Any]
    chat_template: str = "auto"
    separator: int | None = None
    stop: Sequence[str | int] = ()
    """What ended answers in the run that the model comes from."""

    def __str__(self) -> str:
        """In words, for the result."""
        whose = "tokenizer" if self.chat_template == "auto" else "run"
        said = [f"chat template of the {whose}" if self.chat else "plain text", self.template]
        if self.system_prompt:
            said.append(f"system message: {self.system_prompt}")
        if self.arguments:
            said.append(f"arguments of the chat template: {self.arguments}")
        return "\n".join(said)


def prompt_format(config: BenchmarkConfig, benchmark: Benchmark, tokenizer: Any) -> PromptFormat:
    """The configuration's wishes, else the benchmark's way, around it what the run had that the
    model comes from: its chat template with system message and arguments, its separator."""
    chat = speaks_in_chat(config.model.path, tokenizer, config.chat)
    own = benchmark.template if chat else benchmark.plain_template or benchmark.template
    template = own if config.prompt_template is None else config.prompt_template
    system, arguments = config.system_prompt, config.chat_template_kwargs
    recipe = recipe_of(config.model.path)
    if recipe is None:
        return PromptFormat(template, chat, system, arguments)
    return PromptFormat(
        template,
        chat,
        recipe.data.system_prompt if system is None and chat else system,
        arguments or recipe.data.chat_template_kwargs,
        recipe.data.chat_template,
        separator_id(recipe.head if recipe.build_objective().needs.head else None, tokenizer),
        recipe.rollout.stop,
    )


def put(rows: Iterable[Row], form: PromptFormat, tokenizer: Any, longest: int) -> list[Prompt]:
    """The questions as a model reads them, in order; `longest` is in tokens."""
    with said_of_fields():
        return build_prompts(
            rows,
            tokenizer,
            chat=form.chat,
            system_prompt=form.system_prompt,
            chat_template=form.chat_template,
            chat_template_kwargs=form.arguments,
            prompt_template=form.template,
            separator_id=form.separator,
            max_prompt_length=longest,
        )


class said_of_fields:
    """Names the fields of this configuration in what `evenflow.data` says of a recipe's."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, UserError):
            text = str(error).replace("data.train and data.test", "benchmark, or data")
            raise UserError(text.replace("data.", "")) from error
