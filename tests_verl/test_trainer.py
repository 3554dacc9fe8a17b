"""What the trainer does of its own, with verl's parts taken out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tensordict import TensorDict
from tensordict.tensorclass import NonTensorData, NonTensorStack
from verl.trainer.ppo.v1 import PPOTrainerSync

from evenflow.errors import UserError
from evenflow.objectives import Balance
from evenflow.plugins.verl import trainer as module
from evenflow.plugins.verl.loss import GROUPS, NO_PART
from evenflow.plugins.verl.trainer import BalanceTrainer


def made(objective: Balance, folder: str = "") -> BalanceTrainer:
    """A trainer that was never set up."""
    trainer = BalanceTrainer.__new__(BalanceTrainer)
    trainer.objective, trainer.right = objective, 1.0
    trainer.memory = objective.memory(lambda keys: pytest.fail(str(keys)))
    trainer.config = SimpleNamespace(
        actor_rollout_ref=SimpleNamespace(rollout=SimpleNamespace(n=3)),
        trainer=SimpleNamespace(
            default_local_dir=folder, resume_mode="auto", resume_from_path=None
        ),
    )
    trainer.global_steps = 7
    return trainer


def nest(rows: list[list[float]], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    tensors = [torch.tensor(row, dtype=dtype) for row in rows]
    return torch.nested.as_nested_tensor(tensors, layout=torch.jagged)


def stack(values: list) -> NonTensorStack:
    return NonTensorStack(*[NonTensorData(value) for value in values])


@pytest.fixture
def queue(monkeypatch):
    """Two questions with three answers, the last of unknown reward, and a row of padding."""
    answers = [[4, 5], [4, 5], [6], [7], [8, 9], [9], [2]]
    fields = TensorDict(
        {
            "prompts": nest([[3, 3]] * 3 + [[5]] * 3 + [[2]], torch.long),
            "responses": nest(answers, torch.long),
            "response_mask": nest([[1] * len(a) for a in answers[:-1]] + [[0]], torch.long),
            "rm_scores": nest([[0, 1.0], [0, 1.0], [0.0], [1.0], [0, 0.0], [0.0], [0.0]]),
            "old_log_probs": nest([[-1.0] * len(a) for a in answers]),
            "ref_log_prob": nest([[-1.5] * len(a) for a in answers]),
        },
        batch_size=7,
    )
    fields["uid"] = stack(["x"] * 3 + ["y"] * 3 + ["pad"])
    said = [{"reward_extra_info": {"unknown": 0.0}}] * 5
    said += [{"reward_extra_info": {"unknown": 1.0}}, {}]
    fields["extra_fields"] = stack(said)
    written: dict[str, torch.Tensor] = {}

    def get(keys, partition_id, select_fields):
        return fields.select(*select_fields)

    def put(keys, partition_id, fields):
        written.update(fields.items())
        return "batch"

    monkeypatch.setattr(module.tq, "kv_batch_get", get)
    monkeypatch.setattr(module.tq, "kv_batch_put", put)
    monkeypatch.setattr(PPOTrainerSync, "_compute_advantage", lambda self, batch, metrics: batch)
    keys = [f"{uid}_{i}_0" for i, uid in enumerate(["x"] * 3 + ["y"] * 3 + ["pad"])]
    tags = [{}] * 6 + [{"is_padding": True}]
    return SimpleNamespace(keys=keys, tags=tags, partition_id="train"), written


def test_a_rollout_is_prepared_by_question_without_padding_and_unknown_rewards(queue) -> None:
    batch, written = queue
    metrics: dict[str, float] = {}
    objective = Balance(log_z="group", reward="centred", scale="sum", duplicates="once")
    assert made(objective)._compute_advantage(batch, metrics) == "batch"
    assert written[GROUPS].tolist() == [0, 0, 0, 1, 1, NO_PART, NO_PART]
    assert written["evenflow_share"].tolist() == [0.5, 0.5, 1, 1, 1, 0, 0]
    signal = written["evenflow_signal"]
    assert signal.tolist() == pytest.approx([1 / 3, 1 / 3, -2 / 3, 0.5, -0.5, 0, 0])
    assert written["evenflow_prior"].tolist() == [-3, -3, -1.5, -1.5, -3, 0, 0]
    assert written["evenflow_log_z"][0] == written["evenflow_log_z"][2] != 0
    # What verl reports as advantages, on each token.
    assert written["advantages"][0].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert written["advantages"][6].tolist() == [0]
    assert metrics["reward/unknown"] == pytest.approx(1 / 6)
    assert metrics["groups/incomplete"] == 1
    assert metrics["reward/mean"] == pytest.approx(3 / 5)


def test_accuracy_is_by_what_the_reward_said_before_a_penalty(queue, monkeypatch) -> None:
    batch, _ = queue
    metrics: dict[str, float] = {}
    made(Balance(log_z="group"))._compute_advantage(batch, metrics)
    assert metrics["accuracy"] == pytest.approx(3 / 5)  # by the rewards alone
    said = [{"acc": float(row != 2)} for row in range(7)]
    monkeypatch.setattr(module, "_told", lambda extra_fields, count: said)
    made(Balance(log_z="group"))._compute_advantage(batch, metrics)
    assert metrics["accuracy"] == pytest.approx(5 / 6)


def test_sessions_of_several_outputs_are_refused(queue) -> None:
    batch, _ = queue
    batch.keys[1] = "x_0_1"
    with pytest.raises(UserError, match="several outputs a session"):
        made(Balance(log_z="group"))._compute_advantage(batch, {})


def test_a_running_log_z_is_saved_and_comes_back(queue, tmp_path, monkeypatch) -> None:
    batch, _ = queue
    objective = Balance(log_z="running", reward="raw", scale="sum")
    monkeypatch.setattr(PPOTrainerSync, "_save_checkpoint", lambda self: None)
    monkeypatch.setattr(PPOTrainerSync, "_load_checkpoint", lambda self: None)
    trainer = made(objective, str(tmp_path))
    trainer._compute_advantage(batch, {})
    trainer._save_checkpoint()
    again = made(objective, str(tmp_path))
    again._load_checkpoint()
    assert again.memory.log_z == trainer.memory.log_z
    assert len(again.memory.log_z) == 2
    (tmp_path / "global_step_7" / module.MEMORY).unlink()
    with pytest.raises(UserError, match="not there"):
        made(objective, str(tmp_path))._load_checkpoint()
