"""Rewards beside sampling: a group is judged while the answers to other questions are decoded."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from queue import SimpleQueue
from typing import Self

from evenflow.data import Prompt
from evenflow.rewards import RewardResult, Rewards
from evenflow.rewards.deadline import in_time
from evenflow.rollout.group import Group, count_answers

LOG = logging.getLogger(__name__)


class Judging:
    """Submit whole groups as they come, then ask for all `judged`, in the questions' order.

    One thread hands all groups that have come in since its last call to the reward functions: quick
    functions are called often, slow ones a few times with many groups, and none with a part of a
    group, so that a reward may compare the answers to a question. To be used in a `with`, which
    ends the thread whatever happens.
    """

    def __init__(self, rewards: Rewards, prompts: Sequence[Prompt]) -> None:
        """`prompts` are all that will be sampled: a function gets the columns that any has, None
        for those without, whichever groups a call is about."""
        self.rewards = rewards
        self.columns = list(dict.fromkeys(name for p in prompts for name in p.columns))
        self.submitted: dict[int, Group] = {}  # by their places
        self.results: dict[int, RewardResult] = {}
        self.error: BaseException | None = None
        self.late = False
        """Whether a call, or what was to come after it, took too long."""
        self._given_up = False  # nobody waits for further rewards
        self._inbox: SimpleQueue[Group | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="rewards", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._given_up = True
        self._inbox.put(None)

    def submit(self, group: Group) -> None:
        """Have a group judged. Raises at once if a function has failed on an earlier one."""
        if self.error is not None:
            raise self.error
        self.submitted[group.place] = group
        self._inbox.put(group)

    def judged(self) -> list[Group]:
        """All groups with their rewards. Those that have none yet are waited for as long as a call
        of all functions may take, and as long again if that brought some: a call may be under way,
        and all that came during it need another. What is not there then is unknown."""
        self._inbox.put(None)
        seen = -1
        while self._thread.is_alive() and (known := self._known()) > seen:
            seen = known
            self._thread.join(self.rewards.longest)
        if self.error is not None:
            raise self.error
        results = dict(self.results)  # a late thread may still add to it
        late = {place: group for place, group in self.submitted.items() if place not in results}
        if late:
            self.late = True
            LOG.warning(
                "%d answers still had no reward when no call returned for %g s after the last one "
                "was sampled; they count as unknown. Make the reward functions faster, or raise "
                "reward.timeout",
                count_answers(late.values()),
                self.rewards.longest,
            )
        results |= {place: self.rewards.unknown(len(group)) for place, group in late.items()}
        groups = sorted(self.submitted.values(), key=lambda group: group.place)
        return [replace(group, rewards=results[group.place]) for group in groups]

    def _known(self) -> int:
        """How many groups have a reward."""
        results = dict(self.results)
        return sum(not all(map(math.isnan, result.total)) for result in results.values())

    def _work(self) -> None:
        try:
            closed = False
            while not closed:
                arrived = [self._inbox.get()]
                while not self._inbox.empty():  # nobody else takes from it
                    arrived.append(self._inbox.get())
                closed = None in arrived
                groups = [group for group in arrived if group is not None]
                if groups and not self._given_up:
                    self._judge(groups)
        except BaseException as error:  # raised where the groups come from
            self.error = error

    def _judge(self, groups: list[Group]) -> None:
        rows = [group for group in groups for _ in group.texts]
        began = time.monotonic()
        result = self.rewards(
            [group.prompt.text for group in rows],
            [text for group in groups for text in group.texts],
            {name: [group.prompt.columns.get(name) for group in rows] for name in self.columns},
            completion_ids=[ids for group in groups for ids in group.answers],
            finished=[ended for group in groups for ended in group.finished],
            opened_thoughts=[group.prompt.opened_thought for group in rows],
        )
        if self.rewards.timeout is not None:
            self.late |= time.monotonic() - began >= in_time(self.rewards.timeout)
        start = 0
        for group in groups:
            self.results[group.place] = result[range(start, start + len(group))]
            start += len(group)
