"""Answers that are longer than what a step gives them go on in the next one.

A step of long reasoning lasts as long as its longest answer, with most of the batch idle. In parts
each step decodes a bounded number of tokens; what has not ended by then is kept as it is, and read
again with its prompt when the next step goes on with it (partial rollouts: Kimi k1.5, arXiv
2501.12599, §2.6.2). Every token keeps the log-prob that it was drawn with, and the version of the
policy that drew it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from evenflow.rollout.decoding import texts_of
from evenflow.rollout.engine import Engine, sample
from evenflow.rollout.group import Group
from evenflow.rollout.sampling import Sampling


def open_rows(group: Group, limit: int) -> list[int]:
    """Which answers of a group have neither ended nor come to their limit of tokens."""
    rows = zip(group.answers, group.finished, strict=True)
    return [i for i, (ids, finished) in enumerate(rows) if not finished and len(ids) < limit]


def go_on(
    engine: Engine,
    groups: Sequence[Group],
    sampling: Sampling,
    segment: int,
    seeds: Iterator[int],
    tokenizer: Any,
    vocabulary: int | None,
) -> list[Group]:
    """The groups, with every open answer up to `segment` tokens longer. Each goes on as an answer
    to its prompt and itself so far, with a seed of its own."""
    limit = sampling.max_tokens
    places = [(n, row) for n, group in enumerate(groups) for row in open_rows(group, limit)]
    prompts = [
        replace(groups[n].prompt, ids=(*groups[n].prompt.ids, *groups[n].answers[row]))
        for n, row in places
    ]
    asked = replace(sampling, max_tokens=segment)
    seed = [next(seeds) for _ in places]
    more = [dict[int, Group]() for _ in groups]
    for part in sample(engine, prompts, 1, asked, seed=seed, vocabulary=vocabulary):
        n, row = places[part.place]
        more[n][row] = part
    return [longer(group, parts, tokenizer) for group, parts in zip(groups, more, strict=True)]


def longer(group: Group, parts: dict[int, Group], tokenizer: Any) -> Group:
    """The group with a further part of some answers, by their rows."""
    answers, logprobs = list(group.answers), list(group.logprobs)
    versions = group.versions or [[group.version] * len(ids) for ids in answers]
    versions, finished = list(versions), list(group.finished)
    for row, part in parts.items():
        answers[row] = answers[row] + part.answers[0]
        logprobs[row] = logprobs[row] + part.logprobs[0]
        versions[row] = versions[row] + [part.version] * len(part.answers[0])
        finished[row] = part.finished[0]
    # A character's bytes may lie on both sides of a seam: the text is that of the whole answer.
    texts = texts_of(tokenizer, group.prompt.ids, answers, finished)
    return replace(
        group,
        answers=answers,
        logprobs=logprobs,
        versions=versions,
        finished=finished,
        texts=texts,
    )
