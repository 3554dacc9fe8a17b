"""Presets, refusals and what an objective asks of its trainer."""

import math
import re
from functools import partial
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from surrogate_rows import SURROGATES, complete

from evenflow.objectives import (
    PRESETS,
    Answers,
    Balance,
    Needs,
    Surrogate,
    balance_loss,
    effective_inverse_temperature,
    surrogate_loss,
)
from evenflow.objectives.objective import Scores


def tensors(n: int = 4, t: int = 3) -> dict[str, torch.Tensor]:
    return {
        "logprobs": -torch.rand(n, t),
        "mask": torch.ones(n, t),
        "rewards": torch.arange(n).float(),
        "groups": torch.zeros(n).long(),
    }


@pytest.mark.parametrize("name", PRESETS)
def test_presets_train(name: str) -> None:
    """Each row survives its own validation and gives a finite loss with a gradient."""
    objective = PRESETS[name].objective
    assert type(objective).model_validate(objective.model_dump()) == objective
    objective = complete(objective) if isinstance(objective, Surrogate) else objective
    batch = tensors()
    leaf = batch["logprobs"].requires_grad_()
    ref = leaf.detach() - 0.1
    critic = torch.zeros(4, 3)
    answers = Answers(batch["mask"], batch["rewards"], batch["groups"], leaf.detach(), ref)
    answers = answers.replace(values=critic, share=torch.ones(4), guide_logprobs=0.9 * ref)
    answers = objective.estimate(leaf.detach(), objective.prepare(answers))
    log_z = torch.zeros(4) if objective.needs.head else None
    total = objective.total(answers)
    loss, metrics = objective.loss(Scores(leaf, log_z, critic, -leaf), answers, total)
    assert loss.isfinite()
    assert torch.autograd.grad(loss, leaf)[0].abs().sum() > 0
    assert all(values.shape == (4,) and not values.requires_grad for values in metrics.values())


def test_needs() -> None:
    of_answers = Needs(reference=True, head=True, groups_of_two=True, correction="answers")
    assert Balance().needs == of_answers
    assert Balance(log_z="leave-one-out").needs.whole_groups
    assert not Balance(log_z="none", scale="sum").needs.whole_groups
    assert Balance(log_z="running").needs.old_logprobs
    offline = Balance(log_z="offline", scale="sum", reward="raw")
    assert offline.needs.reference_samples
    assert not Balance(reference_weight=0).needs.reference
    assert Balance(duplicates="once").needs.shares
    wanted = partial(Needs, correction="wanted")
    assert Surrogate().needs == wanted(groups_of_two=True)
    assert PRESETS["grpo"].objective.needs == wanted(reference=True, groups_of_two=True)
    assert PRESETS["dapo"].objective.needs == wanted(groups_of_two=True)
    rloo = wanted(reference=True, old_logprobs=True, groups_of_two=True)
    assert PRESETS["rloo"].objective.needs == rloo
    assert PRESETS["ppo"].objective.needs == wanted(reference=True, old_logprobs=True, values=True)
    assert Surrogate(entropy_bonus=0.01).needs == wanted(entropy=True, groups_of_two=True)
    assert Balance(log_z="leave-one-out").needs.old_logprobs


