"""At the edges of numbers and shapes: finite, with a gradient where there is one, or a sentence."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from surrogate_rows import SURROGATES
from torch import Tensor

from evenflow.objectives import (
    PRESETS,
    Answers,
    Balance,
    RunningLogZ,
    Surrogate,
    balance_loss,
    surrogate_loss,
)
from evenflow.objectives.clipping import reference_kl
from evenflow.objectives.log_z import group_log_z, leave_one_out_log_z
from evenflow.objectives.objective import Scores

Log = list[float]
REFERENCE = {"log_z": "group", "scale": "sum", "reward": "raw", "inverse_temperature": 1.0}


def batch(n: int = 4, t: int = 3, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logprobs = -torch.rand(n, t, generator=generator).to(dtype)
    return {
        "logprobs": logprobs,
        "mask": torch.ones(n, t),
        "rewards": torch.arange(n).float() % 2,
        "groups": torch.arange(n) // 2,
    }


# --- importance weights that underflow or overflow -----------------------------------------------


FAR = ([-1e4] * 4, [1e4] * 4, [-1e4, -1e4, 0, 0], [1e4, -1e4, -200, 0])


@pytest.mark.parametrize("log_z", ["group", "leave-one-out", "running", "head", "none"])
@pytest.mark.parametrize("importance", ["sequence", "geometric", "token"])
def test_log_ratios_of_any_size(log_z: Any, importance: Any) -> None:
    known = torch.zeros(4) if log_z in ("running", "head") else None
    for truncation, far, dtype in product(
        ("none", "upper", "symmetric"), FAR, (torch.float32, torch.bfloat16)
    ):
        given = batch(dtype=dtype)
        leaf = given["logprobs"].requires_grad_()
        old = leaf.detach() - torch.tensor(far).to(dtype)[:, None]
        choices = Balance(
            **REFERENCE | {"log_z": log_z}, importance=importance, truncation=truncation
        )
        loss, metrics = balance_loss(
            **given, old_logprobs=old, ref_logprobs=leaf - 1, log_z=known, choices=choices
        )
        assert loss.isfinite()
        assert torch.autograd.grad(loss, leaf)[0].isfinite().all()
        assert all(values.isfinite().all() for values in metrics.values())


@pytest.mark.parametrize("shift", [0.0, -300.0, -1e4])
@pytest.mark.parametrize("regression", ["square", "linex", "cosh"])
def test_a_groups_log_z_does_not_know_a_common_factor(shift: float, regression: str) -> None:
    """The limit of weights that vanish together is the minimiser under their ratios."""
    rest = torch.tensor([0.3, -1.2, 2.0, 0.5])
    log_weight = torch.tensor([0.0, -0.5, 0.25, -2.0])
    groups, share = torch.tensor([3, 3, 3, -1]), torch.tensor([0.5, 0.5, 1.0, 1.0])
    plain = group_log_z(rest, groups, log_weight, regression, 1.0, share)
    moved = group_log_z(rest, groups, log_weight + shift, regression, 1.0, share)
    torch.testing.assert_close(moved, plain, rtol=1e-3, atol=1e-3)
    others = leave_one_out_log_z(rest, groups, log_weight + shift)
    torch.testing.assert_close(
        others, leave_one_out_log_z(rest, groups, log_weight), rtol=1e-3, atol=1e-3
    )


def test_leaving_out_an_answer_that_outweighs_all_others() -> None:
    """The others by their own ratios, e^0 : e^−1, though beside the first both are 0 in float32."""
    rest = torch.tensor([5.0, 1.0, 2.0])
    log_weight = torch.tensor([0.0, -1000.0, -1001.0])
    z = leave_one_out_log_z(rest, torch.zeros(3).long(), log_weight)
    assert z[0].item() == pytest.approx(-(1 + 2 * math.exp(-1)) / (1 + math.exp(-1)))
    assert z[1:].tolist() == pytest.approx([-5, -5])
    # Its copies leave with it.
    copies = torch.tensor([0, 0, 1, 2])
    share = torch.tensor([0.5, 0.5, 1.0, 1.0])
    z = leave_one_out_log_z(rest[copies], torch.zeros(4).long(), log_weight[copies], share)
    assert z[0] == z[1]
    assert z[0].item() == pytest.approx(-(1 + 2 * math.exp(-1)) / (1 + math.exp(-1)))


def test_a_running_log_z_takes_rewards_of_any_size() -> None:
    running = RunningLogZ(0.5)
    own = torch.tensor([1e4, -1e4, 1e4, 1e4])
    values = running.lookup(["a", "a", "b", "b"], own, torch.tensor([0, 0, 1, 1]))
    assert values.tolist() == [-1e4, 1e4, 1e4, 1e4]


# --- gradients beyond e^20 ------------------------------------------------------------------------


@pytest.mark.parametrize("d", [-1e4, -50.0, 19.0, 21.0, 50.0, 1e4])
@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_a_kl_keeps_its_gradient(estimator: str, d: float) -> None:
    """d = log π_ref − log π; ∂k2 = −d, ∂k3 = 1 − e^d, of which e^20 is the most."""
    leaf = torch.zeros(1, 1, requires_grad=True)
    answers = Answers(
        torch.ones(1, 1), torch.zeros(1), torch.zeros(1).long(), leaf.detach(), leaf.detach() + d
    )
    value = reference_kl(leaf, answers, estimator)
    slope = torch.autograd.grad(value.sum(), leaf)[0].item()
    assert value.isfinite()
    assert slope == pytest.approx(-d if estimator == "k2" else 1 - math.exp(min(d, 20)), rel=1e-4)


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("far", [1e4, -1e4, 100.0])
def test_every_surrogate_is_finite_at_any_ratio(name: str, far: float) -> None:
    choices = SURROGATES[name]
    given = batch()
    leaf = given["logprobs"].requires_grad_()
    values = torch.zeros(4, 3, requires_grad=True) if choices.needs.values else None
    loss, metrics = surrogate_loss(
        **given,
        old_logprobs=leaf.detach() - far,
        ref_logprobs=leaf.detach() + far,
        values=values,
        choices=choices,
    )
    assert loss.isfinite()
    assert torch.autograd.grad(loss, leaf)[0].isfinite().all()
    assert all(part.isfinite().all() for part in metrics.values())


# --- batches with next to nothing in them ---------------------------------------------------------


def losses() -> list[Any]:
    """Each family's call with what it needs beside the batch."""
    balances = [Balance(**REFERENCE | {"log_z": z}) for z in ("group", "leave-one-out", "none")]
    calls: list[Any] = [
        lambda c=choices, **given: balance_loss(
            **{"ref_logprobs": given["logprobs"].detach() - 1} | given, choices=c
        )
        for choices in balances
    ]
    return (
        calls
        + [
            lambda c=SURROGATES[name], **given: surrogate_loss(**given, choices=c)
            for name in ("dr-grpo", "dapo", "gspo", "gmpo", "cispo")
        ]
        + [lambda **given: surrogate_loss(**given, choices=Surrogate(advantage="global"))]
    )


