"""How long a run will take, said before its first step."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.policy.policy import Policy
from evenflow.run.console import duration
from evenflow.training.build import Questions
from evenflow.training.devices import DEVICES, Device, measured_here
from evenflow.training.disk import disk_needed
from evenflow.training.plan import Lengths, plan

AFTER = "is known after the first step"
GPUS = {
    "H100": "h100",
    "H200": "h200",
    "A100-SXM4-80GB": "a100-80gb",
    "A100 80GB": "a100-80gb",
    "A100-SXM4-40GB": "a100-40gb",
    "A100-PCIE-40GB": "a100-40gb",
    "L40S": "l40s",
    "RTX 4090": "rtx4090",
    "T4": "t4",
}
"""What the names of GPUs have in them → the names of `DEVICES`."""


def resources(
    config: TrainConfig, policy: Policy, questions: Questions, folder: Path, steps: int
) -> list[tuple[str, str]]:
    """What is said of disk and time at a run's start."""
    return [
        ("disk", disk_needed(config, policy, folder)),
        ("time", time_left(config, policy.device, questions, steps)),
    ]


def time_left(config: TrainConfig, device: torch.device, questions: Questions, steps: int) -> str:
    """The time that so many steps take, as `evenflow plan` computes it: from arithmetic and what
    the device reaches, and for answers that all reach their limit."""
    known = known_device(device)
    if known is None or config.rollout.engine != "embedded" or not questions.train:
        return AFTER
    lengths = [len(question.ids) for question in questions.train]
    mean, longest = sum(lengths) / len(lengths), max(lengths)
    try:
        seconds = plan(config, known, Lengths(mean, longest, "the questions")).seconds
    except (
        UserError
    ):  # a run that goes on has its weights, wherever the model that it began with is
        return AFTER
    return (
        f"about {duration(steps * seconds)} for {steps:,} steps if all answers reach "
        f"rollout.max_completion_length; rewards, evaluation and checkpoints aside"
    )


def known_device(device: torch.device) -> Device | None:
    """What the device can do; None for a GPU without a row of its own: the memory that a
    measurement takes may be the model's."""
    if device.type != "cuda":
        return measured_cpu()
    name = torch.cuda.get_device_name(device)
    return next((DEVICES[key] for part, key in GPUS.items() if part in name), None)


@cache
def measured_cpu() -> Device:
    """The CPU with PyTorch's threads, measured for a tenth of a second, once a process."""
    return measured_here(within=0.05, gpu=False)
