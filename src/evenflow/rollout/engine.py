"""What an engine is: whatever samples answers from a policy. Trainer, evaluation and commands know
nothing else of how answers come about."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from evenflow.data import Prompt
from evenflow.errors import UserError
from evenflow.imports import ask, calling, is_ours, load_object, named, raised, require_methods
from evenflow.policy.policy import Policy
from evenflow.rollout.group import Group
from evenflow.rollout.sampling import Sampling

FIELD = "rollout.engine"
ROUNDING = 0.01
"""By how much a log-prob may lie above 0, from arithmetic."""
ENGINES = {
    "embedded": "evenflow.rollout.embedded.engine:EmbeddedEngine",
    "vllm": "evenflow.rollout.vllm.engine:VllmEngine",
}
"""Engines by name; any other is given by its import path."""
SERVERS = "evenflow.rollout.vllm.server:ServerEngine"
"""In place of `vllm` where servers are named."""


@dataclass(frozen=True)
class Limits:
    """What an engine can sample."""

    positions: int | None = None
    """Tokens of prompt and answer together; None: any number."""
    remark: str = ""
    """Said after that number, where it is not the model's own."""
    vocabulary: int | None = None
    """Token ids from 0 up to it, for prompts and stops; None: not known."""
    token_bytes: int = 16
    """What is held of each token that an answer may have, however short it is."""
    exact: bool = False
    """Whether log-probs as sampled are the trainer's own, but for rounding in float32. Where they
    are not, and a loss needs those of the policy before its first step, they are computed anew."""
    beside: bool = False
    """Whether it can sample while the policy learns (`rollout.lag`): in another thread than the
    learner's, from a policy on the CPU that `update` names. Not where the two would share a GPU."""


class Engine(Protocol):
    """Samples groups of answers from the policy that it was last given.

    One of your own is named by `rollout.engine: my_module:MyEngine`, and made as
    ``MyEngine(tokenizer=…, max_batch=…)``. If it has a method ``rest()``, that is called where
    nothing is sampled for a while, so that learning can have its memory; see `rest`.
    """

    def update(self, policy: Policy, version: int) -> None:
        """Sample from this policy from now on; its groups have this version."""
        ...

    def limits(self, prompts: Sequence[Prompt]) -> Limits:
        """What answers to these prompts can be. ValueError for a model that the engine cannot
        sample from."""
        ...

    def groups(
        self,
        prompts: Sequence[Prompt],
        count: int,
        sampling: Sampling,
        *,
        seed: int | Sequence[int],
    ) -> Iterator[Group]:
        """A group of `count` answers to each prompt, in any order, each as soon as it is whole.

        The same weights, prompts and seed give the same answers; with a seed for each prompt,
        whatever other prompts are asked for beside it. ValueError for what cannot be sampled.
        """
        ...


def build_engine(
    name: str,
    tokenizer: Any,
    max_batch: int,
    decoding: str = "auto",
    *,
    gpu_share: float = 0.4,
    server: str | Sequence[str] | None = None,
    timeout: float = 600.0,
    folder: Path | None = None,
) -> Engine:
    """The engine of that name or import path, without a policy yet. `max_batch`: the most answers
    sampled at once; then what is for some of ours alone, the fields of `rollout` of these names,
    and the `folder` through which servers are given weights (None: a temporary one). UserError that
    names what is wrong, now or whenever one of your own raises."""
    both = {"tokenizer": tokenizer, "max_batch": max_batch}
    factory = engine_class(name, server)
    if name == "vllm" and server is not None:
        urls = [server] if isinstance(server, str) else [*server]
        return factory(**both, urls=urls, timeout=timeout, folder=folder)
    if name in ENGINES:
        own = {"embedded": {"decoding": decoding}, "vllm": {"gpu_share": gpu_share}}
        return factory(**both, **own[name])
    try:
        engine = factory(tokenizer=tokenizer, max_batch=max_batch)
    except UserError:
        raise
    except Exception as error:
        made = f"{FIELD}: {name}, made with tokenizer and max_batch,"
        raise raised(made, error) from error
    require_methods(engine, ("update", "limits", "groups"), f"{FIELD}: {name}")
    return engine if is_ours(engine) else Guarded(engine)


def engine_class(name: str, server: str | Sequence[str] | None = None) -> Any:
    """What makes the engine of that name or import path; UserError where there is none."""
    path = SERVERS if name == "vllm" and server is not None else ENGINES.get(name, name)
    return load_object(path, FIELD, ENGINES)


def rest(engine: Engine) -> None:
    """Tell an engine that has a use for it (a method ``rest()``) that nothing is sampled for a
    while. It is woken by the next `update`, or by `groups`."""
    own = engine.engine if isinstance(engine, Guarded) else engine
    if hasattr(own, "rest"):
        with calling(FIELD, own, "rest"):
            cast(Any, own).rest()


