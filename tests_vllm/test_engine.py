"""The engine with vLLM itself, on a CPU: log-probs, updates, a training run, commands, Ctrl-C.

An engine takes seconds to start, so that tests share them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from evenflow import train
from evenflow.cli import main
from evenflow.config import DataConfig, LoraConfig, TrainConfig, load
from evenflow.data import Prompt
from evenflow.policy.adapters import new_adapter
from evenflow.policy.loading import load_model, load_tokenizer
from evenflow.policy.policy import Policy
from evenflow.rollout import Sampling
from evenflow.rollout.engine import sample
from evenflow.rollout.vllm.engine import VllmEngine
from evenflow.tasks import get_task, rows_of
from evenflow.training.build import tokenize

MODEL = "builtin:countdown"
NEAR = 1e-4
"""Nats, in float32."""


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(MODEL)


@pytest.fixture(scope="module")
def prompts(tokenizer: Any) -> list[Prompt]:
    rows = rows_of(get_task("countdown", {}), "test", 6)
    return tokenize(rows, tokenizer, DataConfig(task="countdown"), None)


def policy_of(kind: str) -> Policy:
    model: Any = load_model(MODEL, torch.float32)
    assert model.config.tie_word_embeddings
    if kind == "untied":
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        model.config.tie_word_embeddings = False
    if kind == "lora":
        model = new_adapter(model, LoraConfig(rank=4))
    return Policy(model, temperature=0.8).eval()


@torch.no_grad()
def move(policy: Policy) -> None:
    """As a training that went far."""
    torch.manual_seed(0)
    for parameter in policy.model.parameters():
        if parameter.requires_grad:
            parameter.add_(0.05 * torch.randn_like(parameter))


def gap(engine: VllmEngine, policy: Policy, prompts: list[Prompt]) -> float:
    """The largest difference between log-probs as sampled and the policy's own."""
    sampling = Sampling(20, temperature=0.8, stop_ids=(engine.tokenizer.eos_token_id,))
    found = 0.0
    for group in sample(engine, prompts, 8, sampling, seed=1, vocabulary=len(engine.tokenizer)):
        own = policy.score([group.prompt.ids] * 8, group.answers)
        for row, given in zip(own, group.logprobs, strict=True):
            found = max(found, (row[: len(given)] - torch.tensor(given)).abs().max().item())
    return found


@pytest.fixture(scope="module", params=["tied", "untied", "lora"])
def pair(request: pytest.FixtureRequest, tokenizer: Any) -> Iterator[tuple[VllmEngine, Policy]]:
    engine, policy = VllmEngine(tokenizer, 64), policy_of(request.param)
    engine.update(policy, 0)
    yield engine, policy
    engine.llm = None


def test_logprobs_are_the_policys_before_and_after_an_update(
    pair: tuple[VllmEngine, Policy], prompts: list[Prompt]
) -> None:
    engine, policy = pair
    assert gap(engine, policy, prompts) < NEAR
    move(policy)
    assert gap(engine, policy, prompts) > 0.1  # keys in its cache are of the policy before
    engine.update(policy, 1)
    assert gap(engine, policy, prompts) < NEAR
    if policy.adapted:
        with policy.as_reference() as model:
            reference = Policy(model, temperature=0.8).eval()
            engine.update(reference, -1)
            assert gap(engine, reference, prompts) < NEAR
        engine.update(policy, 1)
        assert gap(engine, policy, prompts) < NEAR


def test_filtered_and_greedy_answers_are_the_policys(
    pair: tuple[VllmEngine, Policy], prompts: list[Prompt]
) -> None:
    """Log-probs are those of the distribution that was drawn from: over the tokens kept."""
    engine, policy = pair
    stop = (engine.tokenizer.eos_token_id,)
    filtered = Sampling(20, temperature=0.8, top_k=2, stop_ids=stop)
    for group in sample(engine, prompts, 2, filtered, seed=1):
        own = policy.score([group.prompt.ids] * 2, group.answers)
        for row, given in zip(own, group.logprobs, strict=True):
            assert (torch.tensor(given) >= row[: len(given)] - NEAR).all()
    plain = Policy(policy.model).eval()
    for group in sample(engine, prompts, 2, Sampling(20, temperature=0.0, stop_ids=stop), seed=1):
        own = plain.score([group.prompt.ids] * 2, group.answers)
        assert group.answers[0] == group.answers[1]
        given = group.logprobs[0]
        assert (own[0][: len(given)] - torch.tensor(given)).abs().max() < NEAR


