"""n answers to each question of a benchmark, written as they come; goes on where it stopped."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from evenflow.data import Prompt
from evenflow.errors import UserError
from evenflow.evaluation.benchmarks.answers import SAMPLING, Answers, write_facts
from evenflow.evaluation.benchmarks.questions import text_of
from evenflow.evaluation.benchmarks.verdicts import NOT_YET
from evenflow.rollout.engine import Engine, sample
from evenflow.rollout.group import Group
from evenflow.rollout.sampling import Sampling
from evenflow.run.console import Display


class Stopped(Exception):
    """A signal came, and what is whole is written."""


@dataclass
class Facts:
    """What is known of the sampling, over all sessions that it took."""

    source: str
    prompt_format: str
    max_completion_length: int
    left_out: Mapping[str, int]
    questions: int
    """How many are to be answered."""
    weights: str | None
    """The mark of the model (`weights.mark_of`)."""
    seconds: float = 0.0
    tokens: int = 0


def question_seed(seed: int, key: str) -> int:
    """The random stream of a question's answers: 63 bits of a hash of seed and id."""
    digest = hashlib.sha256(f"{seed}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def sample_answers(
    engine: Engine,
    prompts: Mapping[str, Prompt],
    golds: Mapping[str, Any],
    answers: Answers,
    facts: Facts,
    how: Sampling,
    *,
    num_generations: int,
    max_batch: int,
    seed: int,
    stop: Callable[[], bool],
) -> None:
    """Sample what is missing, by chunks of max_batch // num_generations questions (at least one).

    A question's answers are a function of weights, seed and the question, and of what is sampled
    beside it by float error only. `prompts` are by id, in order. Raises Stopped once `stop` says
    so, after the next question whose answers are all there.
    """
    write_facts(answers.folder, SAMPLING, vars(facts))  # a kill may come at any time
    whole = answers.whole(num_generations)
    keys = [key for key in prompts if key not in whole]
    size = max(1, max_batch // num_generations)
    display = Display("sampling", len(prompts), len(whole))
    session = 0  # tokens

    def write(chunk: Sequence[str], group: Group) -> None:
        nonlocal session
        key = chunk[group.place]
        session += sum(map(len, group.answers))
        facts.tokens += sum(map(len, group.answers))
        answers.add(lines_of(key, golds[key], group))
        whole.add(key)
        rate = session / (time.monotonic() - display.began)
        display.update(len(whole), {"tokens/s": f"{rate:,.0f}"})
        if stop():
            raise Stopped

    with display:
        for start in range(0, len(keys), size):
            chunk = keys[start : start + size]
            began = time.monotonic()
            try:
                for group in sample(
                    engine,
                    [prompts[key] for key in chunk],
                    num_generations,
                    how,
                    seed=[question_seed(seed, key) for key in chunk],
                ):
                    write(chunk, group)
            except torch.OutOfMemoryError as error:
                again = f"; output={answers.folder} goes on from here" if whole else ""
                raise UserError(
                    f"max_batch: memory ran out with {max_batch} answers at once; lower it{again}"
                ) from error
            finally:
                facts.seconds += time.monotonic() - began
                write_facts(answers.folder, SAMPLING, vars(facts))


def lines_of(key: str, gold: Any, group: Group) -> list[dict[str, Any]]:
    """The answers to a question as lines of answers.jsonl, to be graded later."""
    opened = group.prompt.opened_thought
    return [
        {
            "id": key,
            "sample": number,
            "prompt": text_of(group.prompt.text),
            "gold": gold,
            "response": text,
            "tokens": len(ids),
            "finished": ended,
            "verdict": "unknown",
            "reason": NOT_YET,
            "class": None,
            **({"opened_thought": opened} if opened else {}),
        }
        for number, (text, ids, ended) in enumerate(
            zip(group.texts, group.answers, group.finished, strict=True)
        )
    ]