def test_without_reference_weight_no_reference_is_read() -> None:
    choices = Balance(log_z="group", reference_weight=0)
    loss, metrics = balance_loss(**tensors(), choices=choices)
    assert loss.isfinite()
    assert "kl_ref" not in metrics


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"log_z": "offline", "reward": "raw"}, "needs scale: sum or constant"),
        ({"log_z": "offline", "scale": "sum"}, "needs reward: raw, not group"),
        (
            {"log_z": "offline", "scale": "sum", "reward": "raw", "prior_lift": 0.5},
            "needs prior_lift: 0",
        ),
        ({"scale": "constant"}, "scale: constant needs scale_length"),
        ({"scale_length": 5}, "scale_length is only for scale: constant, not mean"),
        ({"log_z": "leave-one-out", "regression": "cosh"}, "needs regression: square"),
        ({"prior_lift": 0.5, "reference_weight": 0}, "needs reference_weight above 0"),
        ({"linex_alpha": 0}, "linex_alpha must not be 0"),
        ({"inverse_temperature": 0}, "inverse_temperature"),
        ({"epsilon": 1.5}, "epsilon"),
        ({"beta": 3}, "beta"),
        ({"log_z": "heads"}, "'leave-one-out'"),
    ],
)
def test_balance_refuses(settings: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Balance(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"aggregation_length": 5}, "only for aggregation: constant"),
        (
            {"kl_coefficient": 0.1, "kl_estimator": "k1"},
            "k1 in the loss has a mean gradient of zero",
        ),
        ({"kl_coefficient": 0.1, "kl_in": "reward"}, "use k1 with kl_in: reward"),
        ({"kl_estimator": "k4"}, "'k3'"),
        ({"kl_coefficient": -1}, "kl_coefficient"),
        ({"clip": "log-token"}, "limits the tokens of ratio: geometric, not token"),
        ({"ratio": "none"}, "ratio: none leaves nothing to clip; use clip: none"),
        ({"ratio": "none", "clip": "weight"}, "use clip: none"),
        ({"discount": 0}, "discount"),
        ({"gae_lambda": 1.1}, "gae_lambda"),
        ({"value_epsilon": 0}, "value_epsilon"),
        ({"epsilon_high": 0}, "epsilon_high"),
        ({"entropy_bonus": -0.1}, "entropy_bonus"),
    ],
)
def test_surrogate_refuses(settings: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Surrogate(**settings)


def test_no_log_z_with_mean_scale_warns() -> None:
    with pytest.warns(UserWarning, match="moves the fixed point"):
        Balance(log_z="none")


def test_every_field_is_documented() -> None:
    for model in (Balance, Surrogate):
        for name, field in model.model_fields.items():
            assert field.description, name


@pytest.mark.parametrize("loss", [balance_loss, surrogate_loss])
def test_hostile_tensors(loss) -> None:
    batch = tensors()
    extra = {"log_z": torch.zeros(4), "ref_logprobs": batch["logprobs"]}
    extra = extra if loss is balance_loss else {}
    rewards = batch["rewards"].clone()
    rewards[2] = float("nan")
    for changes, message in (
        ({"rewards": rewards}, r"rows \[2\] are NaN"),
        ({"rewards": torch.zeros(3)}, r"rewards must be \(4,\) to match mask, not \(3,\)"),
        ({"groups": torch.zeros(4, 1).long()}, r"groups must be \(4,\)"),
        ({"mask": torch.ones(4)}, r"mask must be \(N, T\)"),
        ({"logprobs": torch.zeros(4, 2)}, r"logprobs must be \(4, 3\)|old_logprobs must be"),
        ({"ref_logprobs": torch.zeros(4, 2)}, r"ref_logprobs must be \(4, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            loss(**batch | extra | changes)


def test_missing_tensors_are_named() -> None:
    batch = tensors()
    ref = batch["logprobs"]
    for kwargs, message in (
        ({"log_z": torch.zeros(4)}, "needs `ref_logprobs`"),
        ({"ref_logprobs": ref}, "log_z: head needs `log_z`"),
        ({"ref_logprobs": ref, "log_z": torch.zeros(1)}, r"log_z must be \(4,\)"),
        ({"ref_logprobs": ref, "choices": Balance(duplicates="once")}, "needs `share`"),
        ({"ref_logprobs": ref, "choices": Balance(log_z="running")}, "RunningLogZ.lookup"),
    ):
        with pytest.raises(ValueError, match=message):
            balance_loss(**batch, **kwargs)
    with pytest.raises(ValueError, match="kl_coefficient above 0 needs `ref_logprobs`"):
        surrogate_loss(**batch, choices=Surrogate(kl_coefficient=0.1))
    with pytest.raises(ValueError, match="gae needs `values`"):
        surrogate_loss(**batch, choices=Surrogate(advantage="gae"))
    answers = Answers(batch["mask"], batch["rewards"], batch["groups"], ref, ref)
    with pytest.raises(ValueError, match="call prepare"):
        Balance().loss(Scores(ref, torch.zeros(4)), answers, 4)


def test_effective_inverse_temperature() -> None:
    plain = Balance(scale="sum", reward="raw", inverse_temperature=2.0)
    assert effective_inverse_temperature(plain) == (2.0, math.exp(2.0))
    long = Balance(scale="constant", scale_length=50, reward="raw", inverse_temperature=0.1)
    assert effective_inverse_temperature(long)[0] == pytest.approx(5.0)
    assert effective_inverse_temperature(plain, right=0.5) == (1.0, math.exp(1.0))
    assert effective_inverse_temperature(Balance(), right=0.5)[0] == 30.0  # normalised: no matter
    paper = Balance()  # 15 · 200 tokens · 1/√(¼·¾)
    nats, odds = effective_inverse_temperature(paper, length=200, accuracy=0.25)
    assert nats == pytest.approx(15 * 200 / math.sqrt(3 / 16))
    assert odds == math.inf
    relative = Balance(scale="sum", reward="relative", inverse_temperature=2.0)  # 2·1/p
    assert effective_inverse_temperature(relative, accuracy=0.25, right=3.0) == (8.0, math.exp(8.0))


def test_a_gradient_left_on_the_reference_is_cut() -> None:
    """log π − log π_ref of one tensor would otherwise have no gradient at all."""
    batch = tensors()
    leaf = batch["logprobs"].requires_grad_()
    loss, _ = balance_loss(**batch, ref_logprobs=leaf - 0.1, choices=Balance(log_z="group"))
    assert torch.autograd.grad(loss, leaf)[0].abs().sum() > 0


@pytest.mark.parametrize(
    "name", ["old_logprobs", "ref_logprobs", "guide_logprobs", "values", "advantages", "returns"]
)
def test_answers_refuse_what_is_not_one_number_a_token(name: str) -> None:
    given = {"mask": torch.ones(2, 3), "rewards": torch.zeros(2), "groups": torch.zeros(2).long()}
    given |= {"old_logprobs": torch.zeros(2, 3)}
    for shape in ((2,), (2, 1), (3, 2)):
        message = re.escape(f"{name} must be (2, 3) to match mask, not {shape}")
        with pytest.raises(ValueError, match=message):
            Answers(**given | {name: torch.zeros(shape)})
    assert len(Answers(**given | {name: torch.zeros(2, 3)})) == 2


def test_upper_limit_is_the_lower_one_unless_given() -> None:
    assert Surrogate(epsilon=0.3).upper == 0.3
    assert Surrogate(epsilon=0.3, epsilon_high=0.4).upper == 0.4


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["objective", "baselines"])
def test_the_derivations_name_tests_that_exist(page: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / f"docs/{page}.md").read_text()))
    files = [
        path
        for tests in ("tests", "tests_trl", "tests_verl")
        for path in ROOT.glob(f"{tests}/**/*.py")
    ]
    defined = set(re.findall(r"def (test_\w+)", "".join(p.read_text() for p in files)))
    assert len(named) > 20
    assert named <= defined


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_says_where_it_is_from(name: str) -> None:
    assert re.search(r"arXiv \d{4}\.\d{5}|github\.com/\w+", PRESETS[name].source)


@pytest.mark.parametrize("name", SURROGATES)
def test_each_baseline_has_its_section(name: str) -> None:
    """With the paper that its row names."""
    page = (ROOT / "docs/baselines.md").read_text()
    section = page.split(f"\n### `{name}`", 1)[1].split("\n### ")[0]
    papers = re.findall(r"arXiv (\d{4}\.\d{5})", PRESETS[name].source)
    assert all(f"https://arxiv.org/abs/{paper}" in section for paper in papers)
    assert re.search(r"`test_\w+_by_hand`", section)
