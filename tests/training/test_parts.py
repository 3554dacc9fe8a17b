"""Answers that are learned from later: replay, and answers in parts, as whole runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.rollout.embedded.engine import EmbeddedEngine
from evenflow.training import checkpoint
from evenflow.training.trainer import Trainer
from tests.training.runs import PARTS, groups_learned, metrics, open_run, train

Make = Callable[..., TrainConfig]


def test_replayed_groups_are_of_earlier_steps(recipe: Make) -> None:
    with groups_learned() as seen:
        rows = metrics(train(recipe("rollout.replay.questions=2", "train.steps=4")))
    assert [len(groups) for groups in seen] == [4, 6, 6, 6]
    for step, groups in enumerate(seen[1:], 1):
        assert [group.version for group in groups[:4]] == [step] * 4
        assert all(group.version < step for group in groups[4:])
        assert groups[4] is not groups[5]
    assert rows[0]["staleness/max"] == 0 < rows[-1]["staleness/max"]
    # 16 answers a step: what is replayed is not sampled, nor counted.
    assert [row["answers"] for row in rows] == [16, 32, 48, 64]


def test_changed_questions_forget_what_was_sampled_for_others(
    recipe: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    config = recipe("rollout.replay.questions=2", "train.steps=3", "checkpoint.every=2")
    whole = train(config)
    data = config.data.model_copy(update={"task_options": {"targets": [50, 60]}})
    other = config.model_copy(update={"data": data})
    folder = whole.parent / "checkpoint-000002"
    assert checkpoint.load_state(folder)["replay"]
    resumed = Trainer(other, whole.parent, resume=folder, changed_inputs=True)
    assert resumed.stepper.replay.groups == []
    assert "or kept to be replayed, is left out" in " ".join(capsys.readouterr().out.split())
    assert resumed.run().steps == 3


# --- answers in parts -----------------------------------------------------------------------------


def test_every_token_has_the_log_prob_of_the_policy_that_drew_it(recipe: Make) -> None:
    config = recipe(*PARTS, "train.steps=6", "checkpoint.every=1", "checkpoint.keep=9")
    config = config.model_copy(
        update={"train": config.train.model_copy(update={"learning_rate": 0.05})}
    )
    with groups_learned() as seen:
        last = train(config)
    start = config.model_copy(update={"output": None})
    policies = [Trainer(start, last.parent.parent / "start").policy] + [
        Trainer(config, resume=last.parent / f"checkpoint-{step:06}").policy for step in range(1, 6)
    ]
    mixed = 0
    for group in (group for groups in seen for group in groups):
        versions = group.versions or [[group.version] * len(ids) for ids in group.answers]
        scored = [p.score([group.prompt.ids] * len(group), group.answers) for p in policies]
        for row, (ours, of) in enumerate(zip(group.logprobs, versions, strict=True)):
            assert of == sorted(of)
            mixed += of[0] != of[-1]
            theirs = [scored[version][row, place].item() for place, version in enumerate(of)]
            assert theirs == pytest.approx(ours, abs=1e-4)
            assert len(of) == len(ours)
    assert mixed


def test_answers_in_parts_are_decoded_whole_and_counted_once(recipe: Make) -> None:
    config = recipe(*PARTS, "train.steps=5")
    with groups_learned() as seen:
        trainer = Trainer(config, open_run(config, "test"))
        trainer.run()
    groups = [group for each in seen for group in each]
    for group in groups:
        for ids, text, finished in zip(group.answers, group.texts, group.finished, strict=True):
            assert text == trainer.tokenizer.decode(ids, skip_special_tokens=True)
            assert finished or len(ids) == 8
    waiting = trainer.stepper.stream.going_on
    begun = trainer.stepper.spent.questions
    assert len(groups) + len(waiting) == begun
    tokens = sum(len(ids) for group in [*groups, *waiting] for ids in group.answers)
    assert trainer.stepper.spent.tokens == tokens


def test_a_step_gives_no_answer_more_tokens_than_a_segment(recipe: Make) -> None:
    limits: list[int] = []
    groups = EmbeddedEngine.groups

    def noting(self: Any, prompts: Any, count: Any, sampling: Any, **options: Any) -> Any:
        limits.append(sampling.max_tokens)
        return groups(self, prompts, count, sampling, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddedEngine, "groups", noting)
        rows = metrics(train(recipe(*PARTS, "train.steps=4")))
    assert set(limits) == {2}
    assert all(math.isfinite(row["rollout/going_on"]) for row in rows)


def test_one_segment_is_sampling_as_ever(recipe: Make, tmp_path: Path) -> None:
    """The same weights, bit for bit, where a segment is a whole answer."""
    plain = train(recipe(f"output={tmp_path / 'a'}"))
    parts = train(recipe("rollout.segment=10", f"output={tmp_path / 'b'}"))
    states = [checkpoint.load_state(folder)["optimizer"] for folder in (plain, parts)]
    for ours, theirs in zip(*(s["state"].values() for s in states), strict=True):
        assert torch.equal(ours["exp_avg"], theirs["exp_avg"])


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("rollout.segment=3", "rollout.segment: 3 does not divide rollout.max_completion_length"),
        ("rollout.segment=0", "rollout.segment"),
        ("rollout.lag=-1", "rollout.lag"),
        ("rollout.replay.questions=-1", "rollout.replay.questions"),
        ("rollout.replay.by=age", "rollout.replay.by"),
    ],
)
def test_what_cannot_be_is_refused(recipe: Make, override: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        recipe(override)


def test_parts_do_not_go_with_dynamic_sampling(recipe: Make) -> None:
    with pytest.raises(UserError, match=r"rollout\.segment: not with rollout\.dynamic_sampling"):
        recipe("rollout.segment=5", "rollout.dynamic_sampling=true")
