"""On a machine that has a GPU, tests that are not marked `gpu` see none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from evenflow.run.folder import choose_device
from tests import conftest


@contextmanager
def around(test: pytest.Item) -> Iterator[None]:
    """What surrounds a test."""
    hook = conftest.pytest_runtest_protocol(test)
    next(hook)
    yield
    with pytest.raises(StopIteration):
        hook.send(None)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch as it is on a machine with a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(conftest, "ON_CPU", False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")


@pytest.mark.usefixtures("machine")
def test_a_test_sees_no_gpu_nor_does_a_process_that_it_starts(
    request: pytest.FixtureRequest,
) -> None:
    asks = "import os; print(repr(os.environ['CUDA_VISIBLE_DEVICES']))"
    assert choose_device("auto").type == "cuda"
    with around(request.node):
        assert choose_device("auto").type == "cpu"
        assert not torch.accelerator.is_available()
        assert subprocess.check_output([sys.executable, "-c", asks], text=True) == "''\n"
    assert choose_device("auto").type == "cuda"


@pytest.mark.usefixtures("machine")
def test_after_it_one_that_is_marked_sees_the_gpu(request: pytest.FixtureRequest) -> None:
    with around(request.node):
        pass
    request.node.add_marker(pytest.mark.gpu)
    with around(request.node):
        assert choose_device("auto").type == "cuda"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


@pytest.mark.gpu
def test_a_test_marked_gpu_has_its_device(device: torch.device) -> None:
    assert choose_device("auto") == device
