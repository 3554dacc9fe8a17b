"""Groups as plain tensors and lists, for a checkpoint, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch

from evenflow.data import Prompt
from evenflow.rewards import RewardResult
from evenflow.rollout.group import Group

Packed = dict[str, Any]


class Gone(LookupError):
    """A group belongs to a question that is not among the run's any more."""


@dataclass(frozen=True)
class Packing:
    """Writes a group's question as its place among the run's questions."""

    questions: Sequence[Prompt]

    def pack(self, groups: Sequence[Group]) -> list[Packed]:
        """Everything of the groups. A question may come twice among the run's, so it is known by
        identity."""
        places = {id(prompt): place for place, prompt in enumerate(self.questions)}
        return [self._pack(group, places[id(group.prompt)]) for group in groups]

    def unpack(self, packed: Sequence[Packed]) -> list[Group]:
        """The groups. Raises `Gone` where the run's questions are others now."""
        return [self._unpack(each) for each in packed]

    def _pack(self, group: Group, place: int) -> Packed:
        flat = [token for ids in group.answers for token in ids]
        judged = group.rewards
        return {
            "question": place,
            "key": group.prompt.key,
            "place": group.place,
            "lengths": [len(ids) for ids in group.answers],
            "ids": torch.tensor(flat, dtype=torch.int32),
            "logprobs": torch.tensor([p for row in group.logprobs for p in row]),
            "texts": group.texts,
            "finished": group.finished,
            "version": group.version,
            "versions": None
            if group.versions is None
            else torch.tensor([v for row in group.versions for v in row], dtype=torch.int32),
            "rewards": judged and (judged.total, judged.parts, judged.applied),
        }

    def _unpack(self, packed: Packed) -> Group:
        place, lengths = packed["question"], packed["lengths"]
        if place >= len(self.questions) or self.questions[place].key != packed["key"]:
            raise Gone(f"question {place} is another one than when its answers were sampled")

        def rows(values: torch.Tensor) -> list[list[Any]]:
            flat = values.tolist()
            return [flat[a:b] for a, b in pairwise(accumulate(lengths, initial=0))]

        return Group(
            place=packed["place"],
            prompt=self.questions[place],
            answers=rows(packed["ids"]),
            logprobs=rows(packed["logprobs"]),
            texts=packed["texts"],
            finished=packed["finished"],
            version=packed["version"],
            versions=None if packed["versions"] is None else rows(packed["versions"]),
            rewards=None if packed["rewards"] is None else RewardResult(*packed["rewards"]),
        )
