"""Real vLLM servers on the CPU: their answers are the policy's, before and after updates."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.rollout.vllm.conftest import move, prompts, worst_gap
from transformers import AutoConfig, AutoModelForCausalLM

from evenflow.config import LoraConfig, TrainConfig, load
from evenflow.errors import UserError
from evenflow.policy.adapters import new_adapter
from evenflow.policy.loading import load_model, load_tokenizer, resolve
from evenflow.policy.policy import Policy
from evenflow.rollout.engine import sample
from evenflow.rollout.group import Group
from evenflow.rollout.sampling import Sampling
from evenflow.rollout.vllm.server import ServerEngine
from evenflow.run.folder import begin, run_folder
from evenflow.training.trainer import Trainer

TIED = resolve("builtin:countdown")
STARTS_WITHIN = 300
ENVIRONMENT = {
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}
SAMPLING = Sampling(24, stop_ids=(1,))


@dataclass
class Running:
    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=1) as reply:
                return reply.status == 200
        except OSError:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            return False

    def end(self) -> None:
        """With the processes that it has started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def start(model: str, log: Path, *flags: str) -> Running:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--enforce-eager", "--max-num-seqs", "64"]
    command += ["--logprobs-mode", "processed_logprobs", *flags]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | ENVIRONMENT,
            start_new_session=True,
        )
    return Running(f"http://127.0.0.1:{port}", process, log)


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model's shape with a head of its own, random."""
    folder = tmp_path_factory.mktemp("untied")
    config = AutoConfig.from_pretrained(TIED, tie_word_embeddings=False, dtype="float32")
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config)
    assert model.lm_head.weight is not model.model.embed_tokens.weight
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(TIED) / name, folder)
    return folder


@pytest.fixture(scope="module")
def servers(untied: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Running]]:
    """One of the tied model, which takes adapters, and one of the untied one."""
    logs = tmp_path_factory.mktemp("logs")
    running = {
        "tied": start(TIED, logs / "tied", "--enable-lora", "--max-lora-rank", "8"),
        "untied": start(str(untied), logs / "untied"),
    }
    try:
        until = time.monotonic() + STARTS_WITHIN
        while not all(each.ready() for each in running.values()):
            assert time.monotonic() < until, "vLLM did not start"
            time.sleep(0.5)
        yield running
    finally:
        for each in running.values():
            each.end()


def engine_of(server: Running, folder: Path, **options: Any) -> ServerEngine:
    settings: dict[str, Any] = {"max_batch": 64, "timeout": 60.0} | options
    return ServerEngine(load_tokenizer(TIED), urls=[server.url], folder=folder, **settings)


@pytest.fixture
def policy_of(untied: Path) -> Any:
    paths = {"tied": TIED, "untied": str(untied)}
    return lambda name: Policy(load_model(paths[name], torch.float32))


def answers(engine: ServerEngine, count: int = 6, sampling: Sampling = SAMPLING) -> list[Group]:
    return list(sample(engine, prompts(count), 4, sampling, seed=1))


@pytest.mark.parametrize("name", ["tied", "untied"])
def test_log_probs_are_the_policys_before_and_after_an_update(
    name: str, servers: dict[str, Running], policy_of: Any, tmp_path: Path
) -> None:
    policy, engine = policy_of(name), engine_of(servers[name], tmp_path)
    for version in (0, 1, 2):
        engine.update(policy, version)
        groups = answers(engine)
        assert worst_gap(policy, groups) < 1e-4
        move(policy, 0.05)
        assert worst_gap(policy, groups) > 0.1
    assert engine.limits([]).positions == 128


@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_log_probs_are_of_the_tempered_policy(
    temperature: float, servers: dict[str, Running], policy_of: Any, tmp_path: Path
) -> None:
    policy, engine = policy_of("tied"), engine_of(servers["tied"], tmp_path)
    policy.temperature = temperature
    engine.update(policy, 0)
    groups = answers(engine, sampling=Sampling(24, temperature, stop_ids=(1,)))
    assert worst_gap(policy, groups) < 1e-4


def test_greedy_answers_are_one_answer(
    servers: dict[str, Running], policy_of: Any, tmp_path: Path
) -> None:
    policy, engine = policy_of("tied"), engine_of(servers["tied"], tmp_path)
    engine.update(policy, 0)
    (group,) = answers(engine, 1, Sampling(24, 0.0, stop_ids=(1,)))
    assert len(group) == 4
    assert len({tuple(ids) for ids in group.answers}) == 1
    assert worst_gap(policy, [group]) < 1e-4


