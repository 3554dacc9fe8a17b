"""`evenflow diversity`: how different the answers in a file are; one table of several files."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenflow.commands.words import add_words, split_words
from evenflow.errors import UserError
from evenflow.inputs import expanded
from evenflow.terminal import complain

if TYPE_CHECKING:
    from evenflow.config import DiversityConfig, JudgeConfig
    from evenflow.evaluation.diversity.judge import Judge, Judgement
    from evenflow.evaluation.diversity.reading import Question
    from evenflow.evaluation.diversity.solutions import Canonical
    from evenflow.evaluation.diversity.vectors import Vectors

HELP = "how different the answers in a file are; a language model as judge"
EPILOG = """\
files: answers.jsonl, samples.jsonl, or lines with `prompt` and `response`; several are compared.
A file with a name like a=b is written ./a=b

examples:
  evenflow diversity answers.jsonl right_only=true
  evenflow diversity runs/latest/samples.jsonl task=countdown output=diversity.json
  evenflow diversity a.jsonl b.jsonl judge.model=MODEL judge.base_url=http://127.0.0.1:8000/v1
"""

OURS = ("answers.jsonl", "samples.jsonl")
"""Names of files beside which the result is plainly ``diversity.json``."""
LONG = 50
"""Questions from which progress is shown where nothing is slow."""


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow diversity` takes."""
    parser.epilog, parser.formatter_class = EPILOG, RawDescriptionHelpFormatter
    add_words(parser, "files of answers", "diversity")


def run(options: Namespace) -> None:
    """Measure every file, write a result beside each, show all in one table."""
    from evenflow.config import DiversityConfig, load
    from evenflow.evaluation.diversity.table import show
    from evenflow.run.console import console
    from evenflow.run.files import file_at, writable, write_json

    words, settings = split_words(options.words)
    files = [expanded(word) for word in words]
    if not files:
        raise UserError("diversity needs a file of answers, e.g. runs/latest/samples.jsonl")
    config = load(DiversityConfig, None, settings)
    places = outputs(files, None if config.output is None else expanded(config.output))
    cache = None if config.judge.cache is None else file_at(expanded(config.judge.cache))
    canonical = canonical_by(config)
    contents = [questions_of(path, config, canonical) for path in files]
    judge = judge_of(config.judge)
    new_vectors = vectors_by(config.embed)
    results, silent = [], []
    for path, place, (questions, unknown) in zip(files, places, contents, strict=True):
        found = None
        if judge is not None:  # first: a server that does not answer is known before a model loads
            found = judge_all(questions, judge, cache or place.with_name("judge.jsonl"))
        result = measured(path, questions, new_vectors(), config)
        result["unknown_left_out"] = unknown
        if judge is not None and found is not None:
            add_judgements(result, questions, judge, found)
            judged = result["scores"]["judge"]
            if not judged["judgements"]:
                silent.append((path, judged["failures"]["reasons"]))
        write_json(place, result)
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
    from evenflow.run.files import file_at

    if nameless := [path for path in files if not path.name]:
        raise UserError(f"{nameless[0]}: is a folder; name a file of answers")
    if out is not None:
        if len(files) > 1:
            raise UserError("output: is for one file; the results of several go beside each")
        if out.is_dir():
            raise UserError(f"output: {out} is a folder; name a file")
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
    path: Path, config: DiversityConfig, canonical: Canonical | None
) -> tuple[list[Question], int]:
    """A file's questions with what the settings need of them, and how many answers `right_only` has
    left out because nobody knows whether they are right."""
    from evenflow.evaluation.diversity.measure import right_only
    from evenflow.evaluation.diversity.reading import read_questions
    from evenflow.evaluation.diversity.solutions import at_odds, told_apart

    questions = read_questions(path, config.right)
    if canonical is not None:
        given, questions = questions, told_apart(questions, canonical)
        if sentence := at_odds(given, questions, f"task={config.task}"):
            complain(f"take care: {path}: {sentence}")
    if config.judge.model and (blind := [q.key for q in questions if q.prompt is None]):
        raise UserError(
            f"{path}: question {blind[0]!r} has no prompt, and the judge must see the question"
        )
    if config.right_only:
        known = [answer.right for question in questions for answer in question.answers]
        unknown = known.count(None)
        if unknown == len(known):
            raise UserError(f"{path}: right_only: no answer is known to be right or wrong")
        if not (questions := right_only(questions)):
            raise UserError(f"{path}: right_only: no answer is right")
        return questions, unknown
    return questions, 0


