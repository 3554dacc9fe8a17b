"""`evenflow eval`: a model on the held-out questions of a recipe."""

from __future__ import annotations

import torch

from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.policy.loading import (
    compute_dtype,
    load_model,
    load_tokenizer,
    make_room,
    separator_id,
)
from evenflow.policy.policy import Policy
from evenflow.run.folder import choose_device, set_threads
from evenflow.training.build import build_held_out, build_rewards, engine_for, load_questions


def evaluate(config: TrainConfig) -> dict[str, float]:
    """Scores of `config.model.path` by name; exact ones where right answers are listed."""
    set_threads(config)
    device = choose_device(config.device)
    tokenizer = load_tokenizer(config.model.path)
    questions = load_questions(config, tokenizer, training=False)
    if not questions.test:
        raise UserError("data.test: eval needs held-out questions; name a file or dataset")
    policy = Policy(  # weights in float32, as in training, so that the numbers are the same
        load_model(config.model.path, torch.float32, config.model.attention),
        chunk=config.model.logprob_chunk,
        compute_dtype=compute_dtype(config.model, device),
    ).to(device)
    separator = separator_id(config.head, tokenizer)
    if separator is not None and config.build_objective().needs.head:
        make_room(policy.model, separator)
    engine = engine_for(config, questions, tokenizer, policy)
    held_out = build_held_out(config, questions, build_rewards(config), tokenizer, policy)
    assert held_out is not None
    return held_out.evaluate(policy, engine).scores
