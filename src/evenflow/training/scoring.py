"""Rows of tensors from groups, made once: everything an objective wants to know of sampled answers
before it learns from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from evenflow.config import TrainConfig
from evenflow.objectives import Answers, Needs
from evenflow.objectives.groups import shares_of
from evenflow.policy.policy import Policy
from evenflow.rewards.overlong import overlong_penalty
from evenflow.rollout.group import Group


@dataclass(frozen=True)
class Rows:
    """N answers, group by group, as the learner wants them."""

    keys: list[str]
    """(N,) of the question."""
    prompt_ids: list[tuple[int, ...]]
    """(N,) token ids."""
    guide_ids: list[tuple[int, ...]]
    """(N,) token ids of the prompt with its gold answer; empty where nobody reads it."""
    answer_ids: list[list[int]]
    """(N,) token ids, the end token included."""
    versions: Tensor
    """(N,) int64, of the oldest policy that had a part in the answer."""
    answers: Answers
    """(N, T) tensors. Without old log-probs of their own these are the sampled ones."""
    scored: bool = False
    """Whether old log-probs are those of the policy before its first step on the rows: of the
    answers of its own version, where a correction acts of all."""
    before: int | None = None
    """The version that this is, where a correction acts: π_old of all answers. None: each answer's
    own version is."""

    @property
    def count(self) -> int:
        """How many groups there are; they are numbered from 0."""
        return int(self.answers.groups.max()) + 1

    def __getitem__(self, rows: list[int]) -> Rows:
        """Some of the answers."""
        index = torch.tensor(rows, device=self.versions.device)
        return replace(
            self,
            keys=[self.keys[i] for i in rows],
            prompt_ids=[self.prompt_ids[i] for i in rows],
            guide_ids=[self.guide_ids[i] for i in rows],
            answer_ids=[self.answer_ids[i] for i in rows],
            versions=self.versions[index],
            answers=self.answers[index],
        )

    def with_answers(self, answers: Answers) -> Rows:
        """The same rows, of which more is known."""
        return replace(self, answers=answers)


def to_rows(groups: Sequence[Group], rewards: Tensor, device: torch.device) -> Rows:
    """The answers of judged groups, numbered by group. `rewards` (N,) as the loss sees them."""
    of_each = [group for group in groups for _ in group.answers]
    numbers = [number for number, group in enumerate(groups) for _ in group.answers]
    ids = [answer for group in groups for answer in group.answers]
    logprobs = padded([row for group in groups for row in group.logprobs], device)
    lengths = torch.tensor([len(answer) for answer in ids], device=device)
    return Rows(
        keys=[group.prompt.key for group in of_each],
        prompt_ids=[group.prompt.ids for group in of_each],
        guide_ids=[group.prompt.guide for group in of_each],
        answer_ids=ids,
        versions=torch.tensor([v for group in groups for v in group.oldest], device=device),
        answers=Answers(
            mask=torch.arange(logprobs.shape[1], device=device) < lengths[:, None],
            rewards=rewards.to(device),
            groups=torch.tensor(numbers, device=device),
            old_logprobs=logprobs,
            sampled_logprobs=logprobs,
            share=shares_of(numbers, ids).to(device),
        ),
    )


def padded(rows: Sequence[Sequence[float]], device: torch.device) -> Tensor:
    """Rows of different lengths as (N, T) float32, 0 on padding."""
    parts = [torch.tensor(row, dtype=torch.float32) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True).to(device)


def rewards_of(groups: Sequence[Group], config: TrainConfig) -> tuple[Tensor, Tensor | None]:
    """(N,) rewards, the penalty for overlong answers taken off, and (N,) that, where there is one
    (DAPO, arXiv 2503.14476, eq. 13)."""
    rewards = torch.tensor([total for group in groups for total in group.total])
    limit, share = config.rollout.max_completion_length, config.reward.overlong_share
    if not share:
        return rewards, None
    lengths = [len(ids) for group in groups for ids in group.answers]
    penalty = torch.tensor([overlong_penalty(length, limit, share) for length in lengths])
    return rewards - penalty, penalty


def score(
    rows: Rows,
    policy: Policy,
    needs: Needs,
    config: TrainConfig,
    phase: Callable[[str], AbstractContextManager[None]],
    *,
    rescore: Tensor,
) -> Rows:
    """The rows with the log-probs of the reference, without and with gold answers, and the values
    of the critic, each where the objective needs it; and of the answers to `rescore`, (N,) bool,
    with old log-probs from the policy in place of the sampler's own."""
    budget, width = config.train.micro_batch_tokens, rows.answers.mask.shape[1]
    ids, found = (rows.prompt_ids, rows.answer_ids), {}

    def widen(scores: Tensor) -> Tensor:
        return pad(scores, (0, width - scores.shape[1]))

    scored = bool(rescore.any())
    if scored:
        with phase("old log-probs"):
            some = rows[rescore.nonzero()[:, 0].tolist()]
            old = rows.answers.old_logprobs.clone()
            old[rescore] = widen(policy.score(some.prompt_ids, some.answer_ids, budget=budget))
            found["old_logprobs"] = old
    if needs.reference or config.log.reference_kl:
        with phase("reference"):
            found["ref_logprobs"] = widen(policy.score(*ids, budget=budget, reference=True))
    if needs.guide:
        with phase("guide"):
            given = (rows.guide_ids, rows.answer_ids)
            found["guide_logprobs"] = widen(policy.score(*given, budget=budget, reference=True))
    if needs.values:
        with phase("critic"):
            found["values"] = widen(policy.score_values(*ids, budget=budget))
    return replace(rows, answers=rows.answers.replace(**found), scored=scored)
