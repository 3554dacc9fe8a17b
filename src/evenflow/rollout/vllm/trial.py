"""What a server is tried with before it is relied on: does it compute what the policy computes?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from transformers import PreTrainedTokenizerBase

from evenflow.errors import UserError
from evenflow.policy.policy import Policy
from evenflow.policy.stops import vocabulary
from evenflow.rollout.sampling import Sampling
from evenflow.rollout.vllm.answers import Answer, parameters
from evenflow.rollout.vllm.client import FIELD

PROBE = "1 2 3 4 5 6 7 8"
"""Text that every tokenizer can spell."""
PROBE_TOKENS = 16
SHARPEST = 1e-3
"""By how much the log-prob of the one token that top-k leaves may differ from 0."""
TOLERANCE = 0.25
"""Nats a token by which the log-probs of the same weights may differ in the mean: bfloat16 makes
0.01 of them, another model more than 1."""


@dataclass(frozen=True)
class Trial:
    """Two requests for answers, and what these must be like."""

    prompt: list[int]
    sharp: dict[str, Any]
    """Sampling among the one likeliest token."""
    plain: dict[str, Any]
    """Sampling from the policy as it is trained, tempered."""

    @classmethod
    def of(cls, policy: Policy, tokenizer: PreTrainedTokenizerBase | None) -> Self:
        """The trial of servers that are to sample from this policy."""
        prompt = list(range(min(8, vocabulary(policy.model))))
        if tokenizer is not None:
            spelled = tokenizer.encode(PROBE, add_special_tokens=False)[:PROBE_TOKENS]
            prompt = spelled or prompt
        sharp, plain = Sampling(4, top_k=1), Sampling(8, policy.temperature)
        return cls(prompt, parameters(sharp, 1, 0), parameters(plain, 4, 0))


def require_processed(url: str, sharp: Sequence[Answer]) -> None:
    """Refuse a server whose log-probs are not those of the distribution that it draws from: of one
    token alone they are all 0."""
    if any(abs(value) > SHARPEST for answer in sharp for value in answer.logprobs):
        raise UserError(
            f"{FIELD}: {url} gives log-probs of another distribution than it draws from; start it "
            "with --logprobs-mode processed_logprobs"
        )


def require_same(url: str, policy: Policy, trial: Trial, plain: Sequence[Answer]) -> None:
    """Refuse a server whose log-probs are not the policy's."""
    own = policy.score([trial.prompt] * len(plain), [each.ids for each in plain]).tolist()
    gaps = [
        abs(ours - theirs)
        for row, answer in zip(own, plain, strict=True)
        for ours, theirs in zip(row, answer.logprobs, strict=False)  # padded
    ]
    gap = sum(gaps) / len(gaps)
    if not gap <= TOLERANCE:
        raise UserError(
            f"{FIELD}: {url} serves another model than the policy: it was given the same weights, "
            f"and its log-probs differ by {gap:.3g} nats a token in the mean; start it with the "
            "recipe's model.path, and without quantization"
        )
