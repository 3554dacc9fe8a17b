"""TRL's own loss code on tensors of ours, without its trainers' models, data and generation.

Its losses are methods of trainers that read a few attributes: `loss` calls the method on an object
with just these. What stands inside a longer method, such as an advantage, is run by `section`:
the method's own lines, from one to another. Both hold for the pinned release only.
"""

from __future__ import annotations

import inspect
import textwrap
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor


def section(method: Any, first: str, last: str, **names: Any) -> dict[str, Any]:
    """Run the lines of a method from the first that starts with `first` to the next that starts
    with `last`, and return the variables."""
    lines = inspect.getsource(method).splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith(first))
    stop = next(i for i in range(start, len(lines)) if lines[i].strip().startswith(last))
    scope = dict(inspect.unwrap(method).__globals__) | names
    exec(textwrap.dedent("\n".join(lines[start : stop + 1])), scope)
    return scope


def loss(
    trainer: type,
    logprobs: Tensor,
    mask: Tensor,
    inputs: dict[str, Tensor],
    entropies: Tensor | None = None,
    **settings: Any,
) -> Tensor:
    """`trainer._compute_loss` of one mini-batch on one process, without gradient accumulation."""
    entropies = torch.zeros_like(logprobs) if entropies is None else entropies
    accelerator = SimpleNamespace(
        num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x, sync_gradients=False
    )
    defaults = {
        "loss_type": "grpo",
        "importance_sampling_level": "token",
        "epsilon_low": 0.2,
        "epsilon_high": 0.2,
        "beta": 0.0,
        "max_completion_length": logprobs.shape[1],
        "top_entropy_quantile": 1.0,
        "off_policy_mask_threshold": None,
        "use_vllm": False,
        "aux_loss_enabled": False,
        "use_adaptive_entropy": False,
        "entropy_coef": 0.0,
        "current_gradient_accumulation_steps": 1,
    }
    settings = defaults | settings
    fake = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (logprobs, entropies, None),
        _entropy_bonus_enabled=settings["entropy_coef"] > 0,
        _metrics=defaultdict(lambda: defaultdict(list)),
        model=SimpleNamespace(training=True),
        accelerator=accelerator,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
        **settings,
    )
    tokens = torch.zeros(mask.shape, dtype=torch.long)
    batch = {
        "prompt_ids": tokens,
        "prompt_mask": mask.long(),
        "completion_ids": tokens,
        "completion_mask": mask.long(),
        "num_items_in_batch": mask.sum(),
    }
    return trainer._compute_loss(fake, None, batch | inputs)
