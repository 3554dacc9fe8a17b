"""verl's workers, learning by the objective."""

# verl has an environment of its own.
# pyright: reportMissingImports=false
from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.workers.config import TrainingWorkerConfig
from verl.workers.engine_workers import ActorRolloutRefWorker, TrainingWorker

from evenflow.objectives import Balance
from evenflow.objectives.summary import divergence_metrics
from evenflow.plugins.choices import Head
from evenflow.plugins.verl import NAME
from evenflow.plugins.verl.engine import WITH_HEAD
from evenflow.plugins.verl.loss import PREFIX, TOTAL, BalanceLoss, micro_answers


class Learner(TrainingWorker):
    """A training worker whose loss is the objective's and whose engine has its head."""

    def __init__(
        self, config: TrainingWorkerConfig, objective: Balance, head: Head | None = None
    ) -> None:
        self.objective = objective
        if head is not None:
            config = replace(config, model_type=WITH_HEAD)
            config.model_config.evenflow_head = head
        super().__init__(config)
        self.steps = 0

    def set_loss_fn(self, loss_fn: Any) -> None:
        """Whatever verl gives, which is its own: the objective's."""
        del loss_fn
        self.loss_fn = BalanceLoss(self.objective)

    def train_mini_batch(self, data: TensorDict) -> TensorDict:
        """All mini-batches of a rollout; what its answers say as the objective summarises it."""
        output = super().train_mini_batch(data)
        if output is None:  # a rank of whose outputs another one tells
            return output
        metrics = tu.get(output, "metrics")
        names = [name for name in metrics if name.startswith(PREFIX)]
        of = {name.removeprefix(PREFIX): torch.tensor(metrics.pop(name)) for name in names}
        if of:
            said = divergence_metrics(of) | self.objective.summarise(of)
            # verl takes means of lists: a histogram would come out as one number.
            metrics |= {k: [v] for k, v in said.items() if not isinstance(v, list)}
        return output

    def train_batch(self, data: TensorDict) -> TensorDict:
        """One mini-batch, of which the whole of the objective's total is known."""
        answers, part = micro_answers(data)
        total = torch.as_tensor(self.objective.total(answers[part])).to(self.device_name).float()
        torch.distributed.all_reduce(total, group=self.engine.get_data_parallel_group())
        # Of padding alone there is nothing to divide.
        tu.assign_non_tensor(data, **{TOTAL: max(total.item(), 1e-9)})
        output = super().train_batch(data)
        metrics = {} if output is None else tu.get(output, "metrics")
        if (name := f"{PREFIX}group") in metrics:
            # Each optimiser step has its own groups, as its weights are its own.
            first = self.steps << 32
            metrics[name] = [[first + group for group in of_rank] for of_rank in metrics[name]]
        self.steps += 1
        return output


class BalanceWorker(ActorRolloutRefWorker):
    """verl's worker of actor, rollout and reference, with our learner as the actor."""

    def __init__(self, config: Any, role: str, **more: Any) -> None:
        super().__init__(config, role, **more)
        section = config[NAME]
        head = None if section.head is None else Head(**section.head)
        self.actor_worker_cls = partial(Learner, objective=Balance(**section.objective), head=head)
