"""A run whose sampler computes another policy than its trainer stops before it learns from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.policy.policy import Policy
from evenflow.rollout.group import Group
from evenflow.run import checkpoints
from evenflow.training.gap import PROBED
from evenflow.training.trainer import Trainer
from tests.training.runs import metrics, open_run
from tests.training.test_correction import nats_off, sampler

Make = Callable[..., TrainConfig]


@pytest.mark.parametrize("more", [(), ("train.epochs=2",)])
@pytest.mark.parametrize("algorithm", ["grpo", "tba", "ppo"])
def test_nothing_is_learned_from_the_first_batch(
    recipe: Make, algorithm: str, more: tuple[str, ...]
) -> None:
    config = recipe(f"algorithm={algorithm}", *more)
    with sampler(nats_off(0.5)):
        trainer = Trainer(config, open_run(config, "test"))
        before = {name: value.clone() for name, value in trainer.policy.state_dict().items()}
        with pytest.raises(UserError) as found:
            trainer.run()
    said = str(found.value)
    assert said.startswith("rollout.engine: embedded, step 1: log-probs as sampled")
    assert "differ by 0.5 nats a token on average, at most 0.5 (in 16 answers)" in said
    assert "rollout.largest_gap, 0.3; nothing was learned" in said
    assert "weights that the engine has not taken over" in said
    after = trainer.policy.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("algorithm", ["grpo", "tba"])
def test_what_was_learned_before_is_saved_and_a_run_can_go_on(recipe: Make, algorithm: str) -> None:
    config = recipe(f"algorithm={algorithm}", "train.steps=3")

    def off_from_the_third(group: Group) -> Group:
        return nats_off(0.5)(group) if group.version >= 2 else group

    with sampler(off_from_the_third):
        trainer = Trainer(config, open_run(config, "test"))
        with pytest.raises(UserError, match="step 3: log-probs as sampled"):
            trainer.run()
        saved = checkpoints.latest_whole(trainer.folder)
        assert saved.name == "checkpoint-000002"
        free = recipe(f"algorithm={algorithm}", "train.steps=3", "rollout.largest_gap=null")
        rows = metrics(Trainer(free, trainer.folder, resume=saved).run().checkpoint)
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert rows[1]["sampler/gap"] < 1e-4
    assert rows[2]["sampler/gap_mean"] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("beside", [True, False])
def test_what_is_sampled_ahead_is_held_against_the_policy_that_sampled_it(
    recipe: Make, beside: bool
) -> None:
    """Its own is another one by the time it learns from it; here steps are large."""
    large = recipe("rollout.lag=2", "train.steps=5", "train.learning_rate=0.3")

    def off_from_the_third(group: Group) -> Group:
        return nats_off(0.5)(group) if group.version >= 2 else group

    with sampler(off_from_the_third, beside=beside):
        trainer = Trainer(large, open_run(large, "test"))
        with pytest.raises(UserError, match="step 5: log-probs as sampled"):
            trainer.run()
    saved = checkpoints.latest_whole(trainer.folder)
    # In turns the fifth batch is sampled when the third is about to be learned from.
    assert saved.name == ("checkpoint-000004" if beside else "checkpoint-000002")
    for row in metrics(saved):
        assert row["sampler/gap"] < 1e-4


def test_the_mean_counts_and_not_the_largest(recipe: Make) -> None:
    """One token in many may be far off: rounding where nearly nothing was likely."""

    def one_off(group: Group) -> Group:
        first, *rest = group.logprobs
        return dataclasses.replace(group, logprobs=[[first[0] - 5.0, *first[1:]], *rest])

    config = recipe("algorithm=tba", "train.steps=1")
    with sampler(one_off):
        row = metrics(Trainer(config, open_run(config, "test")).run().checkpoint)[0]
    assert row["sampler/gap"] == pytest.approx(5, abs=1e-3)
    assert 0.01 < row["sampler/gap_mean"] < 0.3


def scored(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many answers the policy itself scored, each time that it was asked."""
    counts: list[int] = []
    score = Policy.score

    def spied(self: Policy, prompts: list, answers: list, **more: object) -> torch.Tensor:
        if not more.get("reference"):
            counts.append(len(answers))
        return score(self, prompts, answers, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Policy, "score", spied)
    Trainer(config, open_run(config, "test")).run()
    return counts


def test_it_costs_a_few_answers_or_nothing(recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    large = ("rollout.questions=8", "rollout.num_generations=5", "train.steps=1")
    with sampler(nats_off(0.1)):
        (few,) = scored(recipe("algorithm=grpo", *large), monkeypatch)
    assert PROBED / 2 < few <= PROBED < 40


@pytest.mark.parametrize(
    ("options", "exact", "version", "counts"),
    [
        (("algorithm=grpo", "train.epochs=2"), False, None, [16]),  # all are scored anyhow
        (("algorithm=tba",), False, None, [16]),
        (("algorithm=grpo",), True, None, []),
        (("algorithm=grpo", "rollout.largest_gap=null"), False, None, []),
        (("algorithm=grpo",), False, -1, []),  # another policy's log-probs tell nothing
    ],
)
def test_what_is_known_or_not_asked_costs_nothing(
    recipe: Make,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    exact: bool,
    version: int | None,
    counts: list[int],
) -> None:
    with sampler(nats_off(0.1, version), exact=exact):
        assert scored(recipe("train.steps=1", *options), monkeypatch) == counts
