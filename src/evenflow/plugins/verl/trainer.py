"""verl's synchronous trainer, with the objective in the place of an advantage."""

# verl has an environment of its own.
# pyright: reportMissingImports=false
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import torch
import transfer_queue as tq
from omegaconf import DictConfig, OmegaConf, open_dict
from tensordict import TensorDict
from torch import Tensor
from verl.trainer.ppo.utils import Role
from verl.trainer.ppo.v1 import PPOTrainerSync
from verl.workers.utils.padding import response_to_nested

from evenflow.bounds import is_right
from evenflow.errors import UserError
from evenflow.objectives import Answers, Needs
from evenflow.plugins.verl import NAME
from evenflow.plugins.verl.loss import PREFIX, hand_over, rollout_metrics
from evenflow.plugins.verl.settings import chosen
from evenflow.plugins.verl.worker import BalanceWorker

MEMORY = "evenflow_log_z.json"
"""The log Z of each question, beside a checkpoint's other files."""


class BalanceTrainer(PPOTrainerSync):
    """Prepares each rollout for the objective, and has it learned from by `BalanceWorker`."""

    def __init__(self, config: DictConfig) -> None:
        """UserError for settings that do not go together."""
        whole: Any = OmegaConf.to_container(config, resolve=True)
        found = chosen(whole)
        self.objective, self.right = found.objective, found.right
        self.memory = self.objective.memory(_no_samples)
        with open_dict(config.actor_rollout_ref):
            config.actor_rollout_ref[NAME] = {
                "objective": self.objective.model_dump(),
                "head": None if found.head is None else asdict(found.head),
            }
        config.trainer.v1.trainer_mode = "sync"  # by this name verl knows that nothing is in flight
        super().__init__(config)

    def _init_resource_pool_mgr(self) -> None:
        super()._init_resource_pool_mgr()
        for role in (Role.Actor, Role.ActorRollout, Role.ActorRolloutRef):
            if role in self.role_worker_mapping:
                self.role_worker_mapping[role] = ray.remote(BalanceWorker)

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        """verl's rewards and rollout correction, and what the workers' loss reads. The advantages
        that verl reports are the normalised rewards r̃."""
        batch = super()._compute_advantage(batch, metrics)
        names = ["uid", "response_mask", "rm_scores", "old_log_probs", "prompts", "responses"]
        names += ["extra_fields", *(["ref_log_prob"] if self.objective.needs.reference else [])]
        data = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=names
        )
        _require_one_output(batch.keys)
        answers = _answers(data, data.pop("uid").tolist(), self.objective.needs)
        shares = self.objective.needs.shares
        tokens = [row.tolist() for row in data["responses"].unbind()] if shares else ()
        real = torch.tensor([not tag.get("is_padding", False) for tag in batch.tags])
        told = _told(data.pop("extra_fields", None), len(answers))
        unknown = ~torch.isfinite(answers.rewards) | torch.tensor(
            [bool(t.get("unknown")) for t in told]
        )
        is_correct = torch.tensor(
            [
                is_right(reward, self.right)
                if t.get("acc") is None
                else is_right(float(t["acc"]), 1.0)
                for reward, t in zip(answers.rewards.tolist(), told, strict=True)
            ]
        )
        part = real & ~unknown & answers.mask.any(1)
        keys = [_key(row) for row in data["prompts"].unbind()] if self.memory is not None else ()
        fields: dict[str, Any] = hand_over(self.objective, answers, part, tokens, self.memory, keys)
        count = self.config.actor_rollout_ref.rollout.n
        metrics |= rollout_metrics(answers, part, unknown, real, count, self.right, is_correct)
        signal = fields.get(f"{PREFIX}signal", torch.zeros(len(answers)))
        for name in ("advantages", "returns"):
            fields[name] = response_to_nested(signal[:, None] * answers.mask, data["response_mask"])
        return tq.kv_batch_put(
            keys=batch.keys,
            partition_id=batch.partition_id,
            fields=TensorDict(fields, batch_size=len(answers)),
        )

    def _save_checkpoint(self) -> None:
        if self.memory is not None:  # first: verl's writes last which checkpoint is the newest
            path = Path(self.config.trainer.default_local_dir) / f"global_step_{self.global_steps}"
            path.mkdir(parents=True, exist_ok=True)
            (path / MEMORY).write_text(json.dumps(self.memory.state_dict()), encoding="utf-8")
        super()._save_checkpoint()

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()
        if self.memory is None or self.global_steps == 0:
            return
        trainer = self.config.trainer
        path = Path(trainer.default_local_dir) / f"global_step_{self.global_steps}"
        if trainer.resume_mode == "resume_path":
            path = Path(trainer.resume_from_path)
        if not (path / MEMORY).is_file():
            raise UserError(
                f"{path / MEMORY}: not there, and with it the log Z of each question; resume a run "
                "of log_z: running, or set trainer.resume_mode=disable"
            )
        self.memory.load_state_dict(json.loads((path / MEMORY).read_text(encoding="utf-8")))


def _answers(data: TensorDict, uids: list[str], needs: Needs) -> Answers:
    """The rows of a batch of verl's, in its order; answers to one prompt share its `uid`."""

    def padded(name: str) -> Tensor:
        return torch.nested.to_padded_tensor(data[name], 0.0)

    numbers = {uid: number for number, uid in enumerate(dict.fromkeys(uids))}
    groups = [numbers[uid] for uid in uids]
    return Answers(
        mask=padded("response_mask").bool(),
        rewards=padded("rm_scores").float().sum(1),
        groups=torch.tensor(groups),
        old_logprobs=padded("old_log_probs").float(),
        ref_logprobs=padded("ref_log_prob").float() if needs.reference else None,
    )


def _told(extra_fields: Any, count: int) -> list[Mapping[str, Any]]:
    """What the reward function said of each of the rows beside its score."""
    if extra_fields is None:
        return [{}] * count
    return [(extra or {}).get("reward_extra_info") or {} for extra in extra_fields.tolist()]


def _require_one_output(keys: list[str]) -> None:
    """Refuse agent loops that cut one session into several rows, each of which would count as an
    answer of its own. A key is question, session and row."""
    if any(key.rsplit("_", 1)[-1] != "0" for key in keys):
        raise UserError(
            "actor_rollout_ref.rollout.agent: an agent loop with several outputs a session is not "
            "to be had with evenflow's objectives, which weigh whole answers; return one output"
        )


def _key(prompt: Tensor) -> str:
    return hashlib.sha256(str(prompt.tolist()).encode()).hexdigest()


def _no_samples(keys: list[str]) -> tuple[Tensor, Tensor]:
    raise UserError("objective.log_z: offline is not to be had in verl")  # and is not let in
