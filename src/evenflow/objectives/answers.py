"""What an objective sees of a batch: log-probabilities, rewards and who shares a question."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from evenflow.objectives.exponentials import exponential_minus_one

PER_TOKEN = (
    "old_logprobs",
    "ref_logprobs",
    "guide_logprobs",
    "values",
    "sampled_logprobs",
    "correction",
    "advantages",
    "returns",
)
PER_ANSWER = ("rewards", "groups", "log_z", "share", "signal", "prior", "emphasis")


@dataclass(frozen=True)
class Answers:
    """A batch of N answers of at most T tokens, made of whole groups, or a micro-batch of one.

    A group is the G answers that were sampled for one question. What a mask covers with 0 is never
    read: padding may hold anything, infinities included.
    """

    mask: Tensor
    """(N, T), 1 on the answer's tokens, the end token included."""
    rewards: Tensor
    """(N,), raw."""
    groups: Tensor
    """(N,) int64; answers to one question share a number. Any numbers, in any order."""
    old_logprobs: Tensor
    """(N, T), of the policy that sampled the answers."""
    ref_logprobs: Tensor | None = None
    """(N, T), of the reference."""
    guide_logprobs: Tensor | None = None
    """(N, T), of the reference when its prompt holds the question's gold answer too."""
    log_z: Tensor | None = None
    """(N,), a log Z without gradient: running, offline, or what `estimate` found."""
    share: Tensor | None = None
    """(N,), 1 / how often the same answer occurs in its group; None is all ones."""
    values: Tensor | None = None
    """(N, T) V(x, y_<t) of the critic, before it has learned from these answers."""
    sampled_logprobs: Tensor | None = None
    """(N, T) old log-probs as the sampler computed them, to be compared with the trainer's; no
    loss reads them."""
    correction: Tensor | None = None
    """(N, T), without gradient: what the loss is multiplied by, of each token or, where all of an
    answer's are one number, of each answer, because another policy sampled it (`correction`); None
    is all ones."""
    signal: Tensor | None = None
    """(N,), filled by `prepare` (balance): the normalised reward r̃."""
    prior: Tensor | None = None
    """(N,), filled by `prepare` (balance): γ·Σ_t log π_ref, lifted where the choices say so."""
    emphasis: Tensor | None = None
    """(N,), filled by `prepare` (balance): how much an answer counts, by its question and how rare
    it is; None is all ones."""
    advantages: Tensor | None = None
    """(N, T), filled by `prepare` (surrogate): the advantage of each token."""
    returns: Tensor | None = None
    """(N, T), filled by `prepare` (surrogate with a critic): what V is regressed onto."""

    def __post_init__(self) -> None:
        if self.mask.ndim != 2:
            raise ValueError(f"mask must be (N, T), not {tuple(self.mask.shape)}")
        for name in PER_TOKEN:
            require_shape(name, getattr(self, name), tuple(self.mask.shape))
        for name in PER_ANSWER:
            require_shape(name, getattr(self, name), tuple(self.mask.shape[:1]))
        if self.groups.is_floating_point() or self.groups.dtype == torch.bool:
            raise ValueError(f"groups must be whole numbers (int64), not {self.groups.dtype}")

    def __len__(self) -> int:
        return len(self.rewards)

    def __getitem__(self, index: Any) -> Answers:
        """The chosen rows of every field; `index` is a slice, a mask or a tensor of row numbers."""
        rows: dict[str, Any] = {}
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            rows[name] = None if value is None else value[index]
        return Answers(**rows)

    def replace(self, **changes: Tensor | None) -> Answers:
        """The same answers with some fields changed."""
        return dataclasses.replace(self, **changes)

    @property
    def lengths(self) -> Tensor:
        """(N,) |y|, the number of tokens; at least 1, so that an empty row divides nothing by 0."""
        return self.mask.to(self.old_logprobs.dtype).sum(-1).clamp(min=1)

    def token_sum(self, values: Tensor) -> Tensor:
        """(N, T) -> (N,): Σ_t over the answer's own tokens."""
        return torch.where(self.mask.bool(), values, 0.0).sum(-1)

    def token_mean(self, values: Tensor) -> Tensor:
        """(N, T) -> (N,): the mean over the answer's own tokens."""
        return self.token_sum(values) / self.lengths

    def require_whole(self) -> None:
        """Refuse a batch that nothing can be learned from: without answers or tokens, with a mask
        of other numbers than 0 and 1, or with rewards that are not numbers, which would spoil the
        whole group."""
        if not self.mask.bool().any():
            raise ValueError(
                f"mask {tuple(self.mask.shape)} has no token that counts; leave the batch out"
            )
        if bool(((self.mask != 0) & (self.mask != 1)).any()):
            raise ValueError("mask must hold 1 on an answer's tokens and 0 elsewhere, nothing else")
        require_finite("rewards", self.rewards.to(self.old_logprobs.dtype), "NaN or infinite")

    def require_one_piece(self) -> None:
        """Refuse tokens that do not stand in one piece at the left: a value of each token is held
        against that of the next."""
        mask = self.mask.bool()
        rows = (mask[:, 1:] & ~mask[:, :-1]).any(1).nonzero().flatten().tolist()
        if rows:
            raise ValueError(
                f"mask rows {rows[:8]} have a token after one that does not count; advantage: gae "
                "and log_z: flow need an answer's tokens in one piece, padding at the right alone"
            )


def require_shape(name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> None:
    """Refuse what is no tensor, or one that does not match the mask."""
    if tensor is None:
        return
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name} must be a tensor {shape}, not a {type(tensor).__name__}")
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must be {shape} to match mask, not {tuple(tensor.shape)}")


def require_finite(name: str, values: Tensor, are: str) -> None:
    """Refuse numbers (N,) or (N, T) of which some rows are not finite."""
    fine = torch.isfinite(values)
    fine = fine.all(-1) if fine.ndim > 1 else fine
    bad = (~fine).nonzero().flatten().tolist()
    if bad:
        raise ValueError(f"{name} must be finite, but rows {bad[:8]} are {are}")


def divergences(logprobs: Tensor, answers: Answers) -> dict[str, Tensor]:
    """How far the policy has moved, one number an answer, and how many tokens it has.

    ``tokens``: |y|, by which means over the answer's tokens are weighed to be means over tokens.
    ``kl_old``: mean_t (ρ_t − 1 − log ρ_t), ρ_t = π/π_old: nats a token; its expectation over
    tokens drawn from π_old is KL(π_old ‖ π), and it is never negative.
    ``kl_ref``: Σ_t log π/π_ref: nats an answer; its expectation over answers drawn from π is
    KL(π ‖ π_ref). Only where the reference is known.
    """
    log_ratio = torch.where(answers.mask.bool(), logprobs.detach() - answers.old_logprobs, 0.0)
    metrics = {
        "tokens": answers.mask.bool().sum(-1).to(log_ratio),
        "kl_old": (exponential_minus_one(log_ratio) - log_ratio).sum(-1) / answers.lengths,
    }
    if answers.ref_logprobs is not None:
        metrics["kl_ref"] = answers.token_sum(logprobs.detach() - answers.ref_logprobs)
    return metrics