LITTLE: list[dict[str, Tensor]] = [
    {"rewards": torch.full((4,), 0.1)},
    {"groups": torch.arange(4)},
    {"groups": torch.tensor([7, -3, 7, -3])},
    {"groups": torch.tensor([7, -3, 7, -3], dtype=torch.int32)},
    {"groups": torch.tensor([2**62, 1, 2**62, -(2**62)])},
    {"mask": torch.tensor([[1, 1, 0], [0, 0, 0], [1, 0, 0], [1, 1, 1]])},
    {"mask": torch.tensor([[True] * 3, [False] * 3, [False] * 3, [True] * 3])},
    {"rewards": torch.tensor([1, 0, 0, 1])},
    {"rewards": torch.tensor([True, False, False, True])},
    {"rewards": torch.tensor([1, 0, 0, 1], dtype=torch.float64)},
]


@pytest.mark.parametrize("loss", losses())
def test_little_to_learn_from_is_finite(loss: Any) -> None:
    for change, dtype in product(LITTLE, (torch.float32, torch.bfloat16, torch.float64)):
        given = batch(dtype=dtype) | change
        leaf = given["logprobs"].requires_grad_()
        value, metrics = loss(**given)
        gradient = torch.autograd.grad(value, leaf)[0]
        assert value.isfinite()
        assert gradient.isfinite().all()
        assert gradient.dtype == dtype
        assert (gradient[~given["mask"].bool()] == 0).all()
        assert all(part.isfinite().all() for part in metrics.values())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"mask": torch.zeros(4, 3)}, r"mask \(4, 3\) has no token that counts"),
        ({"mask": torch.ones(4, 3) / 2}, "mask must hold 1 on an answer's tokens and 0 elsewhere"),
        ({"mask": torch.ones(4)}, r"mask must be \(N, T\)"),
        ({"mask": [[1, 1, 1]] * 4}, r"mask must be \(N, T\), a tensor, not list"),
        ({"mask": None}, r"mask must be \(N, T\), a tensor, not NoneType"),
        ({"mask": np.ones((4, 3))}, r"mask must be \(N, T\), a tensor, not ndarray"),
        ({"rewards": torch.tensor([1.0, math.nan, 0, 0])}, r"rows \[1\] are NaN or infinite"),
        ({"rewards": torch.tensor([1.0, 0, math.inf, 0])}, r"rows \[2\] are NaN or infinite"),
        ({"rewards": torch.tensor([1.0, 0, 1e300, 0]).double()}, r"rows \[2\] are NaN or inf"),
        ({"rewards": torch.zeros(5)}, r"rewards must be \(4,\)"),
        ({"rewards": [1.0, 0, 0, 1]}, r"rewards must be a tensor \(4,\), not a list"),
        ({"groups": torch.zeros(4)}, r"groups must be whole numbers \(int64\), not torch.float32"),
        ({"groups": torch.zeros(2).long()}, r"groups must be \(4,\)"),
        ({"logprobs": torch.zeros(4, 2)}, r"logprobs must be \(4, 3\)"),
        ({"logprobs": torch.zeros(4, 3).long()}, "logprobs must be floating-point numbers"),
        ({"logprobs": torch.full((4, 3), -math.inf)}, r"logprobs must be finite, but rows \[0"),
        ({"old_logprobs": torch.full((4, 3), math.nan)}, "old_logprobs must be finite"),
        ({"ref_logprobs": torch.full((4, 3), -math.inf)}, "ref_logprobs must be finite"),
        ({"ref_logprobs": torch.zeros(3, 4)}, r"ref_logprobs must be \(4, 3\)"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], sentence: str) -> None:
    for loss in losses():
        with pytest.raises(ValueError, match=sentence):
            loss(**batch() | change)


