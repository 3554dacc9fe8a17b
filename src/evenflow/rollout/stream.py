"""The batches of a run, in the order of its steps: sampled in turns with learning, or ahead of it.

With a lag of k the batch of step t is sampled by the policy as it was after t − k steps, while the
steps before t are taken. Which policy samples which batch does not depend on how fast either is, so
that a run with a lag is repeated, and resumed, as exactly as one without.

    lag 0   sample 0 │ learn 0 │ sample 1 │ learn 1 │ …
    lag 1   sample 0 │ learn 0 beside sample 1 │ learn 1 beside sample 2 │ …

Where an engine can sample beside learning (`Limits.beside`) a thread does it, from a second policy
that follows the first (`policy.snapshot`); else the batches are sampled in turns, only earlier.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from evenflow.data import Prompt
from evenflow.policy.policy import Policy
from evenflow.policy.snapshot import Follower, Snapshot, snapshot
from evenflow.rollout.collect import Batch, Collector, Phase
from evenflow.rollout.engine import Limits, rest
from evenflow.rollout.group import Group
from evenflow.rollout.packing import Packing
from evenflow.rollout.sampling import Sampling
from evenflow.run.out_of_memory import naming_the_field

Check = Callable[[list[Group], Policy, int, int], dict[str, float]]
"""Numbers of groups that were sampled by a policy, its version, for a step; raises UserError where
they cannot be its own."""


@dataclass
class Order:
    """A batch to be sampled."""

    step: int
    version: int
    """Of the policy that is to sample it."""
    beside: int
    """Answers that the run had spent on other things than batches when the order was given."""
    weights: Snapshot | None = None
    """That policy's, where it will have moved on."""


@dataclass
class Ready:
    """A batch that waits to be learned from."""

    step: int
    batch: Batch
    seconds: dict[str, float] = field(default_factory=dict)
    """Of its phases, where they were not the caller's."""


