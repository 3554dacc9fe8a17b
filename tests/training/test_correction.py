"""Answers that another policy sampled, in training: where a correction acts, and how far."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.objectives import Needs, Surrogate
from evenflow.objectives.correction import KINDS
from evenflow.rollout.embedded.engine import EmbeddedEngine
from evenflow.rollout.group import Group
from evenflow.training.trainer import Trainer
from tests.groups import engines
from tests.training.runs import metrics, open_run

Make = Callable[..., TrainConfig]
Change = Callable[[Group], Group]
OFF = "rollout.largest_gap=null"
STEPS = ("train.mini_batch_questions=2", "train.epochs=2", "train.learning_rate=1e-2")


class Unweighed(Surrogate):
    """A loss of one's own that knows nothing of corrections."""

    @property
    def needs(self) -> Needs:
        return Needs(groups_of_two=True)


def nats_off(nats: float, version: int | None = None) -> Change:
    """Each token's log-prob as sampled is so far below the policy's own; the group is of another
    version, where one is given."""

    def change(group: Group) -> Group:
        logprobs = [[logprob - nats for logprob in row] for row in group.logprobs]
        number = group.version if version is None else version
        return dataclasses.replace(group, logprobs=logprobs, version=number)

    return change


@contextmanager
def sampler(change: Change, *, exact: bool = False, beside: bool = True) -> Iterator[None]:
    """The embedded engine with changed groups; what it says of itself."""
    limits = EmbeddedEngine.limits

    def said(self: EmbeddedEngine, prompts: list) -> object:
        return dataclasses.replace(limits(self, prompts), exact=exact, beside=beside)

    with engines(change), pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddedEngine, "limits", said)
        yield


class Run:
    """A run of one step: the policy's gradient at each optimiser step, and the row."""

    def __init__(self, config: TrainConfig, folder: Path, *, dropout: bool = False) -> None:
        config = config.model_copy(update={"output": str(folder)})
        trainer = Trainer(config, open_run(config, "test"))
        learner = trainer.stepper.learner
        learner.dropout = dropout
        self.gradients: list[Tensor] = []
        step = learner._step

        def spied(*arguments: object) -> None:
            gradients = [p.grad for p in trainer.policy.model.parameters()]
            self.gradients.append(torch.cat([g.flatten() for g in gradients if g is not None]))
            step(*arguments)  # type: ignore[arg-type]

        learner._step = spied  # type: ignore[method-assign]
        self.row = metrics(trainer.run().checkpoint)[0]


@pytest.fixture
def run(recipe: Make, tmp_path: Path) -> Callable[..., Run]:
    folders = iter(range(100))

    def make(*overrides: str, dropout: bool = False) -> Run:
        config = recipe("train.steps=1", OFF, *overrides)
        return Run(config, tmp_path / f"run{next(folders)}", dropout=dropout)

    return make


@pytest.mark.parametrize("more", [(), STEPS])
def test_an_exact_engines_own_answers_are_not_corrected(
    run: Callable[..., Run], more: tuple[str, ...]
) -> None:
    """Bit for bit, whatever the kind."""
    plain = run("algorithm=grpo", "train.correction.kind=none", *more)
    for kind in ("auto", "token-mask"):
        other = run("algorithm=grpo", f"train.correction.kind={kind}", *more)
        assert all(map(torch.equal, plain.gradients, other.gradients))
        assert "correction/mean" not in other.row


@pytest.mark.parametrize("more", [(), STEPS])
def test_each_token_of_an_inexact_engine_is_weighed(
    run: Callable[..., Run], more: tuple[str, ...]
) -> None:
    """Every token is 0.1 nats off: the first gradient is e^0.1 times as long, or as the limit
    says; a mask leaves nothing."""
    chosen = ("algorithm=grpo", "train.correction.kind={}", "train.correction.limit={}")

    def corrected(kind: str, limit: float) -> Run:
        return run(*(text.format(limit if "limit" in text else kind) for text in chosen), *more)

    with sampler(nats_off(0.1)):
        plain = run("algorithm=grpo", "train.correction.kind=none", *more)
        free, limited = corrected("token-truncate", 3), corrected("token-truncate", 1.05)
        masked = corrected("token-mask", 1.05)
    first = plain.gradients[0]
    assert first.norm() > 1e-4
    tolerance = {"rtol": 1e-3, "atol": 1e-6}
    torch.testing.assert_close(free.gradients[0], math.exp(0.1) * first, **tolerance)
    torch.testing.assert_close(limited.gradients[0], 1.05 * first, **tolerance)
    assert (masked.gradients[0] == 0).all()
    assert free.row["correction/mean"] == pytest.approx(math.exp(0.1), rel=1e-4)
    assert free.row["correction/limited"] == 0
    assert limited.row["correction/mean"] == pytest.approx(1.05, rel=1e-4)
    assert limited.row["correction/largest"] == pytest.approx(math.exp(0.1), rel=1e-4)
    assert masked.row["correction/mean"] == 0
    assert masked.row["correction/limited"] == 1


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("more", [(), STEPS])
def test_with_a_correction_stale_answers_have_the_policy_before_the_step_as_their_old_one(
    run: Callable[..., Run], exact: bool, more: tuple[str, ...]
) -> None:
    """The surrogate's ratio begins at 1, and the sampler's distance is in the weight."""
    with sampler(nats_off(0.3, version=-1), exact=exact):
        corrected = run("algorithm=grpo", *more)
        plain = run("algorithm=grpo", "train.correction.kind=none", *more)
    assert corrected.row["correction/largest"] > math.exp(0.3)
    if not more:
        assert corrected.row["weight/mean"] == pytest.approx(1)
        assert corrected.row["kl/old"] == 0
        assert plain.row["weight/mean"] == pytest.approx(math.exp(0.3), rel=1e-3)
    else:
        assert abs(corrected.row["weight/mean"] - 1) < 0.1
        assert plain.row["weight/mean"] > 1.2
    assert "correction/mean" not in plain.row