@pytest.mark.parametrize(
    ("choices", "name"),
    [("tba", "str"), (PRESETS["tba"], "Preset"), (None, "NoneType"), ({}, "dict")],
)
def test_what_is_no_choices_is_refused(choices: Any, name: str) -> None:
    for loss, kind in ((balance_loss, "Balance"), (surrogate_loss, "Surrogate")):
        with pytest.raises(ValueError, match=f"choices must be a {kind}, not {name}; that of a"):
            loss(**batch(), choices=choices)


def test_choices_of_the_other_family_are_refused() -> None:
    given: dict[str, Any] = batch()
    with pytest.raises(ValueError, match="choices must be a Surrogate, not Balance"):
        surrogate_loss(**given, choices=Balance())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="choices must be a Balance, not Surrogate"):
        balance_loss(**given, choices=Surrogate())  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0, 0)])
def test_no_answers_or_no_tokens_are_refused(shape: tuple[int, int]) -> None:
    for loss in losses():
        with pytest.raises(ValueError, match="has no token that counts; leave the batch out"):
            loss(**batch(*shape))


def test_a_loss_beyond_the_largest_float_is_refused() -> None:
    choices = Balance(**REFERENCE | {"inverse_temperature": 1e30})
    given = batch()
    with pytest.raises(ValueError, match=r"loss is not finite.*lower inverse_temperature"):
        balance_loss(**given, ref_logprobs=given["logprobs"], choices=choices)


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize(
    ("family", "field"),
    [
        (Balance, "inverse_temperature"),
        (Balance, "linex_alpha"),
        (Balance, "cap"),
        (Surrogate, "kl_coefficient"),
        (Surrogate, "epsilon_high"),
    ],
)
def test_choices_are_finite(family: type, field: str, value: float) -> None:
    with pytest.raises(ValidationError, match=field):
        family(**{field: value})


def test_an_alpha_that_float32_cannot_tell_from_0_is_refused() -> None:
    with pytest.raises(ValidationError, match="use regression: square"):
        Balance(regression="linex", linex_alpha=1e-5)


# --- arguments that would change nothing ---------------------------------------------------------


@pytest.mark.parametrize(
    ("choices", "given", "sentence"),
    [
        ({"log_z": "group"}, "log_z", "log_z: group is found from the group"),
        ({"log_z": "leave-one-out"}, "log_z", "log_z: leave-one-out is found from the group"),
        ({"log_z": "none", "scale": "sum"}, "log_z", "log_z: none is 0"),
        ({"log_z": "group"}, "share", "duplicates: each reads no `share`"),
    ],
)
def test_balance_refuses_what_it_would_not_read(choices: Any, given: str, sentence: str) -> None:
    tensors = batch()
    with pytest.raises(ValueError, match=f"{sentence}.*leave it out, or choose"):
        balance_loss(
            **tensors,
            ref_logprobs=tensors["logprobs"],
            **{given: torch.ones(4)},
            choices=Balance(**choices),
        )


