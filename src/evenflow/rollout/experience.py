"""A rollout batch: questions → answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedTokenizerBase

from evenflow.data import Prompt
from evenflow.policy.policy import Policy
from evenflow.rollout.decoding import decoder_of
from evenflow.rollout.embedded.generate import generate
from evenflow.rollout.sampling import Sampling


@dataclass(frozen=True)
class Group:
    """All answers to one question."""

    place: int
    """Which of the questions sampled together."""
    prompt: Prompt
    answers: list[list[int]]  # (G,) token ids, end token included
    texts: list[str]  # (G,) without special tokens
    finished: list[bool]  # (G,) False: cut off at the limit


@dataclass(frozen=True)
class Experience:
    """N answers, G to each question, question by question."""

    prompts: list[Prompt]  # (N,) the question of each answer
    answers: list[list[int]]  # (N,) token ids, end token included
    texts: list[str]  # (N,) without special tokens
    logprobs: Tensor  # (N, T) as sampled
    mask: Tensor  # (N, T)
    finished: Tensor  # (N,) False: cut off at the limit

    def __getitem__(self, rows: Sequence[int]) -> Experience:
        """The chosen answers."""
        index = torch.tensor(rows, device=self.mask.device)
        return Experience(
            prompts=[self.prompts[i] for i in rows],
            answers=[self.answers[i] for i in rows],
            texts=[self.texts[i] for i in rows],
            logprobs=self.logprobs[index],
            mask=self.mask[index],
            finished=self.finished[index],
        )

    @property
    def prompt_ids(self) -> list[tuple[int, ...]]:
        return [prompt.ids for prompt in self.prompts]


def merge(parts: Sequence[Experience]) -> Experience:
    """Several batches as one, padded to the longest."""
    width = max(part.mask.shape[1] for part in parts)

    def stack(tensors: Iterable[Tensor]) -> Tensor:
        return torch.cat([pad(tensor, (0, width - tensor.shape[1])) for tensor in tensors])

    return Experience(
        prompts=[prompt for part in parts for prompt in part.prompts],
        answers=[answer for part in parts for answer in part.answers],
        texts=[text for part in parts for text in part.texts],
        logprobs=stack(part.logprobs for part in parts),
        mask=stack(part.mask for part in parts),
        finished=torch.cat([part.finished for part in parts]),
    )


def sample(
    policy: Policy,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    num_generations: int,
    sampling: Sampling,
    *,
    seed: int | Sequence[int],
    max_batch: int,
    reference: bool = False,
    on_group: Callable[[Group], None] | None = None,
) -> Experience:
    """Sample `num_generations` answers to each prompt from the policy, or from its reference.

    `on_group` is told of each group once it is whole, while others are still sampled.
    """
    groups: dict[int, Group] = {}
    decode = decoder_of(tokenizer)

    def arrived(place: int, answers: list[list[int]], finished: list[bool]) -> None:
        spoken = [ids[:-1] if ended else ids for ids, ended in zip(answers, finished, strict=True)]
        texts = decode(prompts[place].ids, spoken)
        groups[place] = Group(place, prompts[place], answers, texts, finished)
        if on_group is not None:
            on_group(groups[place])

    def run(model: torch.nn.Module):
        with policy.autocast():
            return generate(
                model,  # pyright: ignore[reportArgumentType]
                [prompt.ids for prompt in prompts],
                num_generations,
                sampling,
                seed=seed,
                max_batch=max_batch,
                on_group=arrived,
            )

    if reference:
        with policy.as_reference() as model:
            rollout = run(model)
    else:
        rollout = run(policy.model)
    in_order = [groups[place] for place in range(len(prompts))]
    return Experience(
        prompts=[prompt for prompt in prompts for _ in range(num_generations)],
        answers=[ids for group in in_order for ids in group.answers],
        texts=[text for group in in_order for text in group.texts],
        logprobs=rollout.logprobs,
        mask=rollout.mask,
        finished=rollout.finished,
    )
