"""What learning reports of itself: the sampler's gap, groups, weights of answers and tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from evenflow.config import TrainConfig
from evenflow.objectives import Answers, Balance, Scores, Surrogate
from evenflow.rollout.embedded.engine import EmbeddedEngine
from evenflow.rollout.group import Group
from evenflow.run.tracking import read_jsonl
from evenflow.training.learning import Learned, Learner
from evenflow.training.metrics import learning_metrics
from evenflow.training.scoring import Rows
from evenflow.training.trainer import Trainer
from tests.groups import engines
from tests.training.runs import open_run, train

Make = Callable[..., TrainConfig]
OF_DELTA = ("log_omega", "residual", "log_z", "log_z_group")


def first_row(config: TrainConfig) -> dict:
    folder = Trainer(config, open_run(config, "test")).run().checkpoint
    return read_jsonl(folder.parent / "metrics.jsonl")[0]


def shifted(group: Group, nats: float) -> Group:
    """As a sampler says it whose log-probs are too low."""
    logprobs = [[logprob - nats for logprob in row] for row in group.logprobs]
    return dataclasses.replace(group, logprobs=logprobs)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("algorithm", ["grpo", "tba", "ppo"])
@pytest.mark.parametrize("more", [(), ("train.mini_batch_questions=2", "train.epochs=2")])
def test_a_sampler_that_is_a_nat_off_shows(
    recipe: Make, algorithm: str, dtype: str, more: tuple[str, ...]
) -> None:
    """In every precision, and also where the policy moves within the batch."""

    with engines(lambda group: shifted(group, 1.0)):
        row = first_row(
            recipe(
                f"algorithm={algorithm}",
                f"model.dtype={dtype}",
                "train.steps=1",
                "rollout.largest_gap=null",
                *more,
            )
        )
    near = 0.05 if dtype == "bfloat16" else 1e-3
    assert row["sampler/gap"] == pytest.approx(1.0, abs=near)
    assert row["sampler/gap_mean"] == pytest.approx(1.0, abs=near)


def test_beside_replayed_answers_fresh_ones_still_begin_at_the_policy(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a sampler whose arithmetic is another one: π_old of its own answers is the policy, of
    older ones what sampled them."""
    seen: list[tuple[int, Rows, torch.Tensor]] = []
    learn, limits = Learner.learn, EmbeddedEngine.limits

    def spy(learner: Learner, rows: Rows, seed: str) -> Learned:
        said = learner.policy.score(rows.prompt_ids, rows.answer_ids)
        seen.append((learner.version, rows, said))
        return learn(learner, rows, seed=seed)

    monkeypatch.setattr(Learner, "learn", spy)
    monkeypatch.setattr(
        EmbeddedEngine,
        "limits",
        lambda *a, **k: dataclasses.replace(limits(*a, **k), exact=False),
    )
    with engines(lambda group: shifted(group, 1.0)):
        train(
            recipe(
                "algorithm=tba",
                "train.steps=2",
                "train.mini_batch_questions=2",
                "rollout.replay.questions=1",
                "rollout.largest_gap=null",
            )
        )
    version, rows, said = seen[1]
    own, answers = rows.versions == version, rows.answers
    assert own.any()
    assert not own.all()
    assert answers.sampled_logprobs is not None
    torch.testing.assert_close(answers.old_logprobs[own], said[own], rtol=0, atol=1e-5)
    torch.testing.assert_close(answers.old_logprobs[~own], answers.sampled_logprobs[~own])
    assert (answers.old_logprobs - answers.sampled_logprobs)[own].sum() > own.sum()


@pytest.mark.parametrize("algorithm", ["grpo", "tba"])
def test_the_gap_of_a_sound_sampler_is_small_though_the_policy_moves(
    recipe: Make, algorithm: str
) -> None:
    """Only passes at the weights that sampled are compared: later ones differ by learning."""
    moving = ("train.mini_batch_questions=1", "train.epochs=2", "train.learning_rate=1e-2")
    row = first_row(recipe(f"algorithm={algorithm}", "train.steps=1", *moving))
    assert row["kl/old"] > 1e-6
    assert row["sampler/gap"] < 1e-4


@pytest.mark.parametrize("lora", [(), ("model.lora={rank: 2}",)])
def test_in_bfloat16_the_policy_begins_at_its_reference(
    recipe: Make, lora: tuple[str, ...]
) -> None:
    row = first_row(recipe("algorithm=tba", "model.dtype=bfloat16", "train.steps=1", *lora))
    assert row["kl/reference"] == 0


def answers_of(groups: list[int], share: list[float], old: list[float]) -> Answers:
    n = len(groups)
    return Answers(
        mask=torch.ones(n, 1),
        rewards=torch.arange(n).float() % 3,
        groups=torch.tensor(groups),
        old_logprobs=torch.tensor(old)[:, None],
        share=torch.tensor(share),
    )


