"""`evenflow eval model.path=… benchmark=…`: sample, grade, count; or grade again."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from evenflow.config import BenchmarkConfig, DataConfig, ModelConfig, load
from evenflow.errors import UserError
from evenflow.evaluation.benchmarks.answers import (
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
    write_facts,
)
from evenflow.evaluation.benchmarks.effect import without_effect
from evenflow.evaluation.benchmarks.questions import (
    Questions,
    find,
    is_file,
    load_questions,
    prompt_format,
    put,
    refuse_others,
)
from evenflow.evaluation.benchmarks.rating import read_contests, read_users
from evenflow.evaluation.benchmarks.result import grade_all, grader_of, write_result
from evenflow.evaluation.benchmarks.sampling import Facts, Stopped, sample_answers
from evenflow.evaluation.benchmarks.verdicts import (
    NOT_YET,
    check_grader,
    check_name,
    check_tests,
    needs_rows,
)
from evenflow.inputs import expanded, is_number
from evenflow.machine import require_memory
from evenflow.policy.fingerprint import mark_of
from evenflow.policy.loading import (
    BUILTIN,
    compute_dtype,
    load_model,
    load_tokenizer,
    resolve,
)
from evenflow.policy.policy import Policy
from evenflow.policy.stops import stop_ids
from evenflow.prompting import begun
from evenflow.rollout.engine import build_engine, limits_of
from evenflow.rollout.sampling import Sampling
from evenflow.rollout.stopping import chat_ends, require_vocabulary
from evenflow.run.checkpoints import model_folder
from evenflow.run.console import console
from evenflow.run.folder import choose_device, own_folder, run_folder
from evenflow.run.interrupt import Interrupt
from evenflow.run.kinds import Kind, refuse_other_kinds
from evenflow.run.lock import only_one
from evenflow.run.provenance import provenance
from evenflow.sandbox import Sandbox

LONGEST = 8192
"""Tokens of an answer, where the model has room for them: what FlowRL trains with."""
OF_SAMPLING = {"device", "threads", "max_batch", "gpu_share", "server", "timeout"}
"""Options that change no answer, and mean nothing where none is sampled."""


def evaluate(config: BenchmarkConfig) -> None:
    """Sample, or go on sampling, then grade and count."""
    here = Path.cwd()  # a reward function may go elsewhere when it is imported
    config = with_files(config, here)
    name = find(config)[0]
    check_name(grader_of(config))
    config = with_model(with_ratings(config, here), model_folder(config.model.path))
    questions = load_questions(config)
    check_grader(grader_of(config), questions.rows)
    for sentence in without_effect(config, questions.rows):
        console.print(f"no effect: {sentence}", markup=False)
    folder = run_folder(config.output, f"eval-{name}", here)
    with own_folder(folder):
        refuse_other_kinds(folder, Kind.EVALUATION)
        answered(config, questions, folder, here)


def with_model(config: BenchmarkConfig, path: str) -> BenchmarkConfig:
    """The configuration with another model, a folder's path in full: `runs/latest` and relative
    paths name another model another day. What is built in keeps its name."""
    full = resolve(path)
    model = config.model.model_copy(update={"path": path if path.startswith(BUILTIN) else full})
    return config.model_copy(update={"model": model})


def with_files(config: BenchmarkConfig, base: Path) -> BenchmarkConfig:
    """The configuration with the questions' files by their paths in full, from `base` on."""
    named = {field: getattr(config, field) for field in ("benchmark", "data")}
    files = {field: name for field, name in named.items() if name and is_file(name)}
    return config.model_copy(update={f: str(base / expanded(name)) for f, name in files.items()})


