"""An optimiser step's numbers, from the answers of all its steps and processes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate.utils import gather_object
from torch import Tensor

from evenflow.objectives import Balance


def summarise(choices: Balance, window: Sequence[dict[str, Tensor]]) -> dict[str, float]:
    """`choices.summarise` over the rows of every process; each has a `group` beside the loss's
    metrics, (n,). None where no answer counts. Histograms are left out: TRL averages numbers."""
    # How many answers count differs between processes, so that objects are gathered, not tensors.
    here = [{name: values.tolist() for name, values in part.items()} for part in window]
    parts = [part for part in gather_object(here) if part["group"]]
    if not parts:
        return {}
    whole = {name: torch.tensor([x for part in parts for x in part[name]]) for name in parts[0]}
    found = choices.summarise(whole)
    return {name: value for name, value in found.items() if isinstance(value, float)}


def reference_kl(logprobs: Tensor, reference: Tensor) -> Tensor:
    """(B, T) TRL's estimate of the KL to the reference at each token, k3; reported only."""
    log_ratio = reference - logprobs
    return log_ratio.exp() - log_ratio - 1
