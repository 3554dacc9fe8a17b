"""The loop: it learns, resumes bit for bit, logs what it should, and stops with one sentence."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from evenflow.cli import main
from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.objectives import PRESETS, Answers
from evenflow.rewards import Rewards
from evenflow.rollout.group import Group
from evenflow.run import checkpoints
from evenflow.run.tracking import read_jsonl
from evenflow.training.scoring import Rows
from evenflow.training.trainer import Trainer
from tests.groups import engines
from tests.training.runs import metrics, open_run, train

Make = Callable[..., TrainConfig]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


EVERY_OBJECTIVE = [
    *((f"algorithm={name}",) for name in PRESETS),
    ("algorithm=tba", "objective={log_z: leave-one-out, duplicates: once}"),
    ("algorithm=tba", "objective={log_z: running}"),
    ("algorithm=tba", "objective={log_z: offline}"),
    ("algorithm=tba", "objective={log_z: none}"),
    ("algorithm=tba", "objective={reference_weight: 0}", "log.reference_kl=false"),
    ("algorithm=ppo", "critic.trunk=own", "objective={gae_lambda: 0.9, entropy_bonus: 0.01}"),
]


@pytest.mark.parametrize("overrides", EVERY_OBJECTIVE, ids=lambda o: " ".join(o))
def test_every_objective_trains(recipe: Make, overrides: tuple[str, ...]) -> None:
    # Some answers reach 0.1 and some do not, so that dynamic sampling has something to keep.
    folder = train(
        recipe(*overrides, "train.mini_batch_questions=2", "train.epochs=2", "reward.right=0.1")
    )
    rows = metrics(folder)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert all(v is not None for v in row.values()), row
        assert row["optimizer/skipped"] == 0
    assert ("kl/reference" in rows[0]) == ("log.reference_kl=false" not in overrides)


def test_reward_rises(recipe: Make) -> None:
    folder = train(
        recipe(
            "algorithm=tba",
            "objective={inverse_temperature: 20}",
            "train.steps=40",
            "train.learning_rate=5e-3",
            "rollout.num_generations=8",
        )
    )
    rewards = [row["reward/mean"] for row in metrics(folder)]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(
    recipe: Make, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    config = recipe("train.steps=50")
    trainer = Trainer(config, open_run(config, "test"))
    one_step = trainer.stepper.take

    def interrupt_in_third(*arguments):  # type: ignore[no-untyped-def]
        if trainer.step == 2:
            os.kill(os.getpid(), number)
        return one_step(*arguments)

    trainer.stepper.take = interrupt_in_third
    folder = trainer.run().checkpoint
    assert folder.name == "checkpoint-000003"
    assert checkpoints.verify(folder) is None
    assert f"--resume {config.output}" in capsys.readouterr().out.replace("\n", " ")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_on_policy_weights_are_one_and_off_policy_ones_are_not(recipe: Make) -> None:
    alone = metrics(train(recipe("algorithm=flowrl")))
    assert all(row["weight/p01"] == row["weight/p99"] == 1.0 for row in alone)
    assert all(row["kl/old"] == 0.0 for row in alone)


def test_off_policy_weights_move(recipe: Make) -> None:
    rows = metrics(train(recipe("algorithm=flowrl", "train.epochs=3", "train.learning_rate=1e-2")))
    assert any(row["weight/truncated"] > 0 for row in rows)
    assert any(row["kl/old"] > 0 for row in rows)


def test_micro_batches_change_nothing(recipe: Make, tmp_path: Path) -> None:
    results = []
    for budget in (16384, 40):
        config = recipe(
            "algorithm=tba",
            f"train.micro_batch_tokens={budget}",
            "train.mini_batch_questions=2",
            f"output={tmp_path / str(budget)}",
            "train.steps=2",
        )
        results.append(weights(train(config)))
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, rtol=1e-4, atol=1e-5)


def test_equal_rewards_teach_a_surrogate_nothing(recipe: Make) -> None:
    folder = train(
        recipe("algorithm=grpo", "reward.functions={tests.training.rewards:constant: 1.0}")
    )
    assert all(row["reward/equal_groups"] == 1.0 for row in metrics(folder))
    assert all(row["grad_norm/policy"] < 1e-6 for row in metrics(folder)[:1])


def test_unknown_rewards_are_left_out_and_counted(recipe: Make) -> None:
    folder = train(recipe("reward.functions={tests.training.rewards:half_unknown: 1.0}"))
    assert all(row["reward/unknown"] == 0.5 for row in metrics(folder))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("raises", "out of order"),
        ("too_few", "1"),
        ("unknown", "no reward function applied"),
    ],
)
def test_a_bad_reward_ends_in_a_sentence_and_keeps_the_checkpoint(
    recipe: Make, name: str, says: str
) -> None:
    config = recipe("train.steps=1")
    good = train(config)
    bad = recipe("train.steps=2", f"reward.functions={{tests.training.rewards:{name}: 1.0}}")
    with pytest.raises(UserError, match=says):
        Trainer(bad, good.parent, resume=good).run()
    assert checkpoints.verify(good) is None


def test_a_nan_reward_is_unknown_and_the_run_goes_on(
    recipe: Make, caplog: pytest.LogCaptureFixture
) -> None:
    folder = train(recipe("reward.functions={tests.training.rewards:nan: 1.0}"))
    shares = [row["reward/unknown"] for row in metrics(folder)]
    assert set(shares) <= {0.0, 0.25, 0.5, 0.75}  # whole questions of four
    assert max(shares) > 0
    assert "nan" in caplog.text


def test_a_step_goes_on_without_the_rewards_that_hang(
    recipe: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """One group at a time: those that it hangs on are unknown, the others are learned from."""
    folder = train(
        recipe(
            "reward.functions={tests.training.rewards:hangs_on_some: 1.0}",
            "reward.timeout=0.2",
            "rollout.questions=1",
            "train.steps=8",
        )
    )
    shares = [row["reward/unknown"] for row in metrics(folder)]
    assert set(shares) == {0.0, 1.0}
    assert [("loss" in row) for row in metrics(folder)] == [share == 0 for share in shares]
    assert "did not return within 0.2 s" in caplog.text


def test_offline_log_z_goes_on_where_the_reference_is_not_judged(recipe: Make) -> None:
    """The reference's answers to some questions have no reward: the questions wait."""
    config = recipe(
        "algorithm=tba",
        "objective={log_z: offline}",
        "reward.functions={tests.training.rewards:digits: 1.0}",
        "train.steps=3",
    )
    trainer = Trainer(config, open_run(config, "test"))
    judge = trainer.stepper._judge_reference
    asked: list[int] = []

    def half(keys: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(len(keys))
        rewards, logprobs = judge(keys)
        rewards[::2] = math.nan
        return rewards, logprobs

    trainer.stepper.memory = trainer.objective.memory(half)
    rows = metrics(trainer.run().checkpoint)
    assert [row["log_z/unknown"] for row in rows] == [0.5] * 3
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert trainer.stepper.memory is not None
    assert len(trainer.stepper.memory.log_z) == sum(asked) // 2


def test_a_reward_that_always_hangs_ends_the_run(recipe: Make) -> None:
    config = recipe("reward.functions={tests.training.rewards:hangs: 1.0}", "reward.timeout=0.2")
    trainer = Trainer(config, open_run(config, "test"))
    before = {k: v.clone() for k, v in trainer.policy.model.state_dict().items()}
    with pytest.raises(UserError, match=r"unknown in 3 steps.*reward.timeout"):
        trainer.run()
    after = trainer.policy.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_loss_that_is_not_finite_leaves_the_weights_and_stops(recipe: Make) -> None:
    config = recipe(
        "algorithm=tba", "reward.functions={tests.training.rewards:huge: 1.0}", "train.steps=10"
    )
    trainer = Trainer(config, open_run(config, "test"))
    before = {k: v.clone() for k, v in trainer.policy.model.state_dict().items()}
    with pytest.raises(UserError, match=r"not finite in 3 steps.*learning_rate"):
        trainer.run()
    after = trainer.policy.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_evaluation_samples_and_summary(recipe: Make, tmp_path: Path) -> None:
    folder = train(recipe("evaluation.every=2", "evaluation.questions=5", "evaluation.samples=2"))
    run = folder.parent
    curve = {f"pass@{2**power}" for power in range(1, 9)}
    names = {"accuracy", "distinct@16", "effective_solutions"} | curve
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary["before"]) == set(summary["after"]) == names
    evaluated = [row["step"] for row in metrics(folder) if "test/accuracy" in row]
    assert evaluated == [0, 2, 4]
    samples = read_jsonl(run / "samples.jsonl")
    assert [row["step"] for row in samples] == [0, 0, 2, 2, 4, 4]
    assert all(len(row["answers"]) == len(row["rewards"]) == 16 for row in samples)
    assert (run.parent / "latest").resolve() == run.resolve()
    by_question = read_jsonl(run / "questions.jsonl")
    assert [row["step"] for row in by_question] == evaluated
    for name, values in by_question[-1]["scores"].items():
        assert math.isclose(sum(values) / len(values), summary["after"][name]), name
    (start,) = json.loads((run / "provenance.json").read_text())["starts"]
    assert any(name.startswith("held-out questions") for name in start["inputs"])
    assert start["seconds"] > 0
    assert (run / "config.yaml").is_file()
    assert math.isclose(summary["answers"], 4 * 16)


