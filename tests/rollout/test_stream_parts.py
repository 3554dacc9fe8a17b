"""What a stream is made of: kept groups, packed groups, longer answers, a policy's snapshots."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any, ClassVar

import pytest
import torch
from tests.groups import make_group

from evenflow.config import ReplayConfig, TrainConfig
from evenflow.data import Prompt
from evenflow.policy.compiled import compile_policy
from evenflow.policy.snapshot import Follower, snapshot
from evenflow.rollout.embedded.engine import EmbeddedEngine
from evenflow.rollout.group import Group
from evenflow.rollout.packing import Gone, Packing
from evenflow.rollout.parts import go_on, longer, open_rows
from evenflow.rollout.replay import Replay
from evenflow.rollout.sampling import Sampling
from evenflow.training.trainer import Trainer

Make = Callable[..., TrainConfig]


def judged(name: str, *rewards: float) -> Group:
    return make_group(name, [[1]] * len(rewards), rewards=list(rewards))


def names(groups: list[Group]) -> list[str]:
    return [group.prompt.key for group in groups]


# --- replay ------------------------------------------------------------------------------------


def test_the_newest_are_kept() -> None:
    replay = Replay(ReplayConfig(questions=1, keep=3))
    for name in "abcde":
        replay.add([judged(name, 0.0, 1.0)])
    assert names(replay.groups) == ["c", "d", "e"]


def test_by_reward_what_is_solved_seldom_is_worth_most() -> None:
    replay = Replay(ReplayConfig(questions=1, keep=2, by="reward"))
    replay.add([judged("all", 1.0, 1.0, 1.0), judged("none", 0.0, 0.0, 0.0)])
    assert names(replay.groups) == ["all", "none"]
    replay.add([judged("one", 0.0, 1.0, 0.0), judged("two", 1.0, 1.0, 0.0)])
    assert names(replay.groups) == ["one", "two"]
    replay.add([judged("none", 0.0, 0.0), judged("one again", 1.0, 0.0, 0.0)])
    assert names(replay.groups) == ["one", "one again"]


def test_groups_are_drawn_without_replacement_and_alike_with_the_same_seed() -> None:
    replay = Replay(ReplayConfig(questions=3, keep=9))
    assert replay.draw("x") == []
    replay.add([judged("a", 1.0), judged("b", 1.0)])
    assert sorted(names(replay.draw("x"))) == ["a", "b"]
    replay.add([judged(name, 1.0) for name in "cdefg"])
    drawn = [names(replay.draw(f"seed {i}")) for i in range(400)]
    assert drawn == [names(replay.draw(f"seed {i}")) for i in range(400)]
    assert all(len(set(each)) == 3 for each in drawn)
    often = [sum(name in each for each in drawn) for name in "abcdefg"]
    assert min(often) > 400 * 3 / 7 * 0.7  # 171 each, give or take 10
    assert max(often) < 400 * 3 / 7 * 1.3


def test_what_nobody_draws_is_not_kept() -> None:
    replay = Replay(ReplayConfig(keep=9))
    replay.add([judged("a", 1.0)])
    assert replay.groups == []


# --- packing -----------------------------------------------------------------------------------

QUESTIONS = [Prompt("same", "same", (1, 2), {"n": 1}), Prompt("same", "same", (1, 2), {"n": 2})]


@pytest.mark.parametrize("rewards", [None, [1.0, float("nan")]])
@pytest.mark.parametrize("versions", [None, [[3, 3, 4], [3]]])
def test_a_checkpoint_keeps_all_of_a_group(rewards: Any, versions: Any) -> None:
    """The question is known by identity: two may have one key."""
    group = make_group(
        QUESTIONS[1],
        [[5, 6, 70000], [8]],
        ["a\ud7ff", ""],
        [True, False],
        rewards=rewards,
        logprob=-0.123456789,
        version=3,
        versions=versions,
        place=7,
    )
    # As an engine gives them: float32.
    group = replace(group, logprobs=[torch.tensor(row).tolist() for row in group.logprobs])
    packing, file = Packing(QUESTIONS), io.BytesIO()
    torch.save(packing.pack([group]), file)
    file.seek(0)
    [there] = packing.unpack(torch.load(file, weights_only=True))
    assert there.prompt is QUESTIONS[1]
    assert repr(there) == repr(group)  # a NaN equals nothing


def test_another_question_in_its_place_is_noticed() -> None:
    packed = Packing(QUESTIONS).pack([make_group(QUESTIONS[1], [[1]])])
    for others in (QUESTIONS[:1], [QUESTIONS[0], Prompt("other", "other", (1,), {})]):
        with pytest.raises(Gone, match="question 1"):
            Packing(others).unpack(packed)


# --- answers in parts --------------------------------------------------------------------------


def test_open_answers_have_neither_ended_nor_come_to_the_limit() -> None:
    group = make_group("a", [[1], [1, 2], [1, 2], [1]], None, [True, False, True, False])
    assert open_rows(group, 2) == [3]
    assert open_rows(group, 3) == [1, 3]


class Letters:
    """A tokenizer of bytes."""

    added_tokens_decoder: ClassVar[dict[int, Any]] = {}
    all_special_ids: ClassVar[list[int]] = []

    def batch_decode(self, rows: list[list[int]], **_: Any) -> list[str]:
        return [bytes(ids).decode(errors="replace") for ids in rows]

    def get_vocab(self) -> dict[str, int]:
        return {}


def test_a_character_may_lie_on_both_sides_of_a_seam() -> None:
    first, second = "é".encode()
    group = make_group("a", [[first], [65]], ["\ufffd", "A"], [False, True], version=1)
    part = make_group("a", [[second, 10]], ["\ufffd"], [True], logprob=-2.0, version=4)
    whole = longer(group, {0: part}, Letters())
    assert whole.texts == ["é", ""]  # the second one's only token is the one that ended it
    assert whole.answers == [[first, second, 10], [65]]
    assert whole.logprobs == [[-0.5, -2.0, -2.0], [-0.5]]
    assert whole.versions == [[1, 4, 4], [1]]
    assert whole.oldest == [1, 1]
    assert whole[[1]].versions == [[1]]
    assert whole.finished == [True, True]


def test_greedy_answers_are_the_same_in_parts(recipe: Make) -> None:
    trainer = Trainer(recipe())
    engine, prompts = trainer.engine, trainer.questions.train[:3]
    assert isinstance(engine, EmbeddedEngine)
    sampling = replace(trainer.sampling, max_tokens=12, temperature=0.0)
    whole = sorted(engine.groups(prompts, 2, sampling, seed=0), key=lambda g: g.place)
    first = replace(sampling, max_tokens=4)
    parts = sorted(engine.groups(prompts, 2, first, seed=0), key=lambda g: g.place)
    seeds: Iterator[int] = count()
    while any(open_rows(group, 12) for group in parts):
        parts = go_on(engine, parts, sampling, 4, seeds, trainer.tokenizer, None)
    assert [g.answers for g in parts] == [g.answers for g in whole]
    assert [g.texts for g in parts] == [g.texts for g in whole]
    assert [g.finished for g in parts] == [g.finished for g in whole]
    for ours, theirs in zip(parts, whole, strict=True):
        assert ours.prompt is theirs.prompt
        for a, b in zip(ours.logprobs, theirs.logprobs, strict=True):
            assert a == pytest.approx(b, abs=1e-5)


# --- snapshots ---------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
def test_a_follower_is_what_the_policy_was(
    recipe: Make, monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    policy = Trainer(recipe("algorithm=flowrl", "model.logprob_chunk=3")).policy
    if compiled:
        monkeypatch.setattr(torch, "compile", lambda function, **_: function)
        compile_policy(policy)
    follower, asked = Follower(policy), ([[5, 6]], [[7, 8]])
    before, was = snapshot(policy), policy.score(*asked)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.3)
    now = policy.score(*asked)
    assert not torch.allclose(was, now)
    assert torch.equal(follower.become(before).score(*asked), was)
    assert torch.equal(follower.become(snapshot(policy)).score(*asked), now)
    assert follower.policy.head is None
    assert follower.policy.chunk == 3


def test_tied_weights_stay_tied(recipe: Make) -> None:
    policy = Trainer(recipe()).policy
    tied = len(list(policy.model.parameters()))
    assert len(list(Follower(policy).policy.model.parameters())) == tied


def test_sampling_from_a_follower_leaves_the_policy_alone(recipe: Make) -> None:
    trainer = Trainer(recipe())
    follower = Follower(trainer.policy)
    trainer.engine.update(follower.become(snapshot(trainer.policy)), 0)
    trainer.policy.train()
    sampling = Sampling(max_tokens=3)
    list(trainer.engine.groups(trainer.questions.train[:1], 2, sampling, seed=0))
    assert trainer.policy.model.training
    assert not follower.policy.model.training
