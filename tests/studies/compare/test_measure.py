"""Measurements against their definitions: what is sampled is scored again by hand."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.runs import open_run
from torch import Tensor

from evenflow.commands.eval import evaluate
from evenflow.config import TrainConfig, dump
from evenflow.policy.loading import build_policy, load_model, load_tokenizer
from evenflow.policy.policy import Policy
from evenflow.policy.tokens import collate
from evenflow.rewards import RewardResult
from evenflow.rollout.engine import sample
from evenflow.rollout.group import Group
from evenflow.run.checkpoints import latest_whole
from evenflow.studies.compare import measure as module
from evenflow.studies.compare.measure import (
    Texts,
    head_log_z,
    measure,
    sampled_scores,
    score_twice,
)
from evenflow.training.build import build_sampling, engine_for, load_questions
from evenflow.training.trainer import Trainer

Make = Callable[..., TrainConfig]
CPU = torch.device("cpu")


@pytest.fixture
def trained(recipe: Make, tmp_path: Path) -> Callable[..., tuple[Path, TrainConfig]]:
    """A run of two large steps, as a comparison leaves it."""

    def make(*overrides: str) -> tuple[Path, TrainConfig]:
        config = recipe("train.steps=2", "train.learning_rate=1e-2", *overrides)
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run/recipe.yaml").write_text(dump(config))
        Trainer(config, open_run(config, "test")).run()
        return tmp_path / "run", config

    return make


def asked(config: TrainConfig, **ood: dict[str, Any]) -> dict[str, Any]:
    evaluation = config.evaluation.model_copy(update={"questions": 6, "num_generations": 4})
    return {"evaluation": evaluation.model_dump(mode="json"), "ood": ood, "ood_questions": 3}


def test_a_trained_run(trained) -> None:  # type: ignore[no-untyped-def]
    folder, config = trained("algorithm=tba")
    result = measure(folder, asked(config, small={"numbers": 3}))
    assert result["checkpoint"] == "checkpoint-000002"
    test, small = result["sets"]["test"], result["sets"]["small"]
    assert (test["questions"], small["questions"]) == (6, 3)
    # The exact scores are those of `evenflow eval`, and follow from the masses.
    evaluation = config.evaluation.model_copy(update={"questions": 6})
    model = config.model.model_copy(update={"path": str(latest_whole(folder))})
    expected = evaluate(config.model_copy(update={"evaluation": evaluation, "model": model}))
    for key, value in expected.items():
        assert test["scores"][key] == pytest.approx(value, rel=1e-5)
    p = [sum(masses) for masses in test["masses"]]
    assert test["scores"]["pass@1"] == pytest.approx(sum(p) / 6)
    assert test["scores"]["pass@64"] == pytest.approx(sum(1 - (1 - x) ** 64 for x in p) / 6)
    assert [n for n, _ in test["counts"]] == [4] * 6
    assert test["scores"]["entropy"] > 1.0
    assert test["scores"]["kl_reference"] > 0.01  # it moved
    assert test["scores"]["residual"] > 0
    assert measure(folder, asked(config)) == measure(folder, asked(config))


def test_entropy_and_kl_of_the_very_answers(trained, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    folder, config = trained("algorithm=grpo", "evaluation.temperature=0.7")
    drawn: list[Group] = []
    from evenflow.evaluation import heldout

    def spy(*arguments: Any, **options: Any) -> Iterator[Group]:
        for group in sample(*arguments, **options):
            drawn.append(group)
            yield group

    monkeypatch.setattr(heldout, "sample", spy)
    scores = measure(folder, asked(config))["sets"]["test"]["scores"]
    policy, base = (
        Policy(load_model(str(path), torch.float32), temperature=0.7)
        for path in (latest_whole(folder), config.model.path)
    )
    texts = Texts.of(drawn)
    own, reference = policy.score(*texts).sum(1), base.score(*texts).sum(1)
    assert scores["entropy"] == pytest.approx(-own.mean().item(), rel=1e-5)
    assert scores["kl_reference"] == pytest.approx((own - reference).mean().item(), rel=1e-4)
    assert scores["residual"] is None  # a reward maximiser has no fixed point of this kind


def test_the_base_model(recipe: Make, tmp_path: Path) -> None:
    config = recipe("algorithm=flowrl", "head.pooling=separator")
    (tmp_path / "base").mkdir()
    (tmp_path / "base/recipe.yaml").write_text(dump(config))
    result = measure(tmp_path / "base", asked(config))
    scores = result["sets"]["test"]["scores"]
    assert result["checkpoint"] is None
    assert scores["kl_reference"] == pytest.approx(0, abs=1e-6)
    assert scores["residual"] is None


def test_a_reset_reference_is_not_what_is_compared_with(trained) -> None:  # type: ignore[no-untyped-def]
    """Reset after the last step, the run's own reference is the policy: its KL would be 0."""
    folder, config = trained("algorithm=grpo", "reset.every=2")
    assert (latest_whole(folder) / "parts/reference.safetensors").is_file()
    assert measure(folder, asked(config))["sets"]["test"]["scores"]["kl_reference"] > 0.01


