"""Activations computed again in backward instead of held: a third more time, far less memory."""

from __future__ import annotations

from typing import Any

from evenflow.errors import UserError
from evenflow.policy.policy import Policy
from evenflow.policy.states import trunk_of


def recompute_activations(policy: Policy) -> None:
    """Compute activations again in backward instead of holding them."""
    policy.shares_prompts = False  # recomputation knows no keys and values
    policy.recomputes = True
    if policy.compiler is not None and policy.compiler.layers:
        policy.compiler.recompute = True
        return
    for trunk in trained_trunks(policy):
        switch_checkpointing(trunk, True)
    policy.train(policy.training)  # it does so in training mode alone


def trained_trunks(policy: Policy) -> list[Any]:
    """The policy's, and the critic's own."""
    own = policy.critic.trunk if policy.critic is not None else None
    return [trunk_of(policy.model), *([] if own is None else [own])]


def switch_checkpointing(model: Any, on: bool) -> None:
    """Transformers' own recomputation of activations."""
    kind = "enable" if on else "disable"
    named = hasattr(model, "activation_checkpointing_enable")  # since late in Transformers 5
    switch = getattr(model, f"{'activation' if named else 'gradient'}_checkpointing_{kind}")
    try:
        switch(*([{"use_reentrant": False}] if on else []))
    except ValueError as error:
        raise UserError(f"model.gradient_checkpointing: {error}; set it to false") from error
