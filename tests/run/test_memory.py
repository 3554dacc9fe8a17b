"""A shortage of memory names the field to lower."""

from __future__ import annotations

import pytest
import torch

from evenflow.errors import UserError
from evenflow.run.out_of_memory import FIELDS, naming_the_field


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
    ],
)
@pytest.mark.parametrize("phase", FIELDS)
def test_every_phase_names_its_field(phase: str, error: Exception) -> None:
    says = f"^out of memory in {phase}: lower {FIELDS[phase]}$"
    with pytest.raises(UserError, match=says), naming_the_field(phase):
        raise error


def test_a_real_allocation() -> None:
    says = r"out of memory in rollout: lower rollout\.max_batch"
    with pytest.raises(UserError, match=says), naming_the_field("rollout"):
        torch.empty(2**58)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shape"), naming_the_field("learning"):
        raise RuntimeError("shape mismatch")