def test_a_run_that_fails_at_once_does_not_take_latest(recipe: Make, tmp_path: Path) -> None:
    good = Trainer(recipe("train.steps=1", f"output={tmp_path}/good")).run()
    failing = "reward.functions={tests.training.rewards:raises: 1.0}"
    with pytest.raises(UserError):
        Trainer(recipe("train.steps=1", f"output={tmp_path}/bad", failing)).run()
    assert (tmp_path / "latest").resolve() == good.folder.resolve()


def test_only_the_last_checkpoints_are_kept(recipe: Make) -> None:
    folder = train(recipe("checkpoint.every=1", "checkpoint.keep=2"))
    kept = [path.name for path in checkpoints.checkpoints(folder.parent)]
    assert kept == ["checkpoint-000003", "checkpoint-000004"]


def test_an_earlier_run_is_not_overwritten(recipe: Make) -> None:
    train(recipe("train.steps=1"))
    with pytest.raises(UserError, match="--resume"):
        open_run(recipe("train.steps=1"), "test")


@pytest.mark.parametrize(
    ("overrides", "passes"),
    [
        (("algorithm=flowrl",), 0),  # the training forward gives them
        (("algorithm=flowrl", "train.epochs=2"), 1),
        (("algorithm=tba",), 1),  # the group's log Z comes before the first gradient
        (("algorithm=flowrl", "train.epochs=2", "model.dtype=float32"), 0),  # as sampled
    ],
)
def test_old_logprobs_cost_a_pass_only_where_they_must(
    recipe: Make, overrides: tuple[str, ...], passes: int
) -> None:
    config = recipe("model.dtype=bfloat16", "train.steps=1", *overrides)
    row = metrics(train(config))[0]
    assert ("seconds/old_log-probs" in row) == bool(passes)
    assert row["optimizer/skipped"] == 0


