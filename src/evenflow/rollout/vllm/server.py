"""Answers sampled by vLLM servers that run elsewhere: on other GPUs, or other machines.

Questions are spread over them, weights go to each of them, and one that fails is left out until the
next update finds it well again (docs/engines.md).
"""

from __future__ import annotations

import functools
import logging
import shutil
import tempfile
import uuid
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from evenflow.data import Prompt
from evenflow.errors import UserError
from evenflow.policy.policy import Policy
from evenflow.policy.reach import reach, remark
from evenflow.policy.stops import vocabulary
from evenflow.rollout.engine import Limits
from evenflow.rollout.group import Group
from evenflow.rollout.sampling import Sampling
from evenflow.rollout.vllm.answers import Answer, group_of, parameters, seeds_of
from evenflow.rollout.vllm.client import (
    FIELD,
    Address,
    Calls,
    Connection,
    Lost,
    Refused,
    read_key,
)
from evenflow.rollout.vllm.handover import whole_model
from evenflow.rollout.vllm.replica import Replica
from evenflow.rollout.vllm.snapshot import Weights, config_of, write
from evenflow.rollout.vllm.trial import Trial, require_same

LOG = logging.getLogger(__name__)
KNOCK = 5.0
"""Seconds in which a server that failed must show that it is well again."""
NO_POLICY = "the engine has no policy yet: call update(policy, version) first"
GO_ON = (
    "what was saved is whole, and the answers under way are lost; start the server again (or raise "
    "the timeout, where answers were slow), then go on with evenflow train --resume RUN (any other "
    "command: give it again)"
)


@dataclass(frozen=True)
class Part:
    """Some of the answers to a question, asked for at once."""

    place: int
    first: int
    count: int


