"""What vLLM is asked for, and the groups that come of what it gives: the same in process and from
a server."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from evenflow.data import Prompt
from evenflow.errors import UserError
from evenflow.rollout.decoding import texts_of
from evenflow.rollout.group import Group
from evenflow.rollout.sampling import Sampling

COLDEST = 0.01
"""vLLM takes this temperature in place of any lower one but 0."""
WHOLE, CUT_OFF = "stop", "length"
"""How vLLM says why an answer ended."""


class Answer(NamedTuple):
    """One answer as vLLM gave it."""

    ids: list[int]
    """Token ids, the stop token included."""
    logprobs: list[float]
    """Of each token, in nats, under the distribution that it was drawn from."""
    reason: str | None
    """Why it ended."""


def parameters(sampling: Sampling, count: int, seed: int) -> dict[str, Any]:
    """vLLM's sampling parameters for a group of `count` answers to one prompt.

    Where answers end is ours to say: by `stop_ids`, and the model's own end token is no exception.
    Log-probs are asked for of the drawn token alone. Greedy decoding gives one answer, whatever
    the count: vLLM refuses to repeat it. UserError for what vLLM cannot sample.
    """
    if 0 < sampling.temperature < COLDEST:
        raise UserError(
            f"temperature: vLLM samples at {COLDEST:g} and above, or at 0 (greedy), and "
            f"{sampling.temperature:g} is asked for; raise it, or take engine=embedded"
        )
    return {
        "n": count if sampling.temperature else 1,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "stop_token_ids": list(sampling.stop_ids),
        "ignore_eos": True,
        "logprobs": 0,
        "seed": seed,
    }


def seeds_of(seed: int | Sequence[int], prompts: int) -> list[int]:
    """The seed of each prompt's group, from 0 to 2^62.

    vLLM gives answer i of a group the seed of the group + i, so neighbouring numbers would make
    answers of different questions share their noise: what is given here lies far apart. With a seed
    for each prompt its own one alone decides.
    """
    if isinstance(seed, int):
        return [_scattered(f"{seed}/{place}") for place in range(prompts)]
    return [_scattered(str(each)) for each in seed]


def _scattered(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 2


def group_of(
    place: int,
    prompt: Prompt,
    answers: Sequence[Answer],
    count: int,
    tokenizer: PreTrainedTokenizerBase | None,
    version: int,
) -> Group:
    """The group of the answers to one prompt, `count` of them; one alone, from greedy decoding, is
    each of the group. UserError for an answer that neither ended nor was cut off at its limit:
    vLLM gave it up."""
    if len(answers) == 1:
        answers = [*answers] * count
    for answer in answers:
        if answer.reason not in (WHOLE, CUT_OFF):
            raise UserError(f"rollout.engine: vLLM gave up an answer ({answer.reason})")
    ids = [answer.ids for answer in answers]
    finished = [answer.reason == WHOLE for answer in answers]
    return Group(
        place=place,
        prompt=prompt,
        answers=ids,
        logprobs=[answer.logprobs for answer in answers],
        texts=texts_of(tokenizer, prompt.ids, ids, finished),
        finished=finished,
        version=version,
    )