def test_weights_are_logged_as_they_are_before_truncation(recipe: Make) -> None:
    rows = metrics(train(recipe("algorithm=flowrl", "train.epochs=3", "train.learning_rate=3e-2")))
    assert max(row["weight/p99"] for row in rows) > 1.3


def test_sampler_and_trainer_agree_and_a_broken_sampler_shows(recipe: Make) -> None:
    config = recipe("algorithm=flowrl", "train.steps=1")
    trainer = Trainer(config, open_run(config, "test"))
    assert metrics(trainer.run().checkpoint)[0]["sampler/gap"] < 1e-4

    def off(group: Group) -> Group:
        logprobs = [[logprob - 0.5 for logprob in row] for row in group.logprobs]
        return dataclasses.replace(group, logprobs=logprobs)

    with engines(off):
        broken = Trainer(config, trainer.folder.with_name("broken"))
        row = metrics(broken.run().checkpoint)[0]
    assert row["sampler/gap"] == pytest.approx(0.5, abs=1e-3)


def test_a_folder_from_python_is_refused_where_an_earlier_run_lies(recipe: Make) -> None:
    config = recipe("algorithm=tba", "train.steps=1")
    folder = open_run(config, "test")
    Trainer(config, folder).run()
    with pytest.raises(UserError, match="holds the checkpoints of an earlier run"):
        Trainer(config, folder)


