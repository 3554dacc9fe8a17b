"""What vLLM is given of a policy: its weights under the names that a checkpoint has, or its adapter
in a folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers.core_model_loading import revert_weight_conversion

from evenflow.errors import UserError
from evenflow.policy.policy import Policy

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Of adapters, for which vLLM can make room."""


def whole_model(policy: Policy) -> Any:
    """The Transformers model; of a policy with an adapter the one that is beneath it."""
    model: Any = policy.model
    return model.get_base_model() if policy.adapted else model


def named_weights(policy: Policy) -> dict[str, Tensor]:
    """The weights of `whole_model` by the names of a checkpoint, where they lie; but for experts
    that a checkpoint orders otherwise, which are copied.

    Tied embeddings stand there under both names: vLLM reads the head's weight where it is asked to
    load anew, and would keep the old one in silence.
    """
    return dict(revert_weight_conversion(whole_model(policy), _weights(policy)))


def shapes_of(policy: Policy) -> dict[str, tuple[int, ...]]:
    """By which one architecture is told from another."""
    return {name: tuple(tensor.shape) for name, tensor in _weights(policy).items()}


def _weights(policy: Policy) -> dict[str, Tensor]:
    """By the names of the model as it is without an adapter."""
    return {
        re.sub(r"\.base_layer(?=\.)", "", name): tensor.detach()
        for name, tensor in whole_model(policy).state_dict().items()
        if ".lora_" not in name
    }


def uses_adapter(policy: Policy) -> bool:
    """Whether the policy has an adapter that is switched on: its reference is itself without."""
    model: Any = policy.model
    return policy.adapted and model.get_model_status().enabled is True


def room_for_adapter(policy: Policy) -> int:
    """The smallest rank of vLLM's that holds the policy's adapter. UserError for a larger one."""
    model: Any = policy.model
    rank = max(config.r for config in model.peft_config.values())
    room = next((each for each in RANKS if each >= rank), None)
    if room is None:
        raise UserError(
            f"model.lora.rank: {rank} is more than vLLM's {RANKS[-1]}; lower it, or take "
            "rollout.engine=embedded"
        )
    return room


def save_adapter(policy: Policy, folder: Path) -> None:
    """Write the adapter alone, as PEFT does."""
    model: Any = policy.model
    model.save_pretrained(folder, save_embedding_layers=False)