def answered(config: BenchmarkConfig, questions: Questions, folder: Path, here: Path) -> None:
    """Sample, grade and count in a folder that is ours alone; in one of an older release, paths of
    questions may be relative ones from `here`."""
    answers, weights = Answers(folder), mark_of(config.model.path)
    if any((folder / file).exists() for file in (CONFIG, ANSWERS)):
        old = saved_config(folder)
        if answers.lines:
            refuse_changes(with_files(old, here), config, FREE)
            refuse_weights(folder, config.model.path, weights)
            do = "choose another folder with output=…"
            refuse_others(answers.lines, questions.rows, questions.source, do)
    save_config(folder, config)
    goes_on = f"stopped; the same command with output={folder} goes on from here"
    record = provenance(folder, choose_device(config.device), goes_on=bool(answers.lines))
    with record, Interrupt("question") as interrupt:
        try:
            sampled(config, questions, answers, weights, lambda: interrupt.requested)
        except Stopped:
            console.print(goes_on, markup=False)
            raise SystemExit(128 + interrupt.number) from None
    rows = {row["id"]: row for row in questions.rows}
    try:
        grade_all(config, answers, rows)
    except KeyboardInterrupt:
        console.print(goes_on, markup=False)
        raise SystemExit(128 + signal.SIGINT) from None
    write_result(config, folder, answers, rows)


def refuse_weights(folder: Path, path: str, weights: str | None) -> None:
    """UserError if another model gave the answers; where that is not known it is let pass."""
    before = read_facts(folder, SAMPLING).get("weights")
    if before and weights and before != weights:
        raise UserError(
            f"model.path: {path} has other weights, or another tokenizer, than when the answers "
            f"in {folder} were sampled; choose another folder with output=…"
        )


def regrade(folder: Path, overrides: Sequence[str]) -> None:
    """Grade the saved answers again, with another grader if one is asked for."""
    folder = folder.absolute()
    old = saved_config(folder)
    config = load(BenchmarkConfig, folder / CONFIG, overrides)
    asked = {text.partition("=")[0] for text in overrides}
    if "output" in asked:
        raise UserError(
            "output: --regrade writes into the folder that it is given; leave output out, or copy "
            "the folder first"
        )
    here = Path.cwd()
    refuse_changes(with_files(old, here), with_files(config, here), REGRADED)
    # As it is written there: a relative path is made full once its questions are known to be those.
    config = with_ratings(config.model_copy(update={"benchmark": old.benchmark}), here)
    for name in sorted(asked & OF_SAMPLING):
        console.print(f"no effect: {name}: --regrade samples nothing", markup=False)
    with only_one(folder):
        regraded(folder, old, config)


def regraded(folder: Path, old: BenchmarkConfig, config: BenchmarkConfig) -> None:
    """Grade again and count in a folder that is ours alone."""
    grader = grader_of(config)
    answers = Answers(folder)
    # A question that was being written when sampling was killed has a part of its answers.
    answers.keep(list(dict.fromkeys(line["id"] for line in answers.lines)), config.num_generations)
    if not answers.lines:
        raise UserError(f"{folder}: has no question with all of its answers")
    facts = read_facts(folder, SAMPLING)
    other_golds = (config.data, config.gold_column) != (old.data, old.gold_column)
    rows: dict[str, dict[str, Any]] = {}
    if needs_rows(grader) or other_golds or config.contest_ratings:
        config = with_files(config, Path.cwd())
        questions = load_questions(config)
        refuse_others(answers.lines, questions.rows, questions.source, "nothing is graded")
        facts |= {"source": questions.source}
        rows = {row["id"]: row for row in questions.rows}
    check_grader(grader, rows.values())  # once all is read: its module may go to another directory
    for sentence in without_effect(config, list(rows.values())):
        console.print(f"no effect: {sentence}", markup=False)
    for line in answers.lines:
        line |= {"verdict": "unknown", "reason": NOT_YET, "class": None}
        if rows:
            line["gold"] = rows[line["id"]]["gold"]
    # Nothing is written before all of it is graded: verdicts of two graders must not be mixed.
    grade_all(config, answers, rows, save_every=math.inf)
    save_config(folder, config)
    write_facts(folder, SAMPLING, facts)
    write_result(config, folder, answers, rows)