class Guarded:
    """An engine from outside: what it raises becomes a sentence that names its method."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def update(self, policy: Policy, version: int) -> None:
        """See `Engine`."""
        with calling(FIELD, self.engine, "update"):
            self.engine.update(policy, version)

    def limits(self, prompts: Sequence[Prompt]) -> Limits:
        """See `Engine`."""
        return ask(FIELD, self.engine, "limits", prompts, gives=Limits)

    def groups(
        self,
        prompts: Sequence[Prompt],
        count: int,
        sampling: Sampling,
        *,
        seed: int | Sequence[int],
    ) -> Iterator[Group]:
        """See `Engine`."""
        with calling(FIELD, self.engine, "groups"):
            yield from self.engine.groups(prompts, count, sampling, seed=seed)


def limits_of(engine: Engine, prompts: Sequence[Prompt]) -> Limits:
    """The engine's limits; UserError for a model that it cannot sample from."""
    try:
        return engine.limits(prompts)
    except ValueError as error:
        raise UserError(f"model.path: {error}") from error


def sample(
    engine: Engine,
    prompts: Sequence[Prompt],
    count: int,
    sampling: Sampling,
    *,
    seed: int | Sequence[int],
    vocabulary: int | None = None,
) -> Iterator[Group]:
    """The engine's groups, as they come. UserError where they are not what was asked for, so that
    nothing is learned from what belongs to another question. `vocabulary`: how many tokens the
    policy that learns from them has; None: it does not matter."""
    said = named(FIELD, engine.engine if isinstance(engine, Guarded) else engine, "groups")
    missing = set(range(len(prompts)))
    for group in engine.groups(prompts, count, sampling, seed=seed):
        problem = problem_of(group, prompts, count, missing)
        if problem is None:
            answers = zip(group.answers, group.logprobs, group.texts, group.finished, strict=True)
            limit = sampling.max_tokens
            found = (problem_of_answer(*answer, limit, vocabulary) for answer in answers)
            problem = next(filter(None, found), None)
        if problem is not None:
            raise UserError(f"{said} gave {problem}")
        missing.remove(group.place)
        yield group
    if missing:
        raise UserError(f"{said} gave no group for {len(missing)} of {len(prompts)} prompts")


def problem_of(
    group: Group, prompts: Sequence[Prompt], count: int, missing: set[int]
) -> str | None:
    """What is wrong with a group of an engine, its answers aside, or None."""
    if not isinstance(group, Group):
        return f"{type(group).__name__}, not Group"
    place = group.place
    if not isinstance(place, int) or not 0 <= place < len(prompts):
        return f"a group of place {place!r:.80}; {len(prompts)} prompts were asked for"
    if group.prompt is not prompts[place]:
        return f"a group of a question that nobody asked for at its place, {place}"
    if place not in missing:
        return f"two groups for place {place}"
    if type(group.version) is not int:
        return f"the version {group.version!r:.80}, not that of `update`"
    for name in ("answers", "logprobs", "texts", "finished"):
        there = getattr(group, name)
        if not isinstance(there, list):
            return f"{name} that are {type(there).__name__}, not list"
        if len(there) != count:
            return f"{len(there)} {name} in a group of {count} answers"
    return None


def problem_of_answer(
    ids: list[int],
    logprobs: list[float],
    text: str,
    finished: bool,
    limit: int,
    vocabulary: int | None,
) -> str | None:
    """What is wrong with an answer of an engine, or None; at the speed of built-in functions, for
    answers may be long."""
    for name, row in (("token ids", ids), ("log-probs", logprobs)):
        if not isinstance(row, list):
            return f"{name} that are {type(row).__name__}, not list"
    if not 1 <= len(ids) <= limit:
        return f"an answer of {len(ids)} tokens; it has from 1 to {limit}"
    if len(logprobs) != len(ids):
        return f"{len(logprobs)} log-probs for an answer of {len(ids)} tokens"
    for name, values, kind in (
        ("token id", ids, int),
        ("log-prob", logprobs, float),
        ("text", [text], str),
        ("finished", [finished], bool),
    ):
        if set(map(type, values)) != {kind}:
            odd = next(value for value in values if type(value) is not kind)
            return f"a {name} that is {type(odd).__name__} ({odd!r:.80}), not {kind.__name__}"
    if min(ids) < 0 or (vocabulary is not None and max(ids) >= vocabulary):
        known = "" if vocabulary is None else f", and the model's are from 0 to {vocabulary - 1}"
        return f"the token id {min(ids) if min(ids) < 0 else max(ids)}{known}"
    if not all(map(math.isfinite, logprobs)) or max(logprobs) > ROUNDING:
        odd = next(p for p in logprobs if not (math.isfinite(p) and p <= ROUNDING))
        return f"the log-prob {odd}; it is the logarithm of a chance above 0"
    return None