def test_old_log_probs_are_scored_only_where_the_training_forward_comes_too_late(
    run: Callable[..., Run],
) -> None:
    """And then the gradient is the same."""
    with sampler(nats_off(0.1)):
        once, scored = run("algorithm=grpo"), run("algorithm=grpo", dropout=True)
        later = run("algorithm=grpo", *STEPS)
        none = run("algorithm=grpo", "train.correction.kind=none")
    assert "seconds/old_log-probs" not in once.row
    assert "seconds/old_log-probs" not in none.row
    assert "seconds/old_log-probs" in scored.row
    assert "seconds/old_log-probs" in later.row
    torch.testing.assert_close(once.gradients[0], scored.gradients[0], rtol=1e-3, atol=1e-6)
    for name in ("correction/mean", "correction/limited", "correction/largest"):
        assert once.row[name] == pytest.approx(scored.row[name], rel=1e-4)


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        *(("grpo", kind) for kind in KINDS),
        *(("tba", kind) for kind in KINDS if not kind.startswith("token")),
    ],
)
def test_micro_batches_change_nothing(run: Callable[..., Run], algorithm: str, kind: str) -> None:
    chosen = (f"algorithm={algorithm}", f"train.correction.kind={kind}", "train.epochs=2")
    with sampler(nats_off(0.2)):
        whole = run(*chosen, "train.micro_batch_tokens=16384")
        cut = run(*chosen, "train.micro_batch_tokens=64")
    for one, two in zip(whole.gradients, cut.gradients, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)
    assert whole.row["correction/mean"] == pytest.approx(cut.row["correction/mean"], rel=1e-4)


@pytest.mark.parametrize(
    ("algorithm", "corrected"),
    [
        *((name, True) for name in ("grpo", "ppo", "rloo", "gspo")),
        *((name, False) for name in ("tba", "rtb", "flowrl")),
    ],
)
def test_auto_corrects_surrogates_and_leaves_the_balance_family(
    run: Callable[..., Run], algorithm: str, corrected: bool
) -> None:
    with sampler(nats_off(0.1)):
        row = run(f"algorithm={algorithm}").row
    assert ("correction/mean" in row) == corrected


def test_the_balance_family_is_corrected_where_a_recipe_asks(run: Callable[..., Run]) -> None:
    """FlowRL's own weight is then against the policy before the step."""
    with sampler(nats_off(0.1, version=-1)):
        plain = run("algorithm=flowrl")
        row = run("algorithm=flowrl", "train.correction.kind=sequence-truncate").row
    assert plain.row["weight/mean"] > 1.1
    assert row["weight/mean"] == pytest.approx(1)
    assert row["correction/mean"] > 1.1


def test_a_loss_that_cannot_be_corrected_is_refused(recipe: Make) -> None:
    own = f"algorithm={__name__}:Unweighed"
    recipe(own)
    with pytest.raises(UserError, match=r"train\.correction\.kind: the loss of .* does not multi"):
        recipe(own, "train.correction.kind=sequence-mask")
    with pytest.raises(UserError, match="token-mask weighs tokens, and this loss is one of whole"):
        recipe("algorithm=tba", "train.correction.kind=token-mask")


@pytest.mark.parametrize("bad", ["limit=1", "limit=0.5", "floor=1", "floor=0", "kind=sequence"])
def test_limits_that_would_change_a_ratio_of_one_are_refused(recipe: Make, bad: str) -> None:
    with pytest.raises(UserError, match=r"train\.correction\."):
        recipe("algorithm=grpo", f"train.correction.{bad}")
