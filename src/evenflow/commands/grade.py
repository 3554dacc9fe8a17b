"""`evenflow grade`: a file of responses in, the same lines with a verdict out."""

from __future__ import annotations

import importlib
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator
from itertools import islice, tee
from pathlib import Path
from typing import Any

from evenflow.errors import UserError
from evenflow.inputs import expanded, json_rows
from evenflow.run.files import appearing, file_at, json_line, writing
from evenflow.terminal import counted

HELP = "verdicts on a file of responses: math or code"

KINDS = {
    "math": "evenflow.rewards.math:grade_rows",
    "code": "evenflow.rewards.code:grade_rows",
}
"""A function of rows that gives (verdict, reason) of each, in order."""
FIELDS = {"math": ("response", "gold"), "code": ("response",)}
"""What every line must have; a kind may ask for more."""
LONG = 1000
"""Lines from which progress is shown."""
VERDICTS = ("right", "wrong", "unknown")


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow grade` takes."""
    parser.add_argument(
        "file",
        type=expanded,
        help="lines of JSON with `response`, for math also `gold`, and `opened_thought` (the mark) "
        "where the prompt opened one",
    )
    parser.add_argument("--kind", choices=sorted(KINDS), required=True, help="of the questions")
    parser.add_argument(
        "--out",
        type=expanded,
        required=True,
        help="where to write every line with `verdict` (right, wrong, unknown) and `reason`",
    )
    parser.add_argument(
        "--preset",
        help="math: grade as others do (dapo, math-verify, boxed-strict); default: our own way",
    )


def run(options: Namespace) -> None:
    """Check the whole file, grade it, write it when all is done, and count."""
    from evenflow.run.console import Display, console

    if options.preset is not None and options.kind != "math":
        raise UserError(f"--preset is for --kind math, not {options.kind}")
    file_at(options.out)
    total = sum(1 for _ in read(options.file, FIELDS[options.kind]))
    if not total:
        raise UserError(f"{options.file}: there are no lines")
    if options.out.exists() and options.out.samefile(options.file):
        raise UserError(f"{options.out}: is the input; write elsewhere")
    module, _, name = KINDS[options.kind].partition(":")
    grade_rows = getattr(importlib.import_module(module), name)
    arguments = {} if options.preset is None else {"preset": options.preset}

    counts: Counter[str] = Counter()
    ahead, rows = tee(islice(read(options.file, FIELDS[options.kind]), total))  # it may grow
    found = grade_rows(ahead, **arguments)
    display = Display("grading", total)
    with writing(options.out):
        options.out.parent.mkdir(parents=True, exist_ok=True)
    with appearing(options.out) as out, display:
        for number, (row, (verdict, reason)) in enumerate(zip(rows, found, strict=True), 1):
            line = row | {"verdict": verdict, "reason": reason}
            with writing(options.out):
                out.write(json_line(line))
            counts[verdict] += 1
            if total >= LONG:
                display.update(number, {name: str(counts[name]) for name in VERDICTS})
    shares = ", ".join(f"{name} {counts[name]} ({counts[name] / total:.1%})" for name in VERDICTS)
    console.print(f"{counted(total, 'response')}: {shares}")
    console.print(f"written to {options.out}", markup=False)


def read(path: Path, fields: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file, empty lines left out; UserError names the line that is wrong."""
    for place, row in json_rows(path, again=True):
        yield _row(row, fields, place)


def _row(row: dict[str, Any], fields: tuple[str, ...], place: str) -> dict[str, Any]:
    for name in fields:
        if name not in row:
            raise UserError(f"{place}: has no field {name!r}; it has: {', '.join(row) or 'none'}")
    response = row["response"]
    if not isinstance(response, str) and not _is_chat(response):
        raise UserError(f"{place}: response must be text or chat messages")
    from evenflow.rewards.thoughts import ENDS, MARKS

    mark = row.get("opened_thought")
    if mark is not None and not (isinstance(mark, str) and (not mark or mark.lower() in ENDS)):
        raise UserError(
            f"{place}: opened_thought: {mark!r} opens no thought; {', '.join(MARKS)} do"
        )
    return row


def _is_chat(response: Any) -> bool:
    return (
        isinstance(response, list)
        and len(response) > 0
        and isinstance(response[-1], dict)
        and isinstance(response[-1].get("content"), str)
    )
