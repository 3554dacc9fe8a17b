"""Every number of a step, on inputs small enough to do by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from evenflow.objectives import Balance, Surrogate
from evenflow.objectives.summary import weight_histogram
from evenflow.rewards import RewardResult
from evenflow.rollout.metrics import nan_mean, rollout_metrics
from evenflow.training.learning import Learned
from evenflow.training.metrics import learning_metrics, shown
from tests.groups import make_group

NAN = math.nan


def rollout(rewards: list[float], groups: list[int], lengths: list[int]) -> dict[str, float]:
    """Metrics of answers whose tokens all have log-prob −0.5; every third one is cut off."""
    short = [1.0, NAN, *[0.0] * (len(rewards) - 2)]
    judged = []
    for number in dict.fromkeys(groups):
        rows = [i for i, group in enumerate(groups) if group == number]
        total = [rewards[i] for i in rows]
        judged.append(
            make_group(
                str(number),
                [[3] * lengths[i] for i in rows],
                finished=[i % 3 != 2 for i in rows],
            )
        )
        parts = {"right": total, "short": [short[i] for i in rows]}
        result = RewardResult(total=total, parts=parts, applied=[True] * len(rows))
        judged[-1] = dataclasses.replace(judged[-1], rewards=result)
    return rollout_metrics(judged, right=1.0)


def test_nothing_known_is_nothing_said_of_rewards() -> None:
    metrics = rollout([NAN, NAN], [0, 1], [1, 3])
    assert metrics["reward/unknown"] == 1
    assert metrics["answer/length"] == 2
    nothing = ("reward/mean", "reward/std", "reward/equal_groups", "accuracy")
    assert all(math.isnan(metrics[name]) for name in nothing)


def test_an_unknown_reward_counts_nowhere_else() -> None:
    metrics = rollout([1.0, NAN, 0.0, 0.0], [0, 0, 1, 1], [1, 1, 1, 1])
    assert metrics["reward/unknown"] == 1 / 4
    assert metrics["reward/mean"] == metrics["accuracy"] == pytest.approx(1 / 3)
    assert metrics["reward/equal_groups"] == 1.0


def test_rollout_metrics() -> None:
    metrics = rollout([1.0, 0.0, 1.0, 1.0, 0.5, 0.5], [0, 0, 1, 1, 2, 2], [1, 2, 3, 4, 5, 3])
    assert metrics == pytest.approx(
        {
            "reward/mean": 4 / 6,
            "reward/std": math.sqrt((3 + 0.5) / 6 - (4 / 6) ** 2),
            "reward/right": 4 / 6,
            "reward/short": 1 / 5,
            "reward/unknown": 0.0,
            "reward/equal_groups": 2 / 3,
            "accuracy": 3 / 6,
            "answer/length": 3.0,
            "answer/cut_off": 2 / 6,
            "policy/entropy": 0.5,
        }
    )


def test_a_single_answer_gives_no_nan() -> None:
    metrics = rollout([0.25], [0], [2])
    assert metrics["reward/std"] == 0.0
    assert metrics["reward/equal_groups"] == 1.0
    assert not any(math.isnan(value) for value in metrics.values())


def learned(**answers: list[list[float]]) -> Learned:
    """What two mini-batches taught."""
    return Learned(
        answers={name: [torch.tensor(v) for v in values] for name, values in answers.items()},
        losses=[2.0, 4.0],
        grad_norms={"policy": [1.0, 2.0], "head": [0.0, 3.0]},
        skipped=1,
    )


def test_learning_metrics_of_the_balance_family() -> None:
    metrics = learning_metrics(
        learned(
            tokens=[[1.0], [1.0, 1.0]],
            log_omega=[[0.0], [0.0, 0.0]],
            kl_old=[[0.0], [0.2, 0.4]],
            kl_ref=[[3.0], [-1.0, 1.0]],
            log_weight=[[math.log(0.5)], [0.0, math.log(84.0)]],
            weight=[[0.8], [1.0, 1.2]],
            truncated=[[1.0], [0.0, 1.0]],
            residual=[[-3.0], [1.0, 5.0]],
            log_z=[[1.0], [2.0, 3.0]],
            log_z_group=[[4.0], [1.0, -2.0]],
            group=[[0], [7, 7]],
            sampler_gap=[[1e-6, 3e-5]],
            sampler_gap_sum=[[2e-6, 4e-5]],
            sampler_gap_tokens=[[2.0, 4.0]],
            correction=[[2.0], [0.0, 1.0]],
            correction_limited=[[0.5], [1.0, 0.0]],
            correction_log_ratio=[[math.log(2.5)], [math.log(4.0), 0.0]],
            correction_count=[[2.0], [1.0, 1.0]],
        ),
        Balance(),
    )
    counts = metrics.pop("weight/histogram")
    assert (counts[64 - 16], counts[64], counts[128], sum(counts)) == (1, 1, 1, 3)
    assert metrics == pytest.approx(
        {
            "loss": 3.0,
            "grad_norm/policy": 1.5,
            "grad_norm/head": 1.5,
            "optimizer/skipped": 1.0,
            "kl/old": 0.2,
            "kl/reference": 1.0,
            "sampler/gap": 3e-5,
            "sampler/gap_mean": 7e-6,
            "correction/mean": 1.25,
            "correction/limited": 0.5,
            "correction/largest": 4.0,
            # Before truncation: 0.5, 1, 84. Quantiles by linear interpolation.
            "weight/mean": 28.5,
            "weight/p01": 0.5 + 0.02 * 0.5,
            "weight/p99": 84 - 0.02 * 83,
            "weight/truncated": 2 / 3,
            "residual/mean": 1.0,
            "residual/abs": 3.0,
            "log_z/used": 2.0,
            "log_z/group": 1.0,
            # Groups {4} and {1, −2}: used 1 and 2.5, estimated 4 and −0.5, so −3 and 3.
            "log_z/error": 3.0,
        },
        rel=1e-5,
    )


def test_learning_metrics_of_the_surrogate() -> None:
    metrics = learning_metrics(
        learned(tokens=[[1.0]], kl_old=[[0.0]], ratio=[[1.5]], clipped=[[0.25]]), Surrogate()
    )
    assert metrics["weight/mean"] == metrics["weight/p01"] == metrics["weight/p99"] == 1.5
    assert metrics["weight/truncated"] == 0.25
    assert "residual/mean" not in metrics
    assert "kl/reference" not in metrics


def test_quantiles_have_no_limit_of_size() -> None:
    """torch.quantile raises from 2^24 values on."""
    metrics = learning_metrics(of_surrogate(torch.ones(2**24 + 1)), Surrogate())
    assert metrics["weight/p99"] == 1.0


def of_surrogate(ratio: torch.Tensor) -> Learned:
    """Answers of one token each."""
    none, one = torch.zeros_like(ratio), torch.ones_like(ratio)
    answers = {"tokens": one, "kl_old": none, "ratio": ratio, "clipped": none}
    return Learned({name: [values] for name, values in answers.items()}, losses=[0.0])


def test_nan_mean() -> None:
    assert nan_mean(torch.tensor([1.0, NAN, 3.0])) == 2.0
    assert math.isnan(nan_mean(torch.tensor([NAN])))


def test_the_progress_line_shows_what_is_there() -> None:
    assert shown({"reward/mean": 0.12345, "accuracy": 0.5, "loss": 1.0}) == {
        "reward": "0.123",
        "pass": "50.0%",
    }


def test_the_histogram_of_weights() -> None:
    weights = torch.tensor([1.0, 1.0, 2.0, 0.5, 2 ** (1 / 32 + 1e-3), 1e9, 0.0, NAN])
    counts = weight_histogram(weights)
    assert len(counts) == 129
    found = {place - 64: count for place, count in enumerate(counts) if count}
    # In sixteenths of a factor of two; beyond 16 and below 1/16 in the outer bins, NaN nowhere.
    assert found == {0: 2, 16: 1, -16: 1, 1: 1, 64: 1, -64: 1}


def test_weights_of_one_have_no_histogram() -> None:
    def metrics(ratio: float) -> dict[str, Any]:
        return learning_metrics(of_surrogate(torch.tensor([1.0, ratio])), Surrogate())

    assert "weight/histogram" not in metrics(1.0)
    assert sum(metrics(1.25)["weight/histogram"]) == 2


def test_the_speeds_say_what_they_are_of() -> None:
    values = shown({"tokens_per_second/sampling": 600.0, "tokens_per_second": 300.0})
    assert values == {"tok/s sampling": "600", "whole step": "300"}


def test_a_negative_kl_is_not_shown_without_a_word() -> None:
    assert shown({"kl/reference": 0.25})["KL ref"] == "0.250"
    assert shown({"kl/reference": -0.25})["KL ref"].startswith("-0.250 (a mean over samples")


def test_numbers_of_an_objective_are_python_s_own() -> None:
    """A checkpoint, which keeps the latest row, loads nothing else."""

    class Own(Surrogate):
        def summarise(self, metrics):
            return {"own/share": np.float64(0.5), "own/each": [np.float64(1.0)], "own/count": True}

    found = learning_metrics(
        learned(tokens=[[1.0]], kl_old=[[0.0]], ratio=[[1.5]], clipped=[[0.25]]), Own()
    )
    assert type(found["own/share"]) is float
    assert [type(each) for each in found["own/each"]] == [float]
    assert type(found["own/count"]) is int
