"""`evenflow diversity`: how different the answers in a file are; one table of several files."""

from __future__ import annotations

import asyncio
import json
import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenflow.errors import UserError
from evenflow.evaluation.diversity.arguments import EMBEDDING, NGRAMS, add_arguments
from evenflow.inputs import an_object, parse_json
from evenflow.run.files import file_at, writable

if TYPE_CHECKING:
    from evenflow.evaluation.diversity.judge import Judge, Judgement
    from evenflow.evaluation.diversity.reading import Question
    from evenflow.evaluation.diversity.solutions import Canonical
    from evenflow.evaluation.diversity.vectors import Vectors

__all__ = ["HELP", "add_arguments", "run"]

HELP = "how different the answers in a file are; a language model as judge"

OURS = ("answers.jsonl", "samples.jsonl")
"""Names of files beside which the result is plainly ``diversity.json``."""
LONG = 50
"""Questions from which progress is shown where nothing is slow."""


def run(options: Namespace) -> None:
    """Measure every file, write a result beside each, show all in one table."""
    from evenflow.evaluation.diversity.table import show
    from evenflow.run.console import console
    from evenflow.run.files import finite, write_atomic

    places = outputs(options.files, options.out)
    if options.cache is not None:
        file_at(options.cache)
    canonical = canonical_by(options)
    contents = [questions_of(path, options, canonical) for path in options.files]
    judge = judge_of(options)
    new_vectors = vectors_by(options)
    results, silent = [], []
    for path, place, (questions, unknown) in zip(options.files, places, contents, strict=True):
        result = measured(path, questions, new_vectors(), options)
        result["unknown_left_out"] = unknown
        if judge is not None:
            with_judge(result, questions, judge, options.cache or place.with_name("judge.jsonl"))
            judged = result["scores"]["judge"]
            if not judged["judgements"]:
                silent.append((path, judged["failures"]["reasons"]))
        text = json.dumps(finite(result), indent=1, ensure_ascii=False)
        write_atomic(place, writable(text) + "\n")
        results.append(result)
    show(results)
    for place in places:
        console.print(writable(f"written to {place}"), markup=False)
    if silent:
        path, reasons = silent[0]
        why = "; ".join(reasons) or "no question has two answers"
        raise UserError(f"{path}: the judge gave no score at all ({why})")


def outputs(files: Sequence[Path], out: Path | None) -> list[Path]:
    """Where each file's result goes; UserError where two would share a place."""
    if nameless := [path for path in files if not path.name]:
        raise UserError(f"{nameless[0]}: is a folder; name a file of answers")
    if out is not None:
        if len(files) > 1:
            raise UserError("--out is for one file; the results of several go beside each")
        if out.is_dir():
            raise UserError(f"--out {out}: is a folder; name a file")
        places = [out]
    else:
        places = [
            path.with_name("diversity.json" if path.name in OURS else f"{path.stem}.diversity.json")
            for path in files
        ]
    for number, place in enumerate(places):
        file_at(place)
        if place.resolve() in {other.resolve() for other in (*places[:number], *files)}:
            raise UserError(f"{place}: two results, or a result and an answer file, would be one")
    return places


def questions_of(
    path: Path, options: Namespace, canonical: Canonical | None
) -> tuple[list[Question], int]:
    """A file's questions with what the options need of them, and how many answers --right-only has
    left out because nobody knows whether they are right."""
    from evenflow.evaluation.diversity.measure import right_only
    from evenflow.evaluation.diversity.reading import read_questions
    from evenflow.evaluation.diversity.solutions import told_apart

    questions = read_questions(path, options.right)
    if canonical is not None:
        questions = told_apart(questions, canonical)
    if options.judge and (blind := [q.key for q in questions if q.prompt is None]):
        raise UserError(
            f"{path}: question {blind[0]!r} has no prompt, and the judge must see the question"
        )
    if options.right_only:
        known = [answer.right for question in questions for answer in question.answers]
        unknown = known.count(None)
        if unknown == len(known):
            raise UserError(f"{path}: --right-only: no answer is known to be right or wrong")
        if not (questions := right_only(questions)):
            raise UserError(f"{path}: --right-only: no answer is right")
        return questions, unknown
    return questions, 0