def with_ratings(config: BenchmarkConfig, base: Path) -> BenchmarkConfig:
    """The configuration with the rating's files by their paths in full, from `base` on. They are
    read here already, so that a mistake in them costs nothing."""
    if config.benchmark != "codeforces" and (config.contest_ratings or config.user_ratings):
        raise UserError("contest_ratings, user_ratings: are for benchmark=codeforces")
    if config.user_ratings and not config.contest_ratings:
        raise UserError("user_ratings: a percentile needs a rating: give contest_ratings, too")
    files = {
        field: str(base / expanded(path))
        for field in ("contest_ratings", "user_ratings")
        if (path := getattr(config, field))
    }
    config = config.model_copy(update=files)
    if config.contest_ratings:
        read_contests(config.contest_ratings)
    if config.user_ratings:
        read_users(config.user_ratings)
    return config


def sampled(
    config: BenchmarkConfig,
    questions: Questions,
    answers: Answers,
    weights: str | None,
    stop: Callable[[], bool],
) -> None:
    """All answers to all questions; the model is loaded only where some are missing."""
    n, keys = config.num_generations, [row["id"] for row in questions.rows]
    answers.keep(keys, n)
    answers.save()  # without what is cut, before more is appended
    if len(answers.lines) == n * len(keys):
        return
    if grader_of(config) == "code":
        Sandbox()  # what cannot be graded is said before hours of sampling
        check_tests(questions.rows)
    note = "" if config.data else questions.benchmark.note
    console.print(questions.source + (f" ({note})" if note else ""), markup=False)
    if answers.lines:
        there = len(answers.lines) // n
        console.print(f"going on: {there} of {len(keys)} questions are answered", markup=False)
    policy, tokenizer = loaded(config)
    form = prompt_format(config, questions.benchmark, tokenizer)
    prompts = put(questions.rows, form, tokenizer, sys.maxsize)
    require_vocabulary(prompts, tokenizer, policy.model)
    if sentence := begun([prompt.text for prompt in prompts]):
        console.print(f"take care: {sentence}", markup=False)
    data = DataConfig(
        chat=form.chat, chat_template=form.chat_template, chat_template_kwargs=form.arguments
    )
    stop_at = [*form.stop, *config.stop, *chat_ends(prompts, data, tokenizer, policy.model)]
    ends = stop_ids(stop_at, tokenizer, policy.model, "stop")
    engine = build_engine(
        config.engine,
        tokenizer,
        config.max_batch,
        gpu_share=config.gpu_share,
        server=config.server,
        timeout=config.timeout,
    )
    engine.update(policy, 0)
    limits, longest = limits_of(engine, prompts), max(len(prompt.ids) for prompt in prompts)
    reads = limits.positions or sys.maxsize
    room = reads - longest
    limit = config.max_completion_length or min(LONGEST, room)
    if limit > room or room < 1:
        raise UserError(
            f"max_completion_length: the longest question has {longest} tokens and the model reads "
            f"{reads}{limits.remark}, which leaves {max(room, 0)} for an answer"
        )
    require_memory(n * limit * limits.token_bytes, "num_generations × max_completion_length")
    known = read_facts(answers.folder, SAMPLING)
    facts = Facts(
        questions.source,
        str(form),
        limit,
        questions.left_out,
        len(keys),
        weights,
        *(known[name] if is_number(known.get(name)) else 0 for name in ("seconds", "tokens")),
    )
    sample_answers(
        engine,
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
    answers.save()


def loaded(config: BenchmarkConfig) -> tuple[Any, Any]:
    """The policy and its tokenizer."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = choose_device(config.device)
    tokenizer = load_tokenizer(config.model.path)
    dtype = compute_dtype(ModelConfig(dtype=config.model.dtype), device)
    model: Any = load_model(config.model.path, dtype, config.model.attention)
    policy = Policy(model, compute_dtype=dtype).to(device).eval()
    return policy, tokenizer
