"""Sampling answers from a causal language model, a group for each prompt.

``generate`` of Transformers pays for a group of G answers G times over: it prefills and stores the
prompt once for each, copies the whole cache to append a token, and decodes every answer until the
longest ends. Here a prompt is prefilled, stored and read once for its group (`SharedPrefix`), so is
what answers have in common up to where they part, the cache is written in place (`RolloutCache`),
and an answer that has ended leaves the batch at once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from evenflow.policy.cacheable import check_model
from evenflow.policy.policy import evaluating
from evenflow.policy.reach import reach, remark
from evenflow.policy.stops import vocabulary
from evenflow.rollout.embedded.decoder import Decoder, pads_unseen
from evenflow.rollout.embedded.draw import draw
from evenflow.rollout.embedded.ended import Collected, Ended, Request, noise_of
from evenflow.rollout.embedded.static import StaticDecoding
from evenflow.rollout.embedded.static_attention import Unsupported
from evenflow.rollout.sampling import Sampling

T = TypeVar("T")


def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    num_generations: int,
    sampling: Sampling,
    *,
    seed: int | Sequence[int],
    pad_id: int = 0,
    max_batch: int = 512,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    static: StaticDecoding | None = None,
) -> Iterator[Ended]:
    """Sample ``num_generations`` answers to each prompt (a sequence of token ids); the answers to
    a prompt come as soon as the last of them has ended, while others are still decoded.

    A pure function of weights, prompts, sampling and seed: the generator is private, and the
    model's training mode is left as it was. Every answer owns its noise, so ``max_batch`` (the most
    answers decoded at once) changes what is sampled by float error only; with a seed for each
    prompt, so do the other prompts. ``autocast`` surrounds the forward passes. ``static``: decode
    with static shapes, where the model allows it, and keep there what the next call can use.

    Raises ``ValueError`` for no prompts, an empty one, an answer that would not fit the model's
    positions, a stop token outside the vocabulary, or a model whose state the cache cannot hold.
    """
    check_model(model)
    _check_request(model, prompts, num_generations, sampling, max_batch)

    @contextmanager
    def decoding() -> Iterator[None]:
        with autocast(), evaluating(model), torch.inference_mode():
            yield

    noise = noise_of(seed, len(prompts), num_generations, sampling.max_tokens, model.device)
    request = Request(model, prompts, num_generations, sampling, noise, pad_id, max_batch)
    return _within(decoding, _groups(request, static))


def _within(enter: Callable[[], AbstractContextManager[Any]], items: Iterator[T]) -> Iterator[T]:
    """The items, each made inside a context that whoever takes them is not in."""
    while True:
        with enter():
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


def _groups(request: Request, static: StaticDecoding | None) -> Iterator[Ended]:
    """By the static path if there is one that takes the model, or else by the dynamic one."""
    given = set()
    if static is not None and static.supports(request.model):
        try:
            for ended in static.decode(request):
                given.add(ended.prompt)
                yield ended
            return
        except Unsupported as reason:
            static.refuse(request.model, str(reason))
    for ended in _decode(request):
        if ended.prompt not in given:
            yield ended


def _decode(request: Request) -> Iterator[Ended]:
    """By the dynamic path: batches whose rows leave as answers end."""
    model, prompts, sampling = request.model, request.prompts, request.sampling
    device = model.device
    total, limit = len(request.noise), sampling.max_tokens
    is_stop = torch.zeros(vocabulary(model), dtype=torch.bool, device=device)
    is_stop[torch.tensor(sampling.stop_ids, dtype=torch.long, device=device)] = True
    tokens = torch.full((total, limit), request.pad_id, device=device)
    logprobs = torch.zeros(total, limit, dtype=torch.float32, device=device)
    collected = Collected(request.group)

    def ended(rows: Tensor, length: int, *, finished: bool) -> Iterator[Ended]:
        parts = (part[rows, :length].tolist() for part in (tokens, logprobs))
        for row, ids, chances in zip(rows.tolist(), *parts, strict=True):
            collected.add(row, ids, chances, finished)
        yield from collected.whole()

    for members, rows in _chunks(request, apart=not pads_unseen(model)):
        chunk, copies = [prompts[i] for i in members], len(rows) // len(members)
        # Of each answer that is not over: its row of the result, and the slot that has its tokens.
        rows = torch.tensor(rows, device=device)
        slot = torch.arange(len(members), device=device).repeat_interleave(copies)
        decoder = Decoder(model, chunk, copies, limit, request.pad_id)
        logits = decoder.prefill()
        for step in range(limit):
            token, logprob = draw(logits[slot], sampling, request.noise[rows, step])
            tokens[rows, step] = token
            logprobs[rows, step] = logprob
            stopped = is_stop[token]
            if stopped.any():
                over = rows[stopped]
                rows, slot, token = rows[~stopped], slot[~stopped], token[~stopped]
                yield from ended(over, step + 1, finished=True)
            if step + 1 == limit or not len(rows):
                break
            slot = decoder.append(slot, token)
            logits = decoder.step()
        yield from ended(rows, limit, finished=False)


def _chunks(request: Request, *, apart: bool) -> Iterator[tuple[list[int], list[int]]]:
    """Prompts decoded together, and the rows of their answers, slot by slot.

    Neighbours in length share a chunk, so that little is padded; ``apart``: only prompts of one
    length do, and nothing is. A group larger than the most answers at once is split, and only then
    is a prompt prefilled more than once.
    """
    prompts, group, most = request.prompts, request.group, request.max_batch
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    length = (lambda i: len(prompts[i])) if apart else (lambda i: 0)
    for _, alike in itertools.groupby(order, length):
        together = list(alike)
        # As few chunks as fit, of equal size: a small last one would cost as many steps as a full.
        count = math.ceil(len(together) / max(1, most // group))
        size = math.ceil(len(together) / count)
        for start in range(0, len(together), size):
            members = together[start : start + size]
            for first in range(0, group, most):
                generations = range(first, min(first + most, group))
                yield members, [i * group + g for i in members for g in generations]


def _check_request(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    num_generations: int,
    sampling: Sampling,
    max_batch: int,
) -> None:
    if not prompts:
        raise ValueError("prompts is empty: pass at least one prompt")
    for i, prompt in enumerate(prompts):
        if not len(prompt):
            raise ValueError(
                f"prompt {i} is empty: drop it, or let it start with the begin-of-sequence token"
            )
    if num_generations < 1:
        raise ValueError(f"num_generations must be at least 1, got {num_generations}")
    if max_batch < 1:
        raise ValueError(f"max_batch must be at least 1, got {max_batch}")
    longest = max(range(len(prompts)), key=lambda i: len(prompts[i]))
    limit = reach(model, [len(prompt) for prompt in prompts])
    if limit and len(prompts[longest]) + sampling.max_tokens > limit:
        raise ValueError(
            f"prompt {longest} has {len(prompts[longest])} tokens, which with max_tokens = "
            f"{sampling.max_tokens} exceeds the model's {limit} positions"
            f"{remark(model, limit)}: lower max_tokens "
            f"to at most {limit - len(prompts[longest])} or drop the prompt"
        )
    for i, prompt in enumerate(prompts):
        if max(prompt) >= vocabulary(model):
            raise ValueError(
                f"prompt {i} has the token {max(prompt)}, which is not in the model's vocabulary "
                f"of {vocabulary(model)} tokens"
            )
    unknown = [stop for stop in sampling.stop_ids if stop >= vocabulary(model)]
    if unknown:
        raise ValueError(
            f"stop_ids {unknown} are not in the model's vocabulary of {vocabulary(model)} tokens"
        )