def vectors_by(model: str | None) -> Callable[[], Vectors]:
    """What makes the vectors of a file; a model is loaded once."""
    from evenflow.evaluation.diversity.vectors import ModelVectors, NgramVectors, load_model

    if model is None:
        return NgramVectors
    loaded = load_model(model)
    return lambda: ModelVectors(model, loaded)


def measured(
    path: Path, questions: Sequence[Question], vectors: Vectors, config: DiversityConfig
) -> dict[str, Any]:
    """The result of a file, all but the judge's part."""
    from evenflow.evaluation.diversity.measure import Measures, means
    from evenflow.run.console import Display
    from evenflow.run.files import writable

    measures = Measures(vectors, by_solution=config.task is not None)
    with Display(writable(f"measuring {path.name}"), len(questions)) as display:
        rows = measures.rows(
            questions, lambda n: display.update(n, {}) if len(questions) >= LONG else None
        )
    return {
        "kind": "diversity",
        "answers": str(path),
        "questions": len(rows),
        "right_only": config.right_only,
        "scores": means(rows),
        "how": {
            **measures.describe(questions),
            "task": config.task,
            "task_options": None if config.task is None else config.task_options,
            "right": config.right,
        },
        "per_question": rows,
    }


def canonical_by(config: DiversityConfig) -> Canonical | None:
    """What tells solutions apart: the task, if there is one."""
    if config.task is None:
        return None
    from evenflow.evaluation.diversity.solutions import canonical_of

    return canonical_of(config.task, config.task_options)


def judge_of(config: JudgeConfig) -> Judge | None:
    """Who judges, by the settings and the environment."""
    if config.model is None:
        return None
    from evenflow.evaluation.diversity.client import Server
    from evenflow.evaluation.diversity.judge import Judge

    base_url = config.base_url or os.environ.get("OPENAI_BASE_URL") or None
    api_key = os.environ.get("OPENAI_API_KEY", "").strip() or None
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise UserError("OPENAI_API_KEY: has characters that no key has")
    if base_url is None and api_key is None:
        raise UserError("judge: name a server with judge.base_url=…, or set OPENAI_API_KEY")
    server = Server(
        base_url,
        api_key,
        config.model,
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        timeout=config.timeout,
        retries=config.retries,
    )
    return Judge(server, config.repeats, config.seed, config.parallel)


def judge_all(questions: Sequence[Question], judge: Judge, path: Path) -> list[Judgement]:
    """What the judge says of every question; it is kept in `path` whatever happens."""
    import asyncio

    from evenflow.evaluation.diversity.cache import Cache
    from evenflow.evaluation.diversity.judge import shown
    from evenflow.run.console import Display, console
    from evenflow.run.files import writable

    cache = Cache(path)
    kept = judge.kept(questions, cache)
    total = len(judge.asked(questions)) * judge.repeats
    try:
        with Display("judging", total, start=len(kept)) as display:
            display.update(len(kept), shown())
            return asyncio.run(judge.judgements(questions, cache, display.update))
    except KeyboardInterrupt:
        said = f"{path} keeps what was judged; the same command goes on"
        console.print(writable(said), markup=False)
        raise


def add_judgements(
    result: dict[str, Any],
    questions: Sequence[Question],
    judge: Judge,
    found: Sequence[Judgement],
) -> None:
    """Add the judge's scores to a result."""
    from evenflow.evaluation.diversity.judge import scores_of, summary

    result["scores"]["judge"] = summary(found, questions)
    result["how"]["judge"] = judge.describe()
    for row, scores in zip(result["per_question"], scores_of(found, len(questions)), strict=True):
        row["judge"] = scores