@pytest.mark.parametrize("regression", ["square", "linex", "cosh"])
@pytest.mark.parametrize("truncation", ["none", "upper", "symmetric"])
@pytest.mark.parametrize("far", [0.0, -1e4])
def test_where_the_estimate_is_exact_its_error_is_0(
    regression: str, truncation: str, far: float
) -> None:
    """Copies and importance weights count in the metrics as in the loss, for every regression."""
    choices = Balance(
        log_z="group",
        scale="sum",
        reward="raw",
        reference_weight=0,
        inverse_temperature=1.0,
        duplicates="once",
        regression=regression,
        truncation=truncation,
    )
    answers = answers_of([5, 5, 5, 5, 6, 6], [0.5, 0.5, 1, 1, 1, 1], [-1, -1, -2, -0.5, -0.1, -3.0])
    logprobs = answers.old_logprobs + torch.tensor([0.4, 0.4, -0.3, 1, 0.2, -1])[:, None] + far
    answers = choices.estimate(logprobs, choices.prepare(answers))
    _, found = choices.loss(Scores(logprobs), answers, choices.total(answers))
    metrics = learning_metrics(
        Learned({k: [v] for k, v in found.items()} | {"group": [answers.groups]}, [0.0]), choices
    )
    scale = max(1.0, abs(far))
    assert metrics["log_z/error"] < 1e-5 * scale
    if regression == "square":
        assert abs(metrics["residual/mean"]) < 1e-5 * scale


def test_questions_of_every_optimiser_step_are_told_apart(recipe: Make) -> None:
    """From the 18th step of a batch on a float32 would give neighbouring groups one number."""
    config = recipe("rollout.questions=32", "train.mini_batch_questions=1", "train.steps=1")
    trainer = Trainer(config, open_run(config, "test"))
    learn, seen = trainer.stepper.learner.learn, []

    def spied(*args, **kwargs):  # type: ignore[no-untyped-def]
        seen.append(learn(*args, **kwargs))
        return seen[-1]

    trainer.stepper.learner.learn = spied  # type: ignore[method-assign]
    trainer.run()
    groups = torch.cat(seen[0].answers["group"])
    assert groups.dtype == torch.int64
    assert len(groups.unique()) == 32
    # A log Z that misses the estimates of two neighbouring groups by +1 and −1: the error is 1.
    pair = groups.unique()[-2:].repeat_interleave(2)
    off = torch.tensor([1.0, 1, -1, -1])
    learned = Learned(
        {
            "tokens": [torch.ones(4)],
            "log_weight": [torch.zeros(4)],
            "truncated": [torch.zeros(4)],
            "log_omega": [torch.zeros(4)],
            "residual": [off],
            "log_z": [off],
            "log_z_group": [torch.zeros(4)],
            "group": [pair],
        },
        [0.0],
    )
    assert learning_metrics(learned, Balance())["log_z/error"] == 1.0


def test_numbers_of_tokens_are_means_over_tokens() -> None:
    """An answer of three tokens counts three times as much as one of one token."""
    learned = Learned(
        {
            "tokens": [torch.tensor([3.0]), torch.tensor([1.0])],
            "kl_old": [torch.tensor([0.4]), torch.tensor([0.8])],
            "kl_ref": [torch.tensor([1.0]), torch.tensor([3.0])],
            "ratio": [torch.tensor([1.5]), torch.tensor([0.5])],
            "clipped": [torch.tensor([1.0]), torch.tensor([0.0])],
            "entropy": [torch.tensor([2.0]), torch.tensor([4.0])],
            "value_error": [torch.tensor([0.5]), torch.tensor([0.1])],
            "return": [torch.tensor([1.0]), torch.tensor([-1.0])],
            "return_square": [torch.tensor([1.0]), torch.tensor([1.0])],
        },
        [0.0],
    )
    metrics = learning_metrics(learned, Surrogate())
    assert metrics["kl/old"] == pytest.approx(0.5)
    assert metrics["weight/truncated"] == pytest.approx(0.75)
    assert metrics["policy/entropy_exact"] == pytest.approx(2.5)
    assert metrics["value/error"] == pytest.approx(0.4)
    assert metrics["value/explained"] == pytest.approx(1 - 0.4 / (1 - 0.5**2))
    assert metrics["kl/reference"] == 2.0  # of answers
    assert metrics["weight/mean"] == 1.0  # of answers


@pytest.mark.parametrize(("importance", "share"), [("token", 0.75), ("sequence", 0.5)])
def test_truncated_is_a_share_of_what_has_a_weight(importance: str, share: float) -> None:
    learned = Learned(
        {
            "tokens": [torch.tensor([3.0, 1.0])],
            "log_weight": [torch.zeros(2)],
            "truncated": [torch.tensor([1.0, 0.0])],
            **{name: [torch.zeros(2)] for name in OF_DELTA},
            "group": [torch.tensor([0, 1])],
        },
        [0.0],
    )
    found = learning_metrics(learned, Balance(importance=importance))
    assert found["weight/truncated"] == share
