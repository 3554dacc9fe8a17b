"""What tasks share whose every right answer can be listed."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, Protocol, Self, TypeVar

from evenflow.errors import UserError


def refuse_twice(operators: Sequence[str], whose: str) -> None:
    """Refuse an operator that is named twice: each right answer with it would be listed twice, and
    count so."""
    if twice := [sign for place, sign in enumerate(operators) if sign in operators[:place]]:
        raise UserError(f"{whose} operators: {twice[0]!r} stands there twice")


class Question(Protocol):
    """A question of such a task."""

    @property
    def prompt(self) -> str:
        """The text the policy is conditioned on."""
        ...

    @property
    def identity(self) -> object:
        """What makes two questions the same."""
        ...

    @classmethod
    def read(cls, prompt: str) -> Self:
        """The question of a prompt; ValueError where it is none."""
        ...


Q = TypeVar("Q", bound=Question)


class Listed(ABC, Generic[Q]):
    """Three disjoint splits of the questions, and right answers by solution."""

    QUESTION: type[Q]
    SPLITS: ClassVar = {"pretrain": range(45), "train": range(45, 90), "test": range(90, 100)}

    @abstractmethod
    def answers(self, question: Q) -> tuple[str, ...]:
        """Every right answer, in every spelling that `verify` accepts."""

    @abstractmethod
    def canonical(self, question: Q, text: str) -> str | None:
        """The solution that a right answer spells; None for any other text."""

    def split_of(self, question: Q) -> str:
        """The split that a question belongs to; the same on every machine, for every seed."""
        digest = hashlib.blake2b(repr(question.identity).encode(), digest_size=8).digest()
        bucket = int.from_bytes(digest, "big") % 100
        return next(name for name, buckets in self.SPLITS.items() if bucket in buckets)

    def verify(self, question: Q, text: str) -> bool:
        """Whether a text is a right answer, to the letter; any text may be asked about."""
        return self.canonical(question, text) is not None

    def solutions(self, question: Q) -> dict[str, list[str]]:
        """The right answers by solution: canonical form → its spellings."""
        grouped: dict[str, list[str]] = {}
        for answer in self.answers(question):
            form = self.canonical(question, answer)
            assert form is not None, f"{answer} is listed but not verified"
            grouped.setdefault(form, []).append(answer)
        return grouped

    def question_of(self, prompt: str) -> Q:
        """The question of a prompt; ValueError where it is none of the task's."""
        question = self.QUESTION.read(prompt)
        if question.prompt != prompt:
            raise ValueError(f"not a question: {prompt}")
        return question
