"""`flowbalance eval`: a model on the held-out questions of a recipe."""

from __future__ import annotations

from flowbalance.config import TrainConfig
from flowbalance.errors import UserError
from flowbalance.policy.loading import compute_dtype, load_model, load_tokenizer
from flowbalance.policy.policy import Policy
from flowbalance.training.run import choose_device, set_threads
from flowbalance.training.setup import build_held_out, build_rewards, load_questions


def evaluate(config: TrainConfig) -> dict[str, float]:
    """Scores of `config.model.path` by name; exact ones where right answers are listed."""
    set_threads(config)
    device = choose_device(config.device)
    tokenizer = load_tokenizer(config.model.path)
    dtype = compute_dtype(config.model, device)
    policy = Policy(
        load_model(config.model.path, dtype, config.model.attention),
        temperature=config.evaluation.temperature or 1.0,
        chunk=config.model.logprob_chunk,
        compute_dtype=dtype,
    ).to(device)
    questions = load_questions(config, tokenizer, training=False)
    held_out = build_held_out(config, questions, build_rewards(config), tokenizer, policy)
    if held_out is None:
        raise UserError(
            "eval: the recipe has no held-out questions; name some in data.test, and keep "
            "evaluation.every above 0"
        )
    return held_out.evaluate(policy, tokenizer)[0]
