"""What an engine is: whatever samples answers from a policy. Trainer, evaluation and commands know
nothing else of how answers come about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from evenflow.data import Prompt
from evenflow.errors import UserError
from evenflow.imports import load_object, require_methods
from evenflow.policy.policy import Policy
from evenflow.rollout.group import Group
from evenflow.rollout.sampling import Sampling

ENGINES = {"embedded": "evenflow.rollout.embedded.engine:EmbeddedEngine"}
"""Engines by name; any other is given by its import path."""


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


class Engine(Protocol):
    """Samples groups of answers from the policy that it was last given.

    One of your own is named by `rollout.engine: my_module:MyEngine`, and made as
    ``MyEngine(tokenizer=…, max_batch=…)``.
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


def build_engine(name: str, tokenizer: Any, max_batch: int) -> Engine:
    """The engine of that name or import path, without a policy yet. `max_batch`: the most answers
    sampled at once. UserError that names what is wrong."""
    factory = load_object(ENGINES.get(name, name), "rollout.engine", ENGINES)
    try:
        engine = factory(tokenizer=tokenizer, max_batch=max_batch)
    except TypeError as error:
        raise UserError(
            f"rollout.engine: {name}: is made with tokenizer and max_batch: {error}"
        ) from error
    require_methods(engine, ("update", "limits", "groups"), f"rollout.engine: {name}")
    return engine


def limits_of(engine: Engine, prompts: Sequence[Prompt]) -> Limits:
    """The engine's limits; UserError for a model that it cannot sample from."""
    try:
        limits = engine.limits(prompts)
    except ValueError as error:
        raise UserError(f"model.path: {error}") from error
    if not isinstance(limits, Limits):
        name = type(engine).__name__
        raise UserError(f"rollout.engine: {name}.limits gave {type(limits).__name__}, not Limits")
    return limits


def sample(
    engine: Engine,
    prompts: Sequence[Prompt],
    count: int,
    sampling: Sampling,
    *,
    seed: int | Sequence[int],
) -> Iterator[Group]:
    """The engine's groups, as they come. UserError where they are not what was asked for, so that
    nothing is learned from what belongs to another question."""
    said = f"rollout.engine: {type(engine).__name__}.groups"
    missing = set(range(len(prompts)))
    for group in engine.groups(prompts, count, sampling, seed=seed):
        if problem := problem_of(group, prompts, count, sampling, missing):
            raise UserError(f"{said} {problem}")
        missing.remove(group.place)
        yield group
    if missing:
        raise UserError(f"{said} gave no group for {len(missing)} of {len(prompts)} prompts")


def problem_of(
    group: Group, prompts: Sequence[Prompt], count: int, sampling: Sampling, missing: set[int]
) -> str | None:
    """What is wrong with a group of an engine, or None."""
    if not isinstance(group, Group):
        return f"gave {type(group).__name__}, not Group"
    place = group.place
    if not isinstance(place, int) or not 0 <= place < len(prompts):
        return f"gave a group of place {place!r}; {len(prompts)} prompts were asked for"
    if group.prompt is not prompts[place]:
        return f"gave, at place {place}, a group of a question that nobody asked for there"
    if place not in missing:
        return f"gave two groups for place {place}"
    for name in ("answers", "logprobs", "texts", "finished"):
        if len(getattr(group, name)) != count:
            there = len(getattr(group, name))
            return f"gave {there} {name} in a group of {count} answers"
    for ids, logprobs in zip(group.answers, group.logprobs, strict=True):
        if not 1 <= len(ids) <= sampling.max_tokens:
            return f"gave an answer of {len(ids)} tokens; it has from 1 to {sampling.max_tokens}"
        if len(logprobs) != len(ids):
            return f"gave {len(logprobs)} log-probs for an answer of {len(ids)} tokens"
    return None