Drawn = tuple[TrainConfig, Policy, list[Group]]


@pytest.fixture
def drawn(recipe: Make) -> Callable[..., Drawn]:
    """Answers of the base model, whose reference is itself."""

    def make(*overrides: str) -> Drawn:
        config = recipe("evaluation.questions=5", *overrides)
        tokenizer = load_tokenizer(config.model.path)
        policy = build_policy(
            config.model,
            config.head if config.build_objective().needs.head else None,
            reference=True,
            temperature=1.0,
            device=CPU,
            tokenizer=tokenizer,
        ).eval()
        questions = load_questions(config, tokenizer, training=False)
        sampling = build_sampling(config, tokenizer, policy.model, questions)
        engine = engine_for(config, questions, tokenizer, policy)
        groups = sample(engine, questions.test, 4, sampling, seed=0)
        return config, policy, sorted(groups, key=lambda group: group.place)

    return make


def residual(
    config: TrainConfig, policy: Policy, groups: list[Group], rewards: Tensor, **choices: object
) -> float | None:
    changed = config.model_copy(update={"objective": config.objective | choices})
    logprobs = score_twice(policy, Texts.of(groups), budget=200)
    judged = [
        dataclasses.replace(group, rewards=RewardResult(total, {}, [True] * 4))
        for group, total in zip(groups, rewards.view(5, 4).tolist(), strict=True)
    ]
    return module.residual(changed, policy, judged, logprobs)


REWARDS = torch.tensor([0.0, 1.0, 1.0, 0.0] * 4 + [1.0] * 4)


def test_residual_where_the_policy_is_the_reference(drawn) -> None:  # type: ignore[no-untyped-def]
    """δ = log Z − βr with log Z = β·mean r: ±β/2 in four groups, 0 in the last."""
    config, policy, groups = drawn("algorithm=tba", "objective.inverse_temperature=6")
    expected = math.sqrt(4 / 5 * 9)
    assert residual(config, policy, groups, REWARDS) == pytest.approx(expected, rel=1e-5)
    # Leave-one-out and running values are of training; here too it is the group's log Z.
    for log_z in ("leave-one-out", "running"):
        found = residual(config, policy, groups, REWARDS, log_z=log_z)
        assert found == pytest.approx(expected, rel=1e-5)
    # Without log Z δ = −βr, and 12 of 20 answers are right.
    found = residual(config, policy, groups, REWARDS, log_z="none")
    assert found == pytest.approx(math.sqrt(12 / 20 * 36), rel=1e-5)


def test_residual_at_the_fixed_point_is_zero(drawn) -> None:  # type: ignore[no-untyped-def]
    """Rewards that are (log π − log π_ref + c)/β by construction, with another reference."""
    config, policy, groups = drawn("algorithm=tba", "objective.inverse_temperature=2")
    assert policy.reference is not None
    with torch.no_grad():
        for weight in policy.reference.parameters():
            weight.mul_(0.5)
    ids = Texts.of(groups)
    gap = (policy.score(*ids) - policy.score(*ids, reference=True)).sum(1)
    assert gap.abs().max() > 0.1
    assert residual(config, policy, groups, (gap + 3) / 2) == pytest.approx(0, abs=1e-4)