def vectors_by(options: Namespace) -> Callable[[], Vectors]:
    """What makes the vectors of a file; a model is loaded once."""
    from evenflow.evaluation.diversity.vectors import ModelVectors, NgramVectors, load_model

    if options.embed is None:
        return NgramVectors
    model = load_model(options.embed)
    return lambda: ModelVectors(options.embed, model)


def measured(
    path: Path, questions: Sequence[Question], vectors: Vectors, options: Namespace
) -> dict[str, Any]:
    """The result of a file, all but the judge's part."""
    from evenflow.evaluation.diversity.measure import Measures, means
    from evenflow.run.console import Display

    default = EMBEDDING if options.embed else NGRAMS
    measures = Measures(
        vectors,
        default if options.threshold is None else options.threshold,
        by_solution=options.task is not None,
    )
    with Display(writable(f"measuring {path.name}"), len(questions)) as display:
        rows = measures.rows(
            questions, lambda n: display.update(n, {}) if len(questions) >= LONG else None
        )
    return {
        "kind": "diversity",
        "answers": str(path),
        "questions": len(rows),
        "right_only": options.right_only,
        "scores": means(rows),
        "how": {
            **measures.describe(questions),
            "task": options.task,
            "task_options": None if options.task is None else task_options(options),
            "right": options.right,
        },
        "per_question": rows,
    }


def canonical_by(options: Namespace) -> Canonical | None:
    """What tells solutions apart, by --task and --task-options."""
    if options.task is None:
        return None
    from evenflow.evaluation.diversity.solutions import canonical_of

    return canonical_of(options.task, task_options(options))


def task_options(options: Namespace) -> dict[str, Any]:
    """--task-options as an object."""
    return an_object(parse_json(options.task_options, "--task-options"), "--task-options")


def judge_of(options: Namespace) -> Judge | None:
    """Who judges, by the options and the environment."""
    if options.judge is None:
        return None
    from evenflow.evaluation.diversity.client import Server
    from evenflow.evaluation.diversity.judge import Judge

    base_url = options.base_url or os.environ.get("OPENAI_BASE_URL") or None
    api_key = os.environ.get("OPENAI_API_KEY", "").strip() or None
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise UserError("OPENAI_API_KEY: has characters that no key has")
    if base_url is None and api_key is None:
        raise UserError("--judge: name a server with --base-url, or set OPENAI_API_KEY")
    for option, value in (("--judge", options.judge), ("--base-url", base_url or "")):
        if writable(value) != value:
            raise UserError(f"{option}: is not UTF-8 text: {value!r}")
    if base_url is not None and not base_url.startswith(("http://", "https://")):
        raise UserError(f"--base-url: begins with http:// or https://, not {base_url!r}")
    server = Server(
        base_url,
        api_key,
        options.judge,
        temperature=options.temperature,
        max_tokens=options.max_tokens,
        timeout=options.timeout,
        retries=max(0, options.retries),
        requests_per_minute=options.requests_per_minute,
    )
    return Judge(server, options.repeats, options.judge_seed, options.parallel)


def with_judge(
    result: dict[str, Any], questions: Sequence[Question], judge: Judge, path: Path
) -> None:
    """Add the judge's scores to a result; what it has said is kept whatever happens."""
    from evenflow.evaluation.diversity.cache import Cache
    from evenflow.evaluation.diversity.judge import scores_of, shown, summary
    from evenflow.run.console import Display, console

    cache = Cache(path)
    kept = judge.kept(questions, cache)
    total = len(judge.asked(questions)) * judge.repeats
    found: list[Judgement]
    try:
        with Display("judging", total, start=len(kept)) as display:
            display.update(len(kept), shown(kept.values()))
            found = asyncio.run(judge.judgements(questions, cache, display.update))
    except KeyboardInterrupt:
        said = f"{path} keeps what was judged; the same command goes on"
        console.print(writable(said), markup=False)
        raise
    result["scores"]["judge"] = summary(found, questions)
    result["how"]["judge"] = judge.describe()
    for row, scores in zip(result["per_question"], scores_of(found, len(questions)), strict=True):
        row["judge"] = scores
