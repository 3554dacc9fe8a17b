"""What `evenflow diversity` takes on the command line."""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path

NGRAMS, EMBEDDING = 0.5, 0.2
"""Cosine distance within a cluster of n-gram vectors; of a model's, which are closer together."""


def number(text: str) -> float:
    """A number that is one."""
    if not math.isfinite(value := float(text)):
        raise ArgumentTypeError(f"must be a number, not {text}")
    return value


def temperature(text: str) -> float | None:
    """A number, or none: not sent."""
    return None if text == "none" else number(text)


def count(text: str) -> int:
    """A whole number of at least 1."""
    from evenflow.bounds import MANY

    if not 1 <= (value := int(text)) <= MANY:
        raise ArgumentTypeError(f"must be from 1 to {MANY:,}, not {value}")
    return value


def amount(text: str) -> float:
    """A number above 0."""
    from evenflow.bounds import MANY, SMALL

    if not SMALL <= (value := float(text)) <= MANY:
        raise ArgumentTypeError(f"must be above 0 and at most {MANY:,}, not {text}")
    return value


def add_arguments(parser: ArgumentParser) -> None:
    """Files, how answers are compared, and the judge."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="ANSWERS",
        help="answers.jsonl, samples.jsonl, or lines with `prompt` and `response`; several files "
        "are compared",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="where to write the result of one file (default: diversity.json beside it; "
        "NAME.diversity.json where the file has another name than these)",
    )
    parser.add_argument(
        "--right-only", action="store_true", help="compare nothing but the right answers"
    )
    parser.add_argument(
        "--right",
        type=number,
        default=1.0,
        help="reward that is right in samples.jsonl (default 1)",
    )
    parser.add_argument(
        "--task", help="built-in task that tells its solutions apart: countdown, programs"
    )
    parser.add_argument(
        "--task-options", default="{}", metavar="JSON", help="""e.g. '{"operators": "+-*/"}'"""
    )
    parser.add_argument(
        "--embed",
        metavar="MODEL",
        help="sentence-embedding model, a folder or a name (default: n-gram vectors)",
    )
    parser.add_argument(
        "--threshold",
        type=amount,
        help=f"cosine distance within a cluster (default {NGRAMS}, with --embed {EMBEDDING})",
    )
    judge = parser.add_argument_group(
        "judge",
        "a language model that scores from 1 to 5 how different the approaches are; it is sent "
        "whole answers; its key is read from OPENAI_API_KEY",
    )
    judge.add_argument("--judge", metavar="MODEL", help="the model's name on the server")
    judge.add_argument(
        "--base-url", help="any OpenAI-compatible server (default: OPENAI_BASE_URL, else OpenAI)"
    )
    judge.add_argument(
        "--repeats", type=count, default=3, help="showings, each in another order (default 3)"
    )
    judge.add_argument("--judge-seed", type=int, default=0, help="of the orders (default 0)")
    judge.add_argument(
        "--temperature", type=temperature, default=0.0, help="default 0; none: not sent"
    )
    judge.add_argument("--max-tokens", type=count, help="of a reply (default: the server's)")
    judge.add_argument(
        "--parallel", type=count, default=8, help="requests under way at once (default 8)"
    )
    judge.add_argument(
        "--requests-per-minute", type=amount, help="at most, retries included (default: no limit)"
    )
    judge.add_argument(
        "--timeout", type=amount, default=300.0, help="seconds for a whole reply (default 300)"
    )
    judge.add_argument(
        "--retries", type=int, default=5, help="of a request that failed (default 5)"
    )
    judge.add_argument(
        "--cache", type=Path, help="where judgements are kept (default: judge.jsonl by the result)"
    )