def test_residual_with_the_head_s_log_z(drawn) -> None:  # type: ignore[no-untyped-def]
    """A head that says 1 everywhere: δ = 1 − βr̃, r̃ = ±0.866 in four groups, 0 in the last."""
    config, policy, groups = drawn("algorithm=flowrl", "objective.inverse_temperature=2")
    assert policy.head is not None
    torch.nn.init.ones_(policy.head.mlp[-1].bias)
    tilt = 2 * 0.5 / math.sqrt(1 / 3)
    expected = math.sqrt((8 * (1 - tilt) ** 2 + 8 * (1 + tilt) ** 2 + 4) / 20)
    assert residual(config, policy, groups, REWARDS) == pytest.approx(expected, rel=1e-4)


def test_the_head_s_log_z_of_each_question(drawn) -> None:  # type: ignore[no-untyped-def]
    """As in training, whatever the answer and the batch."""
    _, policy, groups = drawn("algorithm=flowrl")
    torch.nn.init.normal_(policy.head.mlp[-1].weight)
    found = head_log_z(policy, groups, budget=40)
    with torch.no_grad():
        direct = policy(collate(*Texts.of(groups))).log_z
    assert len(found) == 5
    keys = [group.prompt.key for group in groups for _ in group.answers]
    for key, value in zip(keys, direct.tolist(), strict=True):
        assert found[key] == pytest.approx(value, abs=1e-5)


def test_the_residual_is_of_the_policy_that_samples_in_training(  # type: ignore[no-untyped-def]
    trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained at a temperature of 2 and evaluated at 1: δ is of the distribution at 2."""
    folder, config = trained("algorithm=tba", "rollout.temperature=2.0")
    scored: list[tuple[float, float]] = []
    given: list[float] = []

    def spy(policy: Policy, *arguments: Any) -> tuple[Tensor, Tensor]:
        result = score_twice(policy, *arguments)
        scored.append((policy.temperature, result[0].sum().item()))
        return result

    def spy_on_residual(*arguments: Any) -> float:
        given.append(arguments[3][0].sum().item())
        return 0.0

    monkeypatch.setattr(module, "score_twice", spy)
    monkeypatch.setattr(module, "residual", spy_on_residual)
    scores = measure(folder, asked(config))["sets"]["test"]["scores"]
    (cold, at_cold), (hot, at_hot) = scored
    assert (cold, hot) == (1.0, 2.0)
    assert given == [at_hot]
    assert scores["entropy"] == pytest.approx(-at_cold / 24)  # 6 questions × 4 answers


def test_a_penalty_for_length_is_part_of_the_reward(drawn) -> None:  # type: ignore[no-untyped-def]
    """All answers are right, and only how long they are tells them apart."""
    config, policy, groups = drawn(
        "algorithm=tba", "objective.inverse_temperature=6", "reward.overlong_share=0.99"
    )
    lengths = torch.tensor([len(a) for group in groups for a in group.answers]).double()
    penalty = ((lengths - 0.1) / 9.9).clamp(0, 1).view(5, 4)  # limit 10, buffer 9.9
    expected = 6 * (penalty - penalty.mean(1, keepdim=True)).square().mean().sqrt().item()
    found = residual(config, policy, groups, torch.ones(20))
    assert expected > 0.1
    assert found == pytest.approx(expected, rel=1e-5)


def test_unknown_rewards_are_left_out(drawn) -> None:  # type: ignore[no-untyped-def]
    config, policy, groups = drawn("algorithm=tba", "objective.inverse_temperature=6")
    some = REWARDS.clone()
    some[16:] = math.nan
    found = residual(config, policy, groups, some)
    assert found == pytest.approx(3.0, rel=1e-5)
    assert residual(config, policy, groups, torch.full((20,), math.nan)) is None


def test_sampled_scores() -> None:
    """4 answers with 1 right, 4 with 3: pass@2 = (1 − 3/6 + 1)/2."""
    scores = sampled_scores([(4, 1), (4, 3)], exact=False)
    assert scores["accuracy_sampled"] == 0.5
    assert scores["pass@2"] == pytest.approx(0.75)
    assert scores["pass@8"] is None
    assert sampled_scores([(4, 1), (4, 3), (3, 0)], exact=False)["pass@4"] == 1.0  # of those with 4
    assert "pass@2" not in sampled_scores([(4, 1)], exact=True)
    assert sampled_scores([(0, 0)], exact=True)["accuracy_sampled"] is None