def test_the_same_seed_gives_the_same_answers(
    pair: tuple[VllmEngine, Policy], prompts: list[Prompt]
) -> None:
    engine, _ = pair
    sampling = Sampling(20, stop_ids=(engine.tokenizer.eos_token_id,))
    once, again = (
        {group.place: group.answers for group in sample(engine, prompts, 4, sampling, seed=5)}
        for _ in range(2)
    )
    assert once == again
    assert len({tuple(answer) for answers in once.values() for answer in answers}) > 6


def test_more_prompts_than_are_read_at_once(tokenizer: Any) -> None:
    """Prompts in pieces would ask a CPU's random numbers for what only a GPU's have."""
    rows = rows_of(get_task("countdown", {}), "test", 64)
    prompts = tokenize(rows, tokenizer, DataConfig(task="countdown"), None)
    engine = VllmEngine(tokenizer, 1024)
    engine.update(policy_of("tied"), 0)
    groups = list(sample(engine, prompts, 16, Sampling(2), seed=0, vocabulary=len(tokenizer)))
    assert sum(len(group.answers) for group in groups) == 1024
    engine.llm = None


def settings(folder: Path, *more: str) -> list[str]:
    return [
        *("data.task=countdown", "device=cpu", "threads=1", f"output={folder}"),
        *("algorithm=grpo", "rollout.engine=vllm"),
        *("rollout.questions=8", "rollout.num_generations=8"),
        *("rollout.max_completion_length=40", "train.learning_rate=1e-3"),
        *("train.warmup_steps=2", "train.micro_batch_tokens=2048", "evaluation.every=0"),
        *more,
    ]


def brief(completions: list[str], **_: Any) -> list[float]:
    """Learned in a few steps."""
    return [1 - len(text) / 40 for text in completions]


def test_a_short_run_whose_reward_rises(tmp_path: Path) -> None:
    config = load(TrainConfig, None, settings(tmp_path / "run", "train.steps=16"))
    rewards = [row["reward/mean"] for row in train(config, rewards=[brief]).rows]
    assert sum(rewards[-4:]) / 4 > sum(rewards[:4]) / 4 + 0.1, rewards


def test_eval_and_sample_take_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    few = ("questions=20", "num_generations=4", "temperature=1", "top_p=1")
    out = f"output={tmp_path / 'eval'}"
    main(["eval", f"model.path={MODEL}", "benchmark=countdown", "engine=vllm", out, *few])
    lines = (tmp_path / "eval" / "answers.jsonl").read_text().splitlines()
    assert len(lines) == 80
    assert {json.loads(line)["verdict"] for line in lines} == {"right", "wrong"}
    capfd.readouterr()
    question = "3 4 5 -> 12:"
    main(["sample", MODEL, "--engine", "vllm", "--prompt", question, "-n", "3", "--seed", "1"])
    assert len(capfd.readouterr().out.strip().splitlines()) == 4


CHILD = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what is run aside inherits none
from evenflow.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_ctrl_c_saves_and_the_run_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (tmp_path / "recipe.yaml").write_text("data: {task: countdown}\n")
    words = settings(run, "train.steps=500", "checkpoint.every=0")
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, "train", "recipe.yaml", *words],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert child.stdout is not None
    said = ""
    for line in child.stdout:
        said += line
        if line.startswith("step "):
            child.send_signal(signal.SIGINT)
            break
    said += child.communicate(timeout=100)[0]
    assert child.returncode == 128 + signal.SIGINT, said
    assert "go on with: evenflow train --resume" in said
    (saved,) = run.glob("checkpoint-*")
    step = int(saved.name.rpartition("-")[2])
    assert not main(["train", "--resume", str(run), f"train.steps={step + 1}"])
    assert json.loads((run / "summary.json").read_text())["steps"] == step + 1