def test_the_surrogate_refuses_what_it_would_not_read() -> None:
    tensors = batch()
    with pytest.raises(ValueError, match="advantage: group reads no `values`; leave them out"):
        surrogate_loss(**tensors, values=tensors["logprobs"])
    with pytest.raises(ValueError, match="entropy_bonus: 0 reads no `entropy`; leave it out"):
        surrogate_loss(**tensors, entropy=tensors["logprobs"])


def test_only_a_head_gives_its_log_z_to_the_loss() -> None:
    tensors = batch()
    answers = Answers(tensors["mask"], tensors["rewards"], tensors["groups"], tensors["logprobs"])
    choices = Balance(log_z="group", reference_weight=0)
    answers = choices.estimate(tensors["logprobs"], choices.prepare(answers))
    with pytest.raises(ValueError, match="log_z: group takes no `log_z` beside the answers' own"):
        choices.loss(Scores(tensors["logprobs"], torch.zeros(4)), answers, 4.0)


def test_running_and_offline_values_come_through_the_same_argument() -> None:
    tensors = batch()
    for log_z in ("running", "offline"):
        choices = Balance(**REFERENCE | {"log_z": log_z})
        ref = tensors["logprobs"]
        _, metrics = balance_loss(
            **tensors, ref_logprobs=ref, log_z=torch.full((4,), 3.0), choices=choices
        )
        assert metrics["log_z"].tolist() == [3.0] * 4


@pytest.mark.parametrize("share", [[0.0, 1, 1, 1], [2.0, 1, 1, 1], [math.nan, 1, 1, 1]])
def test_a_share_is_above_0_and_at_most_1(share: Log) -> None:
    tensors = batch()
    choices = Balance(**REFERENCE, duplicates="once")
    with pytest.raises(ValueError, match="share must be 1 / how often an answer occurs"):
        balance_loss(
            **tensors,
            ref_logprobs=tensors["logprobs"],
            share=torch.tensor(share),
            choices=choices,
        )


def test_a_reference_that_no_loss_reads_is_measured() -> None:
    tensors = batch()
    for loss, choices in (
        (surrogate_loss, Surrogate()),
        (balance_loss, Balance(log_z="group", reference_weight=0)),
    ):
        _, metrics = loss(**tensors, ref_logprobs=tensors["logprobs"] - 1, choices=choices)
        assert metrics["kl_ref"].tolist() == pytest.approx([3.0] * 4)


@pytest.mark.parametrize("name", PRESETS)
def test_half_precision_is_only_how_log_probs_come(name: str) -> None:
    """Of 300 tokens: sums of an answer are of float32, whatever is given."""
    choices = PRESETS[name].objective
    given = batch(8, 300)
    more = {"ref_logprobs": given["logprobs"] - torch.rand(8, 300)}
    if isinstance(choices, Balance):
        more |= {"log_z": torch.randn(8)} if choices.log_z in ("head", "running") else {}
        more |= {"flows": torch.randn(8, 300)} if choices.log_z == "flow" else {}
        more |= {"guide_logprobs": given["logprobs"] - 2} if choices.needs.guide else {}
        given |= {"share": torch.ones(8)} if choices.needs.shares else {}
    elif isinstance(choices, Surrogate):
        choices = choices.model_copy(update={"aggregation_length": 300})
        more |= {"values": torch.rand(8, 300)} if choices.needs.values else {}
    function: Any = balance_loss if isinstance(choices, Balance) else surrogate_loss
    tensors = {"logprobs": given.pop("logprobs"), **more}
    half = {key: value.bfloat16() for key, value in tensors.items()}
    loss, metrics = function(**given, **half, choices=choices)
    full = {key: value.float() for key, value in half.items()}
    same, expected = function(**given, **full, choices=choices)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, same)
    for key, value in expected.items():
        torch.testing.assert_close(metrics[key].to(value), value, msg=key)


@pytest.mark.parametrize("choices", [PRESETS["ppo"].objective, PRESETS["subtb"].objective])
@pytest.mark.parametrize("mask", [[1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1]])
def test_a_critic_wants_an_answers_tokens_in_one_piece(choices: Any, mask: list[int]) -> None:
    given = batch(2, 6) | {"mask": torch.tensor([[1] * 6, mask])}
    given["ref_logprobs"] = given["logprobs"]
    critic = "flows" if isinstance(choices, Balance) else "values"
    function: Any = balance_loss if isinstance(choices, Balance) else surrogate_loss
    with pytest.raises(ValueError, match=r"mask rows \[1\] have a token after one that does not"):
        function(**given, **{critic: torch.zeros(2, 6)}, choices=choices)