class Stream:
    """Hands out a run's batches: `publish` the policy of a step, then `take` the step's batch."""

    def __init__(
        self,
        collector: Collector,
        policy: Policy,
        *,
        lag: int,
        steps: int,
        beside: bool,
        check: Check | None = None,
    ) -> None:
        """`steps` of the run; `beside`: sample in a thread, if there is a lag. `check`: of what is
        sampled ahead, while the policy that sampled it is at hand."""
        self.policy, self.lag, self.steps = policy, lag, steps
        self.check = check if lag else None
        self.engine = collector.engine
        self.follower = Follower(policy) if lag and beside else None
        self.collector = replace(collector, engine=Closable(self)) if self.follower else collector
        self.packing = Packing(collector.questions)
        self.step = self.version = 0  # of the newest policy
        self.ordered = 0  # batches
        self.orders = deque[Order]()
        self.ready = deque[Ready]()
        self.going_on: list[Group] = []  # of the newest batch
        self.drawn = self.sampled = 0  # questions and answers of all batches so far
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None
        self.closed = self.busy = False
        self.pauses = 0

    # --- the learner's side ----------------------------------------------------------------------

    def publish(self, step: int, version: int, answers: int) -> None:
        """The policy has taken `step` steps and has this version; the run has spent so many
        answers, those of batches that wait left out. Orders the batches that it is to sample."""
        end = min(self.lag + step + 1, self.steps)
        with self.changed:  # of all: the sampler may take orders back (`_deliver`)
            new = range(max(self.ordered, step), end)
            weights = snapshot(self.policy) if self.follower and new else None
            self.step, self.version = step, version
            self.ordered = max(self.ordered, end)  # those of a run that was to be longer stay
            while self.ready and self.ready[0].step < step:  # learned from
                self.ready.popleft()
            taken = self.sampled - sum(each.batch.answers for each in self.ready)
            self.orders += [Order(number, version, answers - taken, weights) for number in new]
            self.changed.notify_all()

    def take(self, phase: Phase) -> tuple[Batch, dict[str, float]]:
        """The batch of the step that was published last, and the seconds of its phases where they
        passed elsewhere. It stays in the state until the next step is published."""
        if self.follower is None:
            while self.orders:
                order = self.orders[0]
                order.version = self.version
                self._deliver(order, self._collect(order, self.policy, phase), {})
                rest(self.engine)
        else:
            self._open()
            with phase("waiting"), self.changed:
                while not self.ready and not self.error and (self.orders or self.busy):
                    self.changed.wait()
        if not self.ready or self.ready[0].step != self.step:
            raise self.error or RuntimeError(f"there is no batch for step {self.step + 1}")
        return self.ready[0].batch, self.ready[0].seconds

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The engine is free for other questions, once the batch under way is sampled. They name
        their policy; the next batch names its own."""
        with self.changed:
            self.pauses += 1
            while self.busy:
                self.changed.wait()
        try:
            yield
        finally:
            if self.follower is None:
                rest(self.engine)
            with self.changed:
                self.pauses -= 1
                self.changed.notify_all()

    def leave(self, kind: type[BaseException] | None, *_: object) -> None:
        """`close`, as the end of a `with`: who asks a second time to stop waits for no reward."""
        self.close(1.0 if kind is KeyboardInterrupt else None)

    def close(self, patience: float | None = None) -> None:
        """End the thread; what it has half sampled is dropped, and stays ordered. `patience`:
        seconds to wait for the group, or the rewards, that it is in the middle of."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        if self.thread is not None:
            self.thread.join(patience)
            self.thread = None

    # --- the sampler's side ----------------------------------------------------------------------

    def _open(self) -> None:
        if self.thread is None:
            self.closed, self.error = False, None
            self.thread = threading.Thread(target=self._work, name="sampling", daemon=True)
            self.thread.start()

    def _work(self) -> None:
        try:
            while (order := self._next()) is not None:
                assert self.follower is not None
                assert order.weights is not None
                seconds: dict[str, float] = {}
                policy = self.follower.become(order.weights)
                batch = self._collect(order, policy, timed(seconds))
                with self.changed:
                    self._deliver(order, batch, seconds)
                    self.busy = False
                    self.changed.notify_all()
        except BaseException as error:  # raised where batches are taken
            with self.changed:
                self.error = None if isinstance(error, Closed) else error
                self.busy = False
                self.changed.notify_all()

    def _next(self) -> Order | None:
        """The order to sample now, once there is one; None at the end."""
        with self.changed:
            while not self.closed and (self.pauses or not self.orders):
                self.changed.wait()
            self.busy = not self.closed
            return None if self.closed else self.orders[0]

    # --- both ------------------------------------------------------------------------------------

    def _collect(self, order: Order, policy: Policy, phase: Phase) -> Batch | None:
        """The batch, by this policy; None where the budget of answers does not allow it, which ends
        the run."""
        rollout, budget = self.collector.config.rollout, self.collector.config.train.answers
        left = None if budget is None else budget - order.beside - self.sampled
        if left is not None and left < rollout.questions * rollout.num_generations:
            return None
        self.engine.update(policy, order.version)
        batch = self.collector.collect(order.step, self.drawn, left, phase, self.going_on)
        if self.check is not None and batch.groups:
            batch.metrics.update(self.check(batch.groups, policy, order.version, order.step))
        return batch

    def _deliver(self, order: Order, batch: Batch | None, seconds: dict[str, float]) -> None:
        """What was ordered is there, all at once, so that a state never holds a half of it."""
        self.orders.popleft()
        if batch is None:  # nor any later one, unless the budget is raised
            self.ordered = order.step
            self.orders.clear()
            return
        self.ready.append(Ready(order.step, batch, seconds))
        self.going_on = batch.going_on
        self.drawn += batch.questions
        self.sampled += batch.answers

    # --- checkpoints -----------------------------------------------------------------------------

    def waiting(self, step: int) -> list[Ready]:
        """What is sampled and not learned from after so many steps."""
        with self.changed:
            return [each for each in self.ready if each.step >= step]

    def state_dict(self, step: int) -> dict[str, Any]:
        """What a checkpoint of `step` keeps: the batches that wait, and what is still to be
        sampled with the weights that are to do it."""
        with self.changed:
            return {
                "ordered": self.ordered,
                "drawn": self.drawn,
                "sampled": self.sampled,
                "going_on": self.packing.pack(self.going_on),
                "orders": [vars(order).copy() for order in self.orders],
                "ready": [self._pack(each) for each in self.waiting(step)],
            }

    def begin(self, step: int, drawn: int, sampled: int) -> None:
        """Go on at a step at which nothing waits, after so many questions and answers."""
        self.ordered, self.drawn, self.sampled = step, drawn, sampled

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint. Raises `packing.Gone` where the questions are others now."""
        going_on = self.packing.unpack(state["going_on"])
        self.ready = deque([self._unpack(each) for each in state["ready"]])
        self.begin(state["ordered"], state["drawn"], state["sampled"])
        self.going_on = going_on
        self.orders = deque(Order(**each) for each in state["orders"])
        if self.follower is not None:
            now = snapshot(self.policy)
            for order in self.orders:  # those without were to be sampled in turns
                order.weights = order.weights or now

    def forget(self, step: int) -> None:
        """Sample anew what waits from `step` on, of the same questions; answers that were to go on
        are begun anew."""
        self.drawn -= sum(each.batch.questions for each in self.ready)
        self.sampled -= sum(each.batch.answers for each in self.ready)
        self.ready.clear()
        self.orders.clear()
        self.going_on, self.ordered = [], step

    def _pack(self, ready: Ready) -> dict[str, Any]:
        batch = asdict(replace(ready.batch, groups=[], going_on=[]))
        groups = self.packing.pack(ready.batch.groups)
        return {"step": ready.step, "seconds": ready.seconds, **batch, "groups": groups}

    def _unpack(self, packed: dict[str, Any]) -> Ready:
        packed = {**packed, "groups": self.packing.unpack(packed["groups"])}
        return Ready(packed.pop("step"), seconds=packed.pop("seconds"), batch=Batch(**packed))


class Closed(Exception):
    """The stream was closed in the middle of a batch."""


class Closable:
    """The stream's engine, which the end of the stream interrupts after a group."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def update(self, policy: Policy, version: int) -> None:
        """See `Engine`."""
        self.stream.engine.update(policy, version)

    def limits(self, prompts: Sequence[Prompt]) -> Limits:
        """See `Engine`."""
        return self.stream.engine.limits(prompts)

    def groups(
        self, prompts: Sequence[Prompt], count: int, sampling: Sampling, *, seed: Any
    ) -> Iterator[Group]:
        """See `Engine`."""
        for group in self.stream.engine.groups(prompts, count, sampling, seed=seed):
            if self.stream.closed:
                raise Closed
            yield group


def timed(seconds: dict[str, float]) -> Phase:
    """Phases of a thread: their seconds are added up by name."""

    @contextlib.contextmanager
    def phase(name: str) -> Iterator[None]:
        began = time.monotonic()
        with naming_the_field(name):
            yield
        seconds[name] = seconds.get(name, 0.0) + time.monotonic() - began

    return phase