def test_the_same_seed_gives_the_same_answers(
    servers: dict[str, Running], policy_of: Any, tmp_path: Path
) -> None:
    policy, engine = policy_of("tied"), engine_of(servers["tied"], tmp_path)
    engine.update(policy, 0)
    first, again = ({g.place: g.answers for g in answers(engine)} for _ in range(2))
    assert first == again
    assert all(len({tuple(ids) for ids in group}) > 1 for group in first.values())  # seeds apart


def test_an_adapter_is_renewed_and_the_reference_is_the_base(
    servers: dict[str, Running], policy_of: Any, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    base, engine = policy_of("tied"), engine_of(servers["tied"], tmp_path)
    engine.update(base, 0)  # whatever other tests have left there
    adapted = Policy(new_adapter(base.model, LoraConfig(rank=8)))
    engine = engine_of(servers["tied"], tmp_path)
    for version in (0, 1, 2):
        engine.update(adapted, version)
        groups = answers(engine)
        assert worst_gap(adapted, groups) < 1e-4
        move(adapted, 0.05)
    with adapted.as_reference() as model:
        reference = Policy(model)
        engine.update(reference, -1)
        groups = answers(engine)
        assert worst_gap(reference, groups) < 1e-4
    assert worst_gap(adapted, groups) > 0.1


def test_a_server_of_another_model_is_refused(
    servers: dict[str, Running], policy_of: Any, tmp_path: Path
) -> None:
    other = AutoConfig.from_pretrained(TIED, num_hidden_layers=2, dtype="float32")
    policy = Policy(AutoModelForCausalLM.from_config(other))
    engine = engine_of(servers["tied"], tmp_path)
    with pytest.raises(UserError, match=r"num_hidden_layers is 4, that of model\.path is 2"):
        engine.update(policy, 0)


def test_what_nobody_waits_for_is_dropped_at_the_server_too(
    servers: dict[str, Running], policy_of: Any, tmp_path: Path
) -> None:
    policy, engine = policy_of("tied"), engine_of(servers["tied"], tmp_path)
    engine.update(policy, 0)
    running = engine.groups(prompts(32), 2, Sampling(120, stop_ids=(0,)), seed=1)
    next(iter(running))
    running.close()  # type: ignore[attr-defined]
    engine.update(policy, 1)  # its prefix cache is free, or this would fail
    assert worst_gap(policy, answers(engine, 2)) < 1e-4


@pytest.mark.parametrize(
    "more", [(), ("rollout.lag=1", "rollout.segment=20", "rollout.replay.questions=2")]
)
def test_a_run_of_a_few_steps_and_its_evaluations(
    servers: dict[str, Running], tmp_path: Path, more: tuple[str, ...]
) -> None:
    """In turns with learning; and beside it, answers in parts, some of them learned from twice."""
    config = load(
        TrainConfig,
        None,
        [
            "algorithm=tba",
            "data.task=countdown",
            "data.train_questions=64",
            "rollout.engine=vllm",
            f"rollout.server={servers['tied'].url}/v1",
            "rollout.timeout=120",
            "rollout.questions=8",
            "rollout.num_generations=8",
            "rollout.max_completion_length=40",
            "evaluation.every=2",
            "evaluation.num_generations=1",
            "train.steps=4",
            "train.learning_rate=1e-3",
            f"output={tmp_path / 'run'}",
            "device=cpu",
            *more,
        ],
    )
    result = Trainer(config, begun(config)).run()
    assert result.steps == 4
    assert result.before["accuracy"] > 0.1  # an untrained model has none
    _, *rows = result.rows
    assert len(rows) == 4
    for step, row in enumerate(rows):
        assert ("seconds/waiting" in row) == bool(more)
        if step and more:
            assert row["staleness/max"] >= 1
        assert row["sampler/gap"] < 1e-3


def begun(config: TrainConfig) -> Path:
    folder = run_folder(config.output, "test")
    begin(config, folder)
    return folder


def test_a_server_that_is_killed_in_the_middle_ends_in_a_sentence(
    servers: dict[str, Running], policy_of: Any, tmp_path: Path
) -> None:
    """The last of them: it does not come back."""
    server = servers["untied"]
    policy, engine = policy_of("untied"), engine_of(server, tmp_path)
    engine.update(policy, 0)
    killer = threading.Timer(0.5, os.killpg, (server.process.pid, signal.SIGKILL))
    killer.start()
    began = time.monotonic()

    def ask_on() -> None:
        for number in range(200):
            list(engine.groups(prompts(64), 8, Sampling(100, stop_ids=(1,)), seed=number))

    with pytest.raises(UserError, match="no server is left") as error:
        ask_on()
    assert time.monotonic() - began < 30
    assert server.url in str(error.value)
    assert "evenflow train --resume RUN" in str(error.value)
