"""The formulas of `evenflow plan` against what was measured (docs/results/speed.json): within 25 %,
seconds and memory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from evenflow.config import TrainConfig
from evenflow.face import load
from evenflow.policy.shape import Shape, shape_of
from evenflow.training.cost import (
    COMPILED,
    EAGER,
    ON_CPU,
    Speed,
    Work,
    attention,
    learning,
    phases,
    rollout,
)
from evenflow.training.devices import CPU, DEVICES
from evenflow.training.memory import Held, estimate

MEASURED = json.loads(
    (Path(__file__).parents[2] / "docs" / "results" / "speed.json").read_text(encoding="utf-8")
)
H100 = MEASURED["h100"]
SPEEDS = {"eager": EAGER, "compiled": COMPILED}
GIB = 2**30


def within(found: float, measured: float) -> bool:
    return abs(found / measured - 1) < 0.25


def named(rows: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("row", rows, ids=lambda row: row["name"])


def model_of(sizes: dict[str, Any]) -> Shape:
    with torch.device("meta"):
        return shape_of(AutoModelForCausalLM.from_config(Qwen2Config(**sizes)))


@pytest.fixture(scope="module")
def qwen() -> Shape:
    return model_of(H100["model"])


def test_the_shape_is_counted(qwen: Shape) -> None:
    a_layer = 896 * 896 * 2 + 896 * 128 * 2 + 3 * 896 * 4864
    assert qwen.trunk == 24 * a_layer
    assert qwen.head == qwen.embeddings == 896 * 151936
    vectors = 24 * (2 * 896 + 896 + 2 * 128) + 896  # norms, and biases of q, k and v
    assert qwen.parameters == qwen.trunk + qwen.head + vectors
    assert qwen.cached == 256


def update_work(shape: Shape, *, recompute: bool) -> Work:
    case = H100["update"]
    return Work(
        questions=8,
        group=case["answers"] // 8,
        prompt=case["prompt"],
        answer=case["answer_tokens"] / case["answers"],
        limit=1024,
        slots=256,
        trained=shape.parameters,
        micro=case["micro"],
        recompute=recompute,
    )


def speed(row: dict[str, Any]) -> Speed:
    """That of compiled or eager layers, and of compiled or eager log-probs."""
    layers = row.get("layers", "eager")
    return replace(SPEEDS[layers], head=SPEEDS[row.get("logprobs", layers)].head)


@named(H100["update"]["rows"])
def test_seconds_of_an_update(qwen: Shape, row: dict[str, Any]) -> None:
    work = update_work(qwen, recompute=row["recompute"])
    found = learning(qwen, work, DEVICES["h100"], speed(row)).seconds
    assert within(found, work.read / row["tokens_per_second"])


def held_of(shape: Shape, row: dict[str, Any]) -> Held:
    compiled = row["layers"] == "compiled"
    return Held(4.0 * shape.parameters, shape.parameters, 2, row["recompute"], compiled)


def recipe() -> TrainConfig:
    case = H100["update"]
    return load(
        None,
        "rollout.questions=8",
        "rollout.num_generations=8",
        "rollout.max_completion_length=1024",
        f"model.logprob_chunk={case['chunk']}",
        f"train.micro_batch_tokens={case['micro']}",
        "reward.functions={}",
    )


@named(H100["update"]["rows"])
def test_memory_of_an_update(qwen: Shape, row: dict[str, Any]) -> None:
    parts = estimate(recipe(), qwen, held_of(qwen, row), H100["update"]["prompt"])
    parts.pop("sampling cache")  # nothing is sampled there
    if row["logprobs"] == "eager":
        eager = estimate(recipe(), qwen, held_of(qwen, row | {"layers": "eager"}), 200)
        parts["logits"] = eager["logits"]
    assert within(sum(parts.values()) / GIB, row["gib"])


@named(H100["logprobs"]["rows"])
def test_log_probs_alone(qwen: Shape, row: dict[str, Any]) -> None:
    case, compiled = H100["logprobs"], row["logprobs"] == "compiled"
    flops = 8 * qwen.head * case["tokens"]  # logits are computed twice
    share = SPEEDS[row["logprobs"]].head
    assert within(flops / (share * DEVICES["h100"].gemm), row["seconds"])
    held = Held(0, 0, 2, recompute=True, compiled=compiled)
    logits = estimate(recipe(), qwen, held, 200)["logits"]
    # Weights, states and the gradients of both, all in bfloat16, lie beside them.
    beside = 2 * 2 * (qwen.head + case["tokens"] * qwen.hidden)
    assert within((logits + beside) / GIB, row["gib"])


@named(H100["trunk"]["rows"])
def test_layers_alone(qwen: Shape, row: dict[str, Any]) -> None:
    work = update_work(qwen, recompute=False)
    flops = 6 * qwen.trunk * work.read
    flops += 3 * attention(qwen, work.read, work.read / work.answers / 2)
    seconds = flops / (SPEEDS[row["layers"]].trunk * DEVICES["h100"].gemm)
    assert within(seconds, work.read / row["tokens_per_second"])


@named(H100["sampling"]["rows"])
def test_seconds_of_sampling(qwen: Shape, row: dict[str, Any]) -> None:
    case = H100["sampling"]
    work = Work(
        questions=case["questions"],
        group=case["group"],
        prompt=case["prompt"],
        answer=case["answer"],
        limit=case["answer"],
        slots=case["slots"],
        trained=0,
    )
    found = rollout(qwen, work, DEVICES["h100"], speed(row)).seconds
    assert within(found, work.written / row["tokens_per_second"])


@named(MEASURED["cpu"]["runs"])
def test_seconds_of_a_step_on_a_cpu(row: dict[str, Any]) -> None:
    shape = model_of(row["model"])
    device = replace(CPU, gemm=MEASURED["cpu"]["gemm"], copy=MEASURED["cpu"]["copy"])
    names = ("questions", "group", "prompt", "answer", "limit", "micro")
    work = Work(
        **{name: row[name] for name in names},
        slots=512,
        trained=shape.parameters,
        shared=True,
    )
    found = {
        phase.name: phase.seconds for phase in phases(shape, work, device, ON_CPU, sampler=ON_CPU)
    }
    for name, seconds in row["seconds"].items():
        assert within(found[name], seconds), name


def test_what_is_done_more_often_costs_more(qwen: Shape) -> None:
    plain = update_work(qwen, recompute=False)

    def cost(**changes: Any) -> float:
        work = replace(plain, **changes)
        return sum(
            phase.flops for phase in phases(qwen, work, DEVICES["h100"], EAGER, sampler=EAGER)
        )

    base = cost()
    for more in (
        {"recompute": True},
        {"epochs": 2},
        {"rescore": True},
        {"own_critic": True},
        {"group": 16},
        {"answer": 900.0},
    ):
        assert cost(**more) > base, more
    for less in ({"shared": True}, {"reference": False}, {"adapter": True}, {"prompt": 50}):
        assert cost(**less) < base, less


def test_ended_slots_that_are_filled_again_cost_no_time(qwen: Shape) -> None:
    """With answers of a quarter of the limit, sampling that waits for the longest takes longer."""
    work = replace(update_work(qwen, recompute=False), group=64, answer=256.0, slots=128)
    waits = replace(COMPILED, refills=False)
    found = [rollout(qwen, work, DEVICES["h100"], speed).seconds for speed in (COMPILED, waits)]
    assert found[0] < 0.7 * found[1]
