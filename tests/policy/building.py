"""Policies from saved folders, trained a little and saved again."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_models import make_rows

from evenflow.config import ModelConfig
from evenflow.policy.loading import build_policy, load_tokenizer, save_parts
from evenflow.policy.policy import Policy
from evenflow.policy.tokens import collate
from evenflow.training.checkpoint import save_model

PROMPTS, ANSWERS = make_rows()
CPU = torch.device("cpu")


def build(folder: Path | str, head=None, checkpoint: Path | None = None, **model) -> Policy:
    config = ModelConfig(path=str(folder), **model)
    return build_policy(
        config,
        head,
        reference=True,
        temperature=1.0,
        device=CPU,
        tokenizer=load_tokenizer(str(checkpoint or folder)),
        checkpoint=checkpoint,
    )


def train(policy: Policy, steps: int = 2) -> None:
    """Steps that move every trainable weight, the head's included."""
    optimizer = torch.optim.SGD([p for p in policy.parameters() if p.requires_grad], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        logprobs, log_z = policy(collate(PROMPTS, ANSWERS))[:2]
        loss = -logprobs.mean() if log_z is None else -logprobs.mean() + (log_z - 1).square().mean()
        loss.backward()
        optimizer.step()


def saved(policy: Policy, tokenizer_of: Path | str, folder: Path) -> Path:
    folder.mkdir()
    save_model(policy.model, load_tokenizer(str(tokenizer_of)), folder)
    assert policy.head is not None
    save_parts(policy, folder, reference=False)
    return folder
