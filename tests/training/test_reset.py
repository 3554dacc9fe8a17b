"""When the reference is reset, and that the reset is real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from evenflow.config import ArchitectureConfig, ResetConfig, TrainConfig
from evenflow.errors import UserError
from evenflow.run import checkpoints
from evenflow.run.tracking import read_jsonl
from evenflow.tasks.countdown import Countdown
from evenflow.training.pretrain import build_model, word_tokenizer
from evenflow.training.reset import ResetRule
from evenflow.training.trainer import Trainer
from tests.training.runs import open_run

Make = Callable[..., TrainConfig]


def when(config: ResetConfig, accuracies: list[float], kl: float = 0.0) -> list[int]:
    rule = ResetRule(config)
    return [step for step, a in enumerate(accuracies, 1) if rule.due(step, a, kl) is not None]


def test_every_so_many_steps() -> None:
    assert when(ResetConfig(every=3), [0.5] * 7) == [3, 6]


def test_never_by_default() -> None:
    assert not ResetConfig().active
    assert when(ResetConfig(), [0.5] * 100, kl=1e6) == []


def test_stagnation() -> None:
    """The mean rises until step 4: three steps without a rise end at step 7, and again at 10."""
    assert when(ResetConfig(patience=3), [0.1, 0.2, 0.3, 0.4] + [0.0] * 6) == [7, 10]
    assert when(ResetConfig(patience=3), [i / 100 for i in range(50)]) == []


def test_kl_spike() -> None:
    rule = ResetRule(ResetConfig(kl=2.0))
    assert rule.due(1, 0.5, 1.9) is None
    assert rule.due(2, 0.5, 2.1) == "KL to the reference 2.10 > 2.0"
    assert rule.resets == 1


def test_a_resumed_rule_goes_on() -> None:
    accuracies = [0.3, 0.1, 0.1, 0.1, 0.1, 0.1]
    rule = ResetRule(ResetConfig(patience=4))
    for step in (1, 2, 3):
        rule.due(step, accuracies[step - 1], 0.0)
    again = ResetRule(ResetConfig(patience=4))
    again.load_state_dict(rule.state_dict())
    assert [again.due(step, accuracies[step - 1], 0.0) is not None for step in (4, 5, 6)] == [
        False,
        True,
        False,
    ]


def weights(module: torch.nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("optimizer", [True, False])
def test_a_reset_really_resets(recipe: Make, optimizer: bool) -> None:
    """The reference equals the policy of that step, not the one after it; AdamW starts anew."""
    config = recipe(
        "algorithm=grpo", "reset.every=2", f"reset.optimizer={optimizer}".lower(), "train.steps=3"
    )
    trainer = Trainer(config, open_run(config, "test"))
    reference = trainer.policy.reference
    assert reference is not None
    base = weights(reference)
    after: dict[int, list[torch.Tensor]] = {}
    one_step = trainer.stepper.take

    def watched(*arguments):  # type: ignore[no-untyped-def]
        metrics = one_step(*arguments)
        after[trainer.step + 1] = weights(trainer.policy.model)
        if trainer.step + 1 == 1:
            assert same(weights(reference), base)
        if trainer.step + 1 == 2:
            assert bool(trainer.stepper.learner.optimizer.state) != optimizer
        return metrics

    trainer.stepper.take = watched
    run = trainer.run().folder
    assert same(weights(reference), after[2])
    assert not same(after[3], after[2])
    rows = read_jsonl(run / "metrics.jsonl")
    assert [row["resets"] for row in rows] == [0, 1, 1]
    # KL(π ‖ π_ref) of the third step is of a policy that is its reference: rounding alone.
    assert abs(rows[2]["kl/reference"]) < 1e-5 < abs(rows[1]["kl/reference"])

    resumed = Trainer(config, run, resume=checkpoints.latest_whole(run))
    assert resumed.policy.reference is not None
    assert same(weights(resumed.policy.reference), after[2])


def test_running_log_z_is_forgotten(recipe: Make) -> None:
    config = recipe("algorithm=tba", "objective={log_z: running}", "reset.every=2", "train.steps=2")
    trainer = Trainer(config, open_run(config, "test"))
    trainer.run()
    assert trainer.stepper.memory is not None
    assert trainer.stepper.memory.running.values == {}


def test_a_reset_does_not_wait_for_a_batch_to_learn_from(recipe: Make) -> None:
    config = recipe(
        "algorithm=prorl",
        "reward.right=9",
        "rollout.max_rounds=1",
        "reset.every=2",
        "train.steps=2",
    )
    trainer = Trainer(config, open_run(config, "test"))
    trainer.run()
    assert trainer.stepper.spent.optimizer_steps == 0
    assert trainer.stepper.reset.resets == 1


def test_a_reference_of_another_shape_cannot_be_reset(recipe: Make, tmp_path: Path) -> None:
    tokenizer = word_tokenizer(Countdown.vocabulary, 64)
    shape = ArchitectureConfig(
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=64,
    )
    build_model(shape, tokenizer).save_pretrained(tmp_path / "other")
    config = recipe("algorithm=grpo", "reset.every=2", f"model.reference={tmp_path / 'other'}")
    with pytest.raises(UserError, match="reference: is of another architecture"):
        Trainer(config, open_run(config, "test"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("algorithm=dr-grpo",), "has no reference to reset"),
        (("algorithm=grpo", "model.lora={}"), "reset: with LoRA"),
        (("algorithm=tba", "objective={log_z: offline}"), "an offline log Z is of one reference"),
    ],
)
def test_impossible_resets(recipe: Make, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe(*overrides, "reset.every=5")


def test_no_reference_file_without_a_reset(recipe: Make) -> None:
    config = recipe("algorithm=grpo", "reset.every=9", "train.steps=1")
    saved: Path = Trainer(config, open_run(config, "test")).run().checkpoint
    assert not (saved / "parts").exists()
