"""`flowbalance eval model.path=… benchmark=…`: sample, grade, count; or grade again."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from flowbalance.config import BenchmarkConfig, ModelConfig, load
from flowbalance.errors import UserError
from flowbalance.evaluation.benchmarks.answers import (
    ANSWERS,
    CONFIG,
    FREE,
    REGRADED,
    SAMPLING,
    Answers,
    read_facts,
    refuse_changes,
    save_config,
    saved_config,
)
from flowbalance.evaluation.benchmarks.questions import (
    Questions,
    find,
    load_questions,
    prompt_format,
    put,
)
from flowbalance.evaluation.benchmarks.rating import read_contests, read_users
from flowbalance.evaluation.benchmarks.result import grade_all, grader_of, write_result
from flowbalance.evaluation.benchmarks.sampling import Facts, Stopped, sample_answers, text_of
from flowbalance.evaluation.benchmarks.verdicts import NOT_YET, check_grader, needs_rows
from flowbalance.policy.loading import compute_dtype, load_model, load_tokenizer
from flowbalance.policy.policy import Policy
from flowbalance.report.display import console
from flowbalance.report.files import writing
from flowbalance.rollout import Sampling
from flowbalance.rollout.decoder import check_model
from flowbalance.training.interrupt import Interrupt
from flowbalance.training.run import choose_device, discard_run, new_folder
from flowbalance.training.setup import positions, stop_ids

LONGEST = 8192
"""Tokens of an answer, where the model has room for them: what FlowRL trains with."""


def evaluate(overrides: Sequence[str], model_folder: Callable[[str], str]) -> None:
    """Sample, or go on sampling, then grade and count. `model_folder`: a run → its model."""
    config = load(BenchmarkConfig, None, overrides)
    path = model_folder(config.model.path)
    config = config.model_copy(update={"model": config.model.model_copy(update={"path": path})})
    name = find(config)[0]
    check_grader(grader_of(config))
    check_files(config, name)
    folder = Path(config.output) if config.output else None
    if folder is not None and any((folder / file).exists() for file in (CONFIG, ANSWERS)):
        old = saved_config(folder)
        if Answers(folder).lines:
            refuse_changes(old, config, FREE)
    questions = load_questions(config)
    folder = folder or new_folder(f"eval-{name}")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    save_config(folder, config)
    with Interrupt() as interrupt:
        try:
            answers = sampled(config, questions, folder, lambda: interrupt.requested)
        except Stopped:
            console.print(
                f"stopped; the same command with output={folder} goes on from here", markup=False
            )
            raise SystemExit(128 + interrupt.number) from None
        except BaseException:
            discard_run(folder)  # where nothing but the configuration lies in it
            raise
    rows = {row["id"]: row for row in questions.rows}
    grade_all(config, answers, rows)
    write_result(config, folder, answers, rows)


def regrade(folder: Path, overrides: Sequence[str]) -> None:
    """Grade the saved answers again, with another grader if one is asked for."""
    old = saved_config(folder)
    config = load(BenchmarkConfig, folder / CONFIG, overrides)
    refuse_changes(old, config, REGRADED)
    name, grader = find(config)[0], grader_of(config)
    check_grader(grader)
    check_files(config, name)
    answers = Answers(folder)
    if not answers.lines:
        raise UserError(f"{folder}: has no answers")
    other_golds = (config.data, config.gold_column) != (old.data, old.gold_column)
    rows: dict[str, dict[str, Any]] = {}
    if needs_rows(grader) or other_golds or config.contest_ratings:
        rows = {row["id"]: row for row in load_questions(config).rows}
    for line in answers.lines:
        line |= {"verdict": "unknown", "reason": NOT_YET, "class": None}
        if rows and line["id"] not in rows:
            raise UserError(f"question {line['id']}: is not among those of {config.data or name}")
        if rows:
            line["gold"] = rows[line["id"]]["gold"]
    # Nothing is written before all of it is graded: verdicts of two graders must not be mixed.
    grade_all(config, answers, rows, save_every=math.inf)
    save_config(folder, config)
    write_result(config, folder, answers, rows)


def check_files(config: BenchmarkConfig, name: str) -> None:
    """Read the rating's files before the work, so that a mistake in them costs nothing."""
    if name != "codeforces" and (config.contest_ratings or config.user_ratings):
        raise UserError("contest_ratings, user_ratings: are for benchmark=codeforces")
    if config.user_ratings and not config.contest_ratings:
        raise UserError("user_ratings: a percentile needs a rating: give contest_ratings, too")
    if config.contest_ratings:
        read_contests(config.contest_ratings)
    if config.user_ratings:
        read_users(config.user_ratings)


def sampled(
    config: BenchmarkConfig, questions: Questions, folder: Path, stop: Callable[[], bool]
) -> Answers:
    """All answers to all questions; the model is loaded only where some are missing."""
    answers, n = Answers(folder), config.num_generations
    keys = [row["id"] for row in questions.rows]
    texts = {row["id"]: text_of(row["prompt"]) for row in questions.rows}
    other = next((a for a in answers.lines if texts.get(a["id"]) != a["prompt"]), None)
    if other is not None:
        raise UserError(
            f"question {other['id']}: has changed since its answers were sampled, or is gone; "
            "choose another folder with output=…"
        )
    answers.keep(keys, n)
    if len(answers.lines) == n * len(keys):
        return answers
    note = "" if config.data else questions.benchmark.note
    console.print(questions.source + (f" ({note})" if note else ""), markup=False)
    if answers.lines:
        there = len(answers.lines) // n
        console.print(f"going on: {there} of {len(keys)} questions are answered", markup=False)
    policy, tokenizer, ends, reads = loaded(config)
    form = prompt_format(config, questions.benchmark, tokenizer)
    prompts = put(questions.rows, form, tokenizer, sys.maxsize)
    longest = max(len(prompt.ids) for prompt in prompts)
    room = (reads or sys.maxsize) - longest
    limit = config.max_completion_length or min(LONGEST, room)
    if limit > room or room < 1:
        raise UserError(
            f"max_completion_length: the longest question has {longest} tokens and the model reads "
            f"{reads}, which leaves {max(room, 0)} for an answer"
        )
    known = read_facts(folder, SAMPLING)
    facts = Facts(
        questions.source,
        str(form),
        limit,
        questions.left_out,
        known.get("seconds", 0.0),
        known.get("tokens", 0),
    )
    sample_answers(
        policy,
        tokenizer,
        dict(zip(keys, prompts, strict=True)),
        {row["id"]: row["gold"] for row in questions.rows},
        answers,
        facts,
        Sampling(limit, config.temperature, config.top_p, stop_ids=ends),
        num_generations=n,
        max_batch=config.max_batch,
        seed=config.seed,
        stop=stop,
    )
    answers.keep(keys, n)  # in the questions' order, rather than as they came
    return answers


def loaded(config: BenchmarkConfig) -> tuple[Any, Any, tuple[int, ...], int | None]:
    """The policy, its tokenizer, the tokens that end an answer, and how many tokens it reads."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = choose_device(config.device)
    tokenizer = load_tokenizer(config.model.path)
    model: Any = load_model(config.model.path, torch.float32, config.model.attention)
    try:
        check_model(model)
    except ValueError as error:
        raise UserError(f"model.path: {error}") from error
    dtype = compute_dtype(ModelConfig(dtype=config.model.dtype), device)
    policy = Policy(model, compute_dtype=dtype).to(device).eval()
    return policy, tokenizer, stop_ids(config.stop, tokenizer, model), positions(model)
