"""Shared pieces: a tiny language model over Countdown, a small recipe, the trial data."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import torch

from evenflow.config import ArchitectureConfig, TrainConfig, load
from evenflow.sandbox import Sandbox, SandboxError
from evenflow.tasks.countdown import Countdown
from evenflow.training.pretrain import build_model, word_tokenizer

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
torch.set_num_threads(1)
# A job in the background ignores SIGINT, and so would every process that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(os.environ.get("EVENFLOW_SHARED", Path(__file__).parents[2] / "shared"))

TINY = ArchitectureConfig(
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=64,
)


# Asked before anything is hidden: the CUDA runtime reads CUDA_VISIBLE_DEVICES once, when asked for
# its devices at first, and the first backward pass asks (autograd starts a thread for each).
GPU = torch.cuda.is_available()
ON_CPU = os.environ.get("EVENFLOW_GPU_TESTS_ON") == "cpu"
"""Whether tests marked `gpu` run on the CPU, to try them out: the same bodies, in float32."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` are skipped where there is none."""
    if GPU or ON_CPU:
        return
    skip = pytest.mark.skip(reason="PyTorch sees no GPU here (EVENFLOW_GPU_TESTS_ON=cpu tries it)")
    for item in items:
        if item.get_closest_marker("gpu") is not None:
            item.add_marker(skip)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """No test sees a GPU, nor a process that it starts, unless it is marked `gpu`."""
    with pytest.MonkeyPatch.context() as patch:
        if ON_CPU or item.get_closest_marker("gpu") is None:
            patch.setenv("CUDA_VISIBLE_DEVICES", "")  # for processes; this one was asked above
            patch.setattr(torch.cuda, "is_available", lambda: False)
            patch.setattr(torch.cuda, "device_count", lambda: 0)
        return (yield)


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where tests marked `gpu` run."""
    return torch.device("cpu" if ON_CPU else "cuda")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Llama of 5,000 parameters and the character tokenizer."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = word_tokenizer(Countdown.vocabulary, TINY.max_position_embeddings)
    build_model(TINY, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def recipe(tiny_model: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """A recipe for a few quick steps; arguments are overrides, ``key=value``."""

    def make(*overrides: str) -> TrainConfig:
        return load(
            TrainConfig,
            None,
            [
                f"model.path={tiny_model}",
                f"output={tmp_path / 'run'}",
                "device=cpu",
                "data.task=countdown",
                "data.train_questions=32",
                "rollout.questions=4",
                "rollout.num_generations=4",
                "rollout.max_completion_length=10",
                "reward.functions={tests.training.rewards:digits: 1.0}",
                "train.steps=4",
                "train.learning_rate=1e-3",
                "train.warmup_steps=1",
                "evaluation.every=0",
                "checkpoint.every=0",
                *overrides,
            ],
        )

    return make


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and models (EVENFLOW_SHARED); the test is skipped without it."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data here: {SHARED} (set EVENFLOW_SHARED) does not exist")
    return SHARED


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    """The test is skipped where Landlock and seccomp do not hold."""
    try:
        return Sandbox()
    except SandboxError as error:
        pytest.skip(str(error))
