"""A policy as it was: for sampling beside learning, which changes the policy in place."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from evenflow.policy.policy import Policy

Snapshot = list[Tensor]
"""The weights that training moves, on the CPU, in the order of the model's parameters."""


def snapshot(policy: Policy) -> Snapshot:
    """A copy of the policy's trained weights as they are now, as every forward pass takes them."""
    return [p.detach().to("cpu", copy=True) for p in trained(policy.model)]


class Follower:
    """A second policy, on the CPU, that is what the first one was at a snapshot.

    It holds the trained weights once more; frozen ones on the CPU, such as an adapter's base, are
    shared. It has no head, no critic and no reference: it is for sampling.
    """

    def __init__(self, policy: Policy) -> None:
        copies = {id(p): on_cpu(p) for p in policy.model.parameters()}
        # Buffers are constants (rotary frequencies); they are copied with their modules.
        model = copy.deepcopy(policy.model, dict[int, object](copies)).to("cpu")
        for module in model.modules():
            module.__dict__.pop("forward", None)  # compiled, around the first one's weights
        self.policy = Policy(
            model,
            compute_dtype=policy.compute_dtype,
            temperature=policy.temperature,
            chunk=policy.chunk,
            shares_prompts=policy.shares_prompts,
        )
        self.policy.eval()
        self.trained = trained(model)

    @torch.no_grad()
    def become(self, weights: Snapshot) -> Policy:
        """The policy of the snapshot, until the next call."""
        for parameter, value in zip(self.trained, weights, strict=True):
            parameter.copy_(value)
        return self.policy


def on_cpu(parameter: nn.Parameter) -> nn.Parameter:
    """A copy; what is frozen and there anyway is not copied."""
    if not parameter.requires_grad and parameter.device.type == "cpu":
        return parameter
    value = parameter.detach().to("cpu", copy=True)
    return nn.Parameter(value, requires_grad=parameter.requires_grad)


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that training moves."""
    return [p for p in model.parameters() if p.requires_grad]