def test_a_reward_that_fails_late_loses_no_step(recipe: Make) -> None:
    config = recipe("train.steps=5")
    trainer = Trainer(config, open_run(config, "test"))

    def fail_in_third(completions: list[str], **_: object) -> list[float]:
        if trainer.step == 2:
            raise RuntimeError("the grader is gone")
        return [1.0] * len(completions)

    rewards = Rewards([("fails", fail_in_third, 1.0)])
    stream = trainer.stepper.stream
    stream.collector = dataclasses.replace(stream.collector, rewards=rewards)
    with pytest.raises(UserError, match="the grader is gone"):
        trainer.run()
    saved = checkpoints.latest_whole(trainer.folder)
    assert saved.name == "checkpoint-000002"
    assert (
        Trainer(config, trainer.folder, resume=saved).run().checkpoint.name == "checkpoint-000005"
    )


def test_weights_that_a_cut_step_has_moved_are_not_saved(recipe: Make) -> None:
    """An error of the system in the third step's optimiser: it is no checkpoint of two steps."""
    config = recipe("train.steps=5")
    trainer = Trainer(config, open_run(config, "test"))
    step = trainer.stepper.learner.optimizer.step

    def cut(*_: object) -> None:
        step()
        if trainer.step == 2:
            raise BrokenPipeError

    trainer.stepper.learner.optimizer.step = cut  # type: ignore[method-assign]
    with pytest.raises(BrokenPipeError):
        trainer.run()
    assert not [*trainer.folder.glob("checkpoint-*")]


@pytest.mark.parametrize("gone", ["config.yaml", ""])
def test_a_run_whose_files_are_removed_can_be_gone_on_with(
    recipe: Make, gone: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = recipe("train.steps=4", "checkpoint.every=2")

    def remove(step: int, _: object) -> None:
        if step == 1:
            path = trainer.folder / gone
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    trainer = Trainer(config, open_run(config, "test"), on_step=remove)
    folder = trainer.run().folder
    assert "files of the run were removed while it went on" in caplog.text
    again = ["train", "--resume", str(folder), "train.steps=5"]
    assert main(again) == 0
    assert checkpoints.latest_whole(folder).name == "checkpoint-000005"


@pytest.mark.parametrize("asked", [2, 4])
def test_questions_that_vanish_leave_mini_batches_of_like_size(recipe: Make, asked: int) -> None:
    config = recipe("algorithm=tba", "rollout.questions=8", f"train.mini_batch_questions={asked}")
    trainer = Trainer(config, open_run(config, "test"))
    sizes: list[int] = []
    trainer.stepper.learner._mini_batch = lambda rows, _: sizes.append(  # type: ignore[method-assign]
        len(rows.answers.groups.unique())
    )
    for questions in (8, 5, 7, 1, 9, 13):
        sizes.clear()
        n = 2 * questions
        answers = Answers(
            mask=torch.ones(n, 3),
            rewards=torch.zeros(n),
            old_logprobs=torch.zeros(n, 3),
            groups=torch.arange(questions).repeat_interleave(2),
        )
        rows = Rows(["q"] * n, [(1,)] * n, [()] * n, [[1]] * n, torch.zeros(n), answers)
        trainer.stepper.learner.learn(rows, seed="0")
        assert len(sizes) == max(1, round(questions / asked))
        assert sum(sizes) == questions
        assert max(sizes) - min(sizes) <= 1
