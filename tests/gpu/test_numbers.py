"""On a GPU the model says what it says on a CPU in float32."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from evenflow.config import TrainConfig
from evenflow.data import Prompt
from evenflow.objectives import Scores
from evenflow.policy.loading import load_tokenizer
from evenflow.policy.policy import Policy
from evenflow.policy.tokens import collate
from evenflow.rollout import Sampling, sample
from evenflow.rollout.embedded.engine import EmbeddedEngine
from evenflow.tasks.countdown import Countdown
from evenflow.training.build import policy_to_train
from evenflow.training.trainer import Trainer

Make = Callable[..., TrainConfig]
pytestmark = pytest.mark.gpu
BUILT_IN = "model.path=builtin:countdown"
DTYPES = ["float32", "bfloat16"]
MEAN_GAP = {"float32": 1e-4, "bfloat16": 5e-2}
"""Of a token's log-prob, in nats, to float32 on a CPU; random tokens are unlikely ones, by −5 nats
and more, where bfloat16 is coarse."""
GRADIENT_GAP = {"float32": 1e-3, "bfloat16": 5e-2}
"""Of the whole gradient, relative to its norm."""
SAMPLER_GAP = {"float32": 1e-4, "bfloat16": 1e-2}
"""Of the sampler's log-probs to the trainer's, of the same weights."""
EXACT_GAP = {"float32": 1e-4, "bfloat16": 1e-2}
"""Of an exact accuracy."""


def policy_of(config: TrainConfig, device: str) -> Policy:
    """The recipe's policy there."""
    config = config.model_copy(update={"device": device})
    tokenizer = load_tokenizer(config.model.path)
    return policy_to_train(config, torch.device(device), tokenizer, None)


def make_rows(count: int = 24) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts and answers of mixed lengths, of tokens that the built-in model has."""
    drawn = random.Random(0)
    prompts = [drawn.choices(range(3, 20), k=5 + i % 7) for i in range(count)]
    answers = [drawn.choices(range(3, 20), k=1 + i * 5 % 17) for i in range(count)]
    return prompts, answers


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_log_probs_are_those_of_a_cpu(
    recipe: Make, device: torch.device, dtype: str, reference: bool
) -> None:
    rows = make_rows()
    truth = policy_of(recipe(BUILT_IN), "cpu").score(*rows)
    policy = policy_of(recipe(BUILT_IN, f"model.dtype={dtype}"), device.type)
    found = policy.score(*rows, reference=reference).cpu()
    mask = truth != 0
    assert (found - truth)[mask].abs().mean() < MEAN_GAP[dtype]
    assert not found[~mask].any()


@pytest.mark.parametrize("recompute", ["true", "false"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_are_those_of_a_cpu(
    recipe: Make, device: torch.device, dtype: str, recompute: str
) -> None:
    """With recomputation and without, entropy included, and chunks of log-probs smaller than the
    answers."""
    found = {}
    for place, overrides in (
        ("cpu", ()),
        (
            device.type,
            (
                f"model.dtype={dtype}",
                f"model.gradient_checkpointing={recompute}",
                "model.logprob_chunk=64",
            ),
        ),
    ):
        policy = policy_of(recipe(BUILT_IN, *overrides), place)
        scores: Scores = policy(collate(*make_rows(), device=place), entropy=True)
        assert scores.entropy is not None
        (scores.logprobs.mean() + 0.1 * scores.entropy.mean()).backward()
        gradients = [p.grad for p in policy.model.parameters()]
        found[bool(overrides)] = torch.cat(
            [g.float().cpu().flatten() for g in gradients if g is not None]
        )
    gap = (found[True] - found[False]).norm() / found[False].norm()
    assert gap < GRADIENT_GAP[dtype]


@pytest.mark.parametrize("limit", [24, 6])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_sampler_is_the_trainer(
    recipe: Make, device: torch.device, dtype: str, limit: int
) -> None:
    """Where answers end by themselves and others take their places, and where they are cut off."""
    policy = policy_of(recipe(BUILT_IN, f"model.dtype={dtype}"), device.type)
    engine = EmbeddedEngine(None, max_batch=16)
    engine.update(policy, 0)
    tokenizer: Any = load_tokenizer("builtin:countdown")
    prompts = [
        Prompt(str(i), "", tuple(tokenizer.encode(question.prompt)), {})
        for i, question in enumerate(Countdown().questions("test", 24))
    ]
    sampling = Sampling(max_tokens=limit, stop_ids=(tokenizer.eos_token_id,))
    groups = list(sample(engine, prompts, 4, sampling, seed=1))
    rows = [(group.prompt.ids, a) for group in groups for a in group.answers]
    own = policy.score([prompt for prompt, _ in rows], [answer for _, answer in rows]).cpu()
    sampled = [row for group in groups for row in group.logprobs]
    gaps = [
        abs(a - b)
        for mine, theirs in zip(own.tolist(), sampled, strict=True)
        for a, b in zip(mine, theirs, strict=False)
    ]
    assert len(gaps) == sum(map(len, sampled))
    assert sum(gaps) / len(gaps) < SAMPLER_GAP[dtype]
    again = list(sample(engine, prompts, 4, sampling, seed=1))
    assert [group.answers for group in again] == [group.answers for group in groups]


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_scores_are_those_of_a_cpu(recipe: Make, device: torch.device, dtype: str) -> None:
    found = {}
    for place in ("cpu", device.type):
        config = recipe(
            BUILT_IN,
            "reward.functions={}",
            "rollout.max_completion_length=40",
            "evaluation.every=1",
            "evaluation.questions=20",
            f"device={place}",
            f"model.dtype={dtype if place == device.type else 'float32'}",
            f"output={config_folder(recipe)}-{place}",
        )
        trainer = Trainer(config)
        assert trainer.held_out is not None
        found[place] = trainer.held_out.evaluate(trainer.policy, trainer.engine)[0]["accuracy"]
    assert found[device.type] == pytest.approx(found["cpu"], abs=EXACT_GAP[dtype])
    assert 0.1 < found["cpu"] < 0.5


def config_folder(recipe: Make) -> str:
    return str(recipe().output)