class ServerEngine:
    """Samples from vLLM servers, all of which have the weights of the policy."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None,
        max_batch: int,
        urls: Sequence[str],
        timeout: float = 600.0,
        folder: Path | None = None,
    ) -> None:
        """`max_batch`: answers under way at once, over all servers. `timeout`: seconds without an
        answer after which a server counts as lost. `folder`: where weights are left for the
        servers, which must see it under the same path; None: the system's for temporary files.
        UserError for what is no URL."""
        key = read_key()
        addresses = [Address.read(url, key) for url in urls]
        if not addresses:
            raise UserError(f"{FIELD}: names no server")
        if len({address.url for address in addresses}) < len(addresses):
            raise UserError(f"{FIELD}: names a server twice")
        self.tokenizer, self.max_batch, self.timeout = tokenizer, max_batch, timeout
        self.replicas = [Replica(address) for address in addresses]
        self.folder = Path(tempfile.gettempdir() if folder is None else folder).resolve()
        self.name = f"evenflow-{uuid.uuid4().hex[:12]}"
        self.updates = 0
        self.policy: Policy | None = None
        self.version = 0
        self.weights: Weights | None = None
        self.begun = False  # whether all servers were there and fit
        weakref.finalize(self, _remove, self.folder, self.name)

    # --- weights -------------------------------------------------------------------------------

    def update(self, policy: Policy, version: int) -> None:
        """Have every server sample from this policy. One that cannot be reached is left out, and
        tried again at the next update; at the first one all must be there, and fit."""
        if self.weights is None or policy is not self.policy or version != self.version:
            self.updates += 1
            self.weights = write(policy, f"{self.name}-{self.updates}", self.folder)
            self.policy, self.version = policy, version
        weights, trial = self.weights, Trial.of(policy, self.tokenizer)
        behind = [replica for replica in self.replicas if replica.holds is not weights]
        known = [replica for replica in behind if replica.holds is not None]
        for replica in behind:
            replica.holds = None  # until all of it is there
        out = [replica for replica in behind if replica.why]
        ready = [replica for replica in behind if not replica.why]
        ready += [replica for replica, _ in self._each(out, KNOCK, Replica.knock)]
        like = config_of(policy)

        def bring(replica: Replica, connection: Connection) -> list[Answer] | None:
            if replica in known:
                return replica.load(connection, weights)
            return replica.begin(connection, weights, like, trial)

        for replica, tried in self._each(ready, self.timeout, bring):
            if tried is not None:
                try:
                    require_same(replica.url, policy, trial, tried)
                except UserError as error:
                    self._leave_out(replica, error)
                    continue
            replica.holds = weights
            if replica.why:
                LOG.warning("%s: %s is back, and has the newest weights", FIELD, replica.url)
                replica.why = ""
        self.begun = True
        if not self._ready:
            raise self._none_left()

    def _each(
        self,
        replicas: Sequence[Replica],
        seconds: float,
        task: Callable[[Replica, Connection], Any],
    ) -> list[tuple[Replica, Any]]:
        """The task's result for each of them, on all at once; where it fails, one is left out."""
        done: list[tuple[Replica, Any]] = []
        with Calls[Replica](min(seconds, self.timeout)) as calls:
            for replica in replicas:
                calls.send(replica, replica.address, functools.partial(task, replica))
            while calls:
                replica, result, failure = calls.next()
                if failure is None:
                    done.append((replica, result))
                else:
                    self._leave_out(replica, failure)
        return done

    def _leave_out(self, replica: Replica, error: Exception) -> None:
        """Ask it no more until the next update; said once. Before the first step nothing is left
        out: what is wrong is raised."""
        if not isinstance(error, Lost | Refused | UserError):
            raise error
        replica.holds = None
        if not self.begun:
            self.weights = None
            if isinstance(error, UserError):
                raise error
            raise UserError(
                f"{FIELD}: no vLLM server answers at {replica.url} ({error}); start it "
                "(docs/engines.md), or check the address"
            ) from None
        reason = str(error).removeprefix(f"{FIELD}: {replica.url} ")
        # What else comes of one outage is no news, but that it cannot be used at all is.
        if not replica.why or (isinstance(error, UserError) and reason != replica.why):
            LOG.warning("%s: %s is left out until it is well again: %s", FIELD, replica.url, reason)
            replica.why = reason

    @property
    def _ready(self) -> list[Replica]:
        return [each for each in self.replicas if each.holds is self.weights and not each.why]

    def _none_left(self) -> UserError:
        whys = "; ".join(f"{replica.url}: {replica.why}" for replica in self.replicas)
        return UserError(f"{FIELD}: no server is left to sample from ({whys}); {GO_ON}")

    # --- answers -------------------------------------------------------------------------------

    def limits(self, prompts: Sequence[Prompt]) -> Limits:
        """What all servers have room for."""
        if self.policy is None:
            raise ValueError(NO_POLICY)
        model = whole_model(self.policy)
        limit = reach(model, [len(prompt.ids) for prompt in prompts]) if prompts else None
        said = "" if limit is None else remark(model, limit)
        for replica in self.replicas:
            if replica.positions is not None and (limit is None or replica.positions < limit):
                limit, said = replica.positions, f" (--max-model-len of {replica.url})"
        return Limits(positions=limit, remark=said, vocabulary=vocabulary(model), beside=True)

    def groups(
        self,
        prompts: Sequence[Prompt],
        count: int,
        sampling: Sampling,
        *,
        seed: int | Sequence[int],
    ) -> Iterator[Group]:
        """See `Engine`. A question goes to the server with the fewest answers under way, and to
        another one if that fails; whatever came of it before does not count."""
        version, weights = self.version, self.weights
        if weights is None:
            raise ValueError(NO_POLICY)
        seeds = seeds_of(seed, len(prompts))
        # vLLM gives one answer where there is but one to give.
        distinct = 1 if sampling.temperature == 0 else count
        waiting = deque(
            Part(place, first, min(self.max_batch, distinct - first))
            for place in range(len(prompts))
            for first in range(0, distinct, self.max_batch)
        )
        found: dict[int, dict[int, list[Answer]]] = {place: {} for place in range(len(prompts))}
        busy: Counter[str] = Counter()
        with Calls[tuple[Part, Replica]](self.timeout) as calls:
            while waiting or calls:
                while waiting and self._fits(waiting[0], busy):
                    if not (ready := self._ready):
                        raise self._none_left()
                    part = waiting.popleft()
                    replica = min(ready, key=lambda each: busy[each.url])
                    busy[replica.url] += part.count
                    how = parameters(sampling, part.count, seeds[part.place] + part.first)
                    ask = functools.partial(
                        replica.complete, weights=weights, prompt=prompts[part.place].ids, how=how
                    )
                    calls.send((part, replica), replica.address, ask)
                (part, replica), answers, failure = calls.next()
                busy[replica.url] -= part.count
                if failure is not None:
                    if isinstance(failure, UserError):
                        raise failure
                    self._leave_out(replica, failure)
                    waiting.appendleft(part)
                    continue
                parts = found[part.place]
                parts[part.first] = answers
                if sum(map(len, parts.values())) == distinct:
                    answers = [each for first in sorted(parts) for each in parts[first]]
                    del found[part.place]
                    yield group_of(
                        part.place,
                        prompts[part.place],
                        answers,
                        count,
                        self.tokenizer,
                        version,
                    )

    def _fits(self, part: Part, busy: Counter[str]) -> bool:
        return busy.total() + part.count <= self.max_batch


def _remove(folder: Path, name: str) -> None:
    """Of all weights that were left for servers."""
    for each in folder.glob(f"*{name}-*"):
        shutil.rmtree(each, ignore_errors=True)
