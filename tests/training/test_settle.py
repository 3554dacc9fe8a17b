"""Before the first step: what is compiled, what is recomputed, and what cannot fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.policy import compiled
from evenflow.policy.loading import load_tokenizer
from evenflow.policy.policy import Policy
from evenflow.run.tracking import read_jsonl
from evenflow.training import settle as settle_module
from evenflow.training.build import Questions, load_questions, policy_to_train
from evenflow.training.facts import facts
from evenflow.training.memory import FIELDS, SAFE, least, too_much, weights_held
from evenflow.training.settle import memory_estimate, require_memory, settle
from evenflow.training.trainer import Trainer
from tests.training.runs import open_run

Make = Callable[..., TrainConfig]
PARTS = {
    "weights": 6.0,
    "gradients and Adam": 12.0,
    "sampling cache": 3.0,
    "activations": 4.0,
    "logits": 2.0,
}


def parts_of(config: TrainConfig) -> tuple[Policy, Questions]:
    tokenizer = load_tokenizer(config.model.path)
    policy = policy_to_train(config, torch.device("cpu"), tokenizer, None)
    return policy, load_questions(config, tokenizer)


# --- memory ------------------------------------------------------------------------------------


def test_recomputation_is_chosen_where_activations_do_not_fit(recipe: Make) -> None:
    config = recipe()
    policy, questions = parts_of(config)
    whole = sum(memory_estimate(config, policy, questions).values())
    settle(config, policy, questions, room=1.01 * whole / SAFE)
    assert not policy.recomputes
    assert policy.shares_prompts
    settle(config, policy, questions, room=0.99 * whole / SAFE)
    assert policy.recomputes
    assert not policy.shares_prompts
    assert sum(memory_estimate(config, policy, questions).values()) < whole
    said = dict(facts(config, policy, questions))
    assert said["activations"] == "computed again in backward (by what fits into memory)"


@pytest.mark.parametrize("asked", ["true", "false"])
def test_what_the_recipe_says_of_recomputation_stands(recipe: Make, asked: str) -> None:
    config = recipe(f"model.gradient_checkpointing={asked}")
    policy, questions = parts_of(config)
    whole = sum(memory_estimate(config, policy, questions).values())
    settle(config, policy, questions, room=whole * (2 if asked == "true" else 0.95))
    assert policy.recomputes == (asked == "true")
    said = dict(facts(config, policy, questions))
    if asked == "true":
        assert said["activations"] == "computed again in backward (model.gradient_checkpointing)"


def test_too_little_memory_of_a_gpu_names_the_field_before_the_first_step(recipe: Make) -> None:
    config = recipe("model.gradient_checkpointing=false")
    policy, questions = parts_of(config)
    parts = memory_estimate(config, policy, questions)
    held = parts["weights"] + parts["gradients and Adam"]
    with pytest.raises(UserError, match=r"^out of memory before the first step: .* model\.lora$"):
        settle(config, policy, questions, room=0.9 * held)
    with pytest.raises(UserError, match=r"the GPU has .*; lower train\.micro_batch_tokens, or set"):
        settle(config, policy, questions, room=held + 0.1 * parts["activations"])
    settle(config, policy, questions, room=1.01 * least(parts))


def test_too_little_memory_of_a_cpu_counts_what_is_held_alone(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe()
    policy, questions = parts_of(config)
    parts = memory_estimate(config, policy, questions)
    held = parts["weights"] + parts["gradients and Adam"]
    monkeypatch.setattr(settle_module, "memory", lambda: held)
    settle(config, policy, questions)
    monkeypatch.setattr(settle_module, "memory", lambda: held - 1)
    with pytest.raises(UserError, match=r"this machine has .*; train with model\.lora$"):
        settle(config, policy, questions)


def test_a_step_samples_and_learns_one_after_the_other() -> None:
    assert least(PARTS) == 6 + 12 + max(3, 0.75 * (4 + 2))
    assert least(PARTS | {"sampling cache": 9.0}) == 6 + 12 + 9
    require_memory(PARTS, least(PARTS))


@pytest.mark.parametrize("part", ["sampling cache", "activations", "logits"])
def test_the_remedy_is_of_the_largest_part_that_comes_and_goes(part: str) -> None:
    assert too_much(PARTS, sum(PARTS.values())) is None
    assert too_much(PARTS | {part: 100.0}, 50) == FIELDS[part]
    assert too_much(PARTS | {part: 100.0}, 17) == FIELDS["weights"]


@pytest.mark.parametrize("lora", [(), ("model.lora={rank: 2}",)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("algorithm", ["flowrl", "tba"])
def test_what_a_plan_says_is_held_is_held(
    recipe: Make, dtype: str, lora: tuple[str, ...], algorithm: str
) -> None:
    config = recipe(f"algorithm={algorithm}", f"model.dtype={dtype}", *lora)
    policy, questions = parts_of(config)
    beside = sum(p.numel() for p in policy.head.parameters()) if policy.head is not None else 0
    parameters = sum(p.numel() for p in policy.model.parameters())
    if lora:
        adapter = sum(p.numel() for p in policy.model.parameters() if p.requires_grad)
        parameters, beside = parameters - adapter, beside + adapter
    half = 2 if dtype == "bfloat16" else 4
    said = weights_held(parameters, beside, half, adapter=bool(lora), reference=True)
    assert memory_estimate(config, policy, questions)["weights"] == said


# --- compiling ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "done"), [("auto", False), ("false", False), ("true", True)])
def test_on_a_cpu_only_a_recipe_that_asks_is_compiled(
    recipe: Make, monkeypatch: pytest.MonkeyPatch, asked: str, done: bool
) -> None:
    called: list[Policy] = []
    monkeypatch.setattr(settle_module, "compile_policy", called.append)
    config = recipe(f"train.compile={asked}")
    settle(config, *parts_of(config))
    assert bool(called) == done


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_compiled_run_learns_as_a_plain_one(
    recipe: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dtype: str
) -> None:
    def backend(module: torch.fx.GraphModule, _inputs: Any, **_: Any) -> Any:
        return module.forward

    monkeypatch.setattr(compiled, "BACKEND", backend)
    torch._dynamo.reset()
    rows = {}
    for asked in ("false", "true"):
        run = (f"output={tmp_path / asked}", f"train.compile={asked}", f"model.dtype={dtype}")
        config = recipe("algorithm=tba", *run)
        trainer = Trainer(config, open_run(config, "test"))
        assert (trainer.policy.compiler is not None) == (asked == "true")
        rows[asked] = read_jsonl(trainer.run().folder / "metrics.jsonl")
    assert rows["true"][0]["kl/reference"] == 0
    for mine, theirs in zip(rows["true"], rows["false"], strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
        assert mine["reward/mean"] == pytest.approx(theirs["reward/mean"])
