"""Short runs on problems of 15 and 27 answers, for every preset."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evenflow.objectives import PRESETS, Balance, Choices, Surrogate
from evenflow.studies.exact.experiments import (
    ALGORITHMS,
    CHOICES,
    algorithm_runs,
    all_runs,
    fixed_point_runs,
)
from evenflow.studies.exact.problems import Problem
from evenflow.studies.exact.runner import path_of
from evenflow.studies.exact.training import (
    Listed,
    Run,
    Settings,
    build_learner,
    build_policy,
    train,
)

SINGLE = Problem("single", 3, 3, False, "unimodal", True, 3.0, hidden_size=16, layers=1)
MIXED = replace(SINGLE, name="mixed", letters=2, mixed=True, shape="plateau", prior=False)
QUICK = Settings(rollouts=2, groups=2, group_size=4, mini_batches=2, measurements=1)
RUNS = [run for problem in (SINGLE, MIXED) for run in algorithm_runs(problem, 0, QUICK)]


def aimed(name: str, problem: Problem) -> Choices:
    return PRESETS[name].objective.aim(
        problem.inverse_temperature, problem.reference_weight, problem.limit
    )


def test_every_preset_is_among_the_runs() -> None:
    """But the one that reads the gold answer's text."""
    expected = {*PRESETS, "flowrl, β 15"} - {"flowbalance"}
    for problem in (SINGLE, MIXED):
        labels = [run.label for run in RUNS if run.problem == problem]
        assert set(labels) == expected
        assert len(labels) == len(expected)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.problem.name}-{run.label}")
def test_every_preset_takes_steps(run: Run) -> None:
    first, last = (train(run)["history"][i] for i in (0, -1))
    assert (first["step"], last["step"]) == (0, 4)
    assert first["kl"] != last["kl"]


def test_presets_get_the_problems_target() -> None:
    for run in RUNS:
        objective, problem = run.objective, run.problem
        if isinstance(objective, Balance):
            assert objective.reference_weight == float(problem.prior)
            if run.label != "flowrl, β 15":
                scale = 1 / problem.limit if objective.scale == "mean" else 1.0
                assert objective.inverse_temperature / scale == pytest.approx(3.0)
        else:
            assert problem.prior or not objective.needs.reference
    unchanged = PRESETS["grpo"].objective
    assert aimed("grpo", SINGLE) == unchanged


def test_only_raw_balance_rewards_learn_at_the_full_rate() -> None:
    rates = {run.label: run.settings.learning_rate for run in RUNS}
    full = QUICK.learning_rate
    assert {name for name, rate in rates.items() if rate == full} == {
        "tba",
        "rtb",
        "gflowrl",
        "subtb",
        "best",
    }
    assert set(rates.values()) == {full, full / 3}


def test_the_official_head_comes_with_its_preset() -> None:
    run = next(run for run in RUNS if run.label == "flowrl-official")
    assert (run.head.dropout, run.head.learning_rate) == (0.1, None)
    policy = build_policy(run)
    rates = [group["lr"] for group in build_learner(run, policy).optimizer.param_groups]
    assert set(rates) == {run.settings.learning_rate}


def test_a_batch_is_what_the_policy_sampled() -> None:
    """Old and reference log-probs of sampled answers, and rewards, against scoring them anew."""
    run = Run(ALGORITHMS, MIXED, "tba", PRESETS["tba"].objective, 0, settings=QUICK)
    policy = build_policy(run)
    listed = Listed(run, policy)
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.mul_(1.3)  # so that policy and reference differ
    rows = listed.sample(seed=5, version=0)
    batch, ids, answers = rows.answers, rows.prompt_ids, rows.answer_ids
    assert batch.groups.tolist() == [i // 4 for i in range(3 * 2 * 4)]
    width = batch.mask.shape[1]
    for scored, kept in (
        (policy.score(ids, answers), batch.old_logprobs),
        (policy.score(ids, answers, reference=True), batch.ref_logprobs),
    ):
        assert kept is not None
        torch.testing.assert_close(kept[:, :width], scored, rtol=0, atol=1e-5)
    expected = [
        MIXED.rewards[int(key), MIXED.index[tuple(answer)]].item()
        for key, answer in zip(rows.keys, answers, strict=True)
    ]
    assert batch.rewards.tolist() == expected
    shares = [
        1 / sum(a == answer and g == group for a, g in zip(answers, batch.groups, strict=True))
        for answer, group in zip(answers, batch.groups, strict=True)
    ]
    assert batch.share is not None
    torch.testing.assert_close(batch.share, torch.tensor(shares))


@pytest.mark.parametrize("name", ["tba", "rtb"])
def test_the_balance_family_reaches_its_target(name: str) -> None:
    objective = aimed(name, SINGLE)
    settings = Settings(rollouts=120, measurements=2)
    result = train(Run(ALGORITHMS, SINGLE, name, objective, 0, settings=settings))
    final = result["final"]
    assert result["history"][0]["kl"] > 0.3
    assert final["kl"] < 2e-3
    assert final["forward_kl"] < 2e-3
    assert final["modes_covered"] == 1
    assert final["log_z_own"] == pytest.approx(result["log_z_true"] - final["kl"])
    if name == "rtb":
        assert final["log_z_error"] < 0.05


def test_group_normalised_rewards_rest_where_the_formula_says() -> None:
    """Far from π*, near the prediction."""
    problem = replace(SINGLE, inverse_temperature=1.0)
    objective = aimed("flowrl", problem).model_copy(
        update={"scale": "sum", "inverse_temperature": 1.0}
    )
    settings = Settings(rollouts=100, measurements=1)
    final = train(Run(ALGORITHMS, problem, "flowrl", objective, 0, settings=settings))["final"]
    assert final["kl"] > 0.2
    assert final["kl_to_predicted"] < 0.01
    assert final["predicted_kl"] == pytest.approx(final["kl"], rel=0.2)


def test_a_run_repeats_itself() -> None:
    run = RUNS[0]
    one, two = (train(run) for _ in range(2))
    assert one["history"] == two["history"]


def test_the_study_has_a_formula_for_each_of_its_runs() -> None:
    runs = list(fixed_point_runs(0, QUICK))
    assert len(runs) == len(CHOICES) + 3
    assert len({run.label for run in runs}) == len(runs)
    log_ref = torch.randn(27, dtype=torch.float64).log_softmax(-1)
    for run in runs:
        choices, size = run.prediction or run.objective, run.settings.group_size
        point = choices.fixed_point(log_ref, SINGLE.rewards[0], SINGLE.lengths, size)
        assert point is not None
        assert point.log_pi.exp().sum().item() == pytest.approx(1)


def test_every_run_has_a_file_of_its_own() -> None:
    runs = all_runs([0, 1], full=True)
    assert len({path_of(run, Path()) for run in runs}) == len(runs)


def test_rloo_of_the_study_is_the_bridge() -> None:
    run = list(fixed_point_runs(0, QUICK))[-1]
    assert isinstance(run.objective, Surrogate)
    assert isinstance(run.prediction, Balance)
    assert run.objective.kl_coefficient * run.prediction.inverse_temperature == pytest.approx(1)


@pytest.mark.parametrize("run", list(fixed_point_runs(0, QUICK)), ids=lambda run: run.label)
def test_every_choice_runs(run: Run) -> None:
    assert math.isfinite(train(run)["final"]["kl"])
