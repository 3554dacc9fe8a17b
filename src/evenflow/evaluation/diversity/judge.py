"""A language model's opinion on how different the approaches are, with its failures and doubts."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from evenflow.errors import UserError
from evenflow.evaluation.diversity import rubric
from evenflow.evaluation.diversity.agreement import agreement
from evenflow.evaluation.diversity.cache import Cache, key_of
from evenflow.evaluation.diversity.client import Client, Messages, RequestFailed, Server
from evenflow.evaluation.diversity.measure import mean
from evenflow.evaluation.diversity.reading import Question

ATTEMPTS = 2  # a reply without a score is answered once with the form; then it is a failure
SAID = ("score", "reason", "prompt_tokens", "completion_tokens")
"""What is kept of a judgement."""

Progress = Callable[[int, dict[str, str]], None]


@dataclass(frozen=True)
class Judgement:
    """One showing of one question's answers."""

    question: int
    repeat: int
    score: int | None
    """None: a failure, never a number."""
    reason: str
    """The judge's, or why it failed."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: bool = False


@dataclass(frozen=True)
class Judge:
    """Who judges, how often, and how many requests are under way at once."""

    server: Server
    repeats: int = 3
    seed: int = 0
    parallel: int = 8

    def messages(self, question: Question, repeat: int) -> Messages:
        """The whole answers in the order of this repeat."""
        answers = [answer.text for answer in question.answers]
        order = rubric.shuffled(answers, self.seed, question.key, repeat)
        return [{"role": "user", "content": rubric.prompt(question.prompt or "", order)}]

    def key(self, messages: Messages, repeat: int) -> str:
        """Under which a judgement is kept: all that could change it, not where the server is."""
        server = self.server
        return key_of(
            model=server.model,
            temperature=server.temperature,
            max_tokens=server.max_tokens,
            messages=messages,
            repeat=repeat,
        )

    def kept(self, questions: Sequence[Question], cache: Cache) -> dict[tuple[int, int], Judgement]:
        """(question, repeat) → judgement, of those in the cache."""
        found = {}
        for number, question in self.asked(questions):
            for repeat in range(self.repeats):
                key = self.key(self.messages(question, repeat), repeat)
                if (entry := cache.entries.get(key)) is not None:
                    values = {name: entry[name] for name in SAID}
                    found[number, repeat] = Judgement(number, repeat, **values, cached=True)
        return found

    @staticmethod
    def asked(questions: Sequence[Question]) -> list[tuple[int, Question]]:
        """Those with something to compare."""
        return [(i, question) for i, question in enumerate(questions) if len(question.answers) > 1]

    async def judgements(
        self,
        questions: Sequence[Question],
        cache: Cache,
        progress: Progress = lambda _done, _shown: None,
    ) -> list[Judgement]:
        """Every question `repeats` times, what is in the cache first; in order.

        UserError, with all else stopped, where no request can succeed. What has been judged is in
        the cache at once, also when this is cancelled.
        """
        results = self.kept(questions, cache)
        numbered = self.asked(questions)
        missing = [
            (number, question, repeat)
            for repeat in range(self.repeats)  # an interrupted run has judged every question first
            for number, question in numbered
            if (number, repeat) not in results
        ]
        if not missing:
            return [results[at] for at in sorted(results)]
        client, room = Client(self.server), asyncio.Semaphore(self.parallel)
        failed = tokens = 0  # those in the cache have a score, and cost nothing

        async def one(number: int, question: Question, repeat: int) -> None:
            nonlocal failed, tokens
            async with room:
                done = await self._one(client, number, question, repeat, cache)
            results[number, repeat] = done
            failed += done.score is None
            tokens += done.prompt_tokens + done.completion_tokens
            progress(len(results), shown(failed, tokens))

        try:
            async with asyncio.TaskGroup() as group:
                for task in missing:
                    group.create_task(one(*task))
        except BaseExceptionGroup as errors:
            ours = [error for error in errors.exceptions if isinstance(error, UserError)]
            raise (ours or errors.exceptions)[0] from None
        finally:
            await client.close()
        return [results[at] for at in sorted(results)]

    async def _one(
        self, client: Client, number: int, question: Question, repeat: int, cache: Cache
    ) -> Judgement:
        messages = self.messages(question, repeat)
        key = self.key(messages, repeat)
        prompt_tokens = completion_tokens = 0
        failure = ""
        for _ in range(ATTEMPTS):
            try:
                reply = await client.ask(messages)
            except RequestFailed as error:
                failure = str(error)
                break  # the client has tried again by itself
            prompt_tokens += reply.prompt_tokens
            completion_tokens += reply.completion_tokens
            try:
                score, reason = rubric.parse(reply.text, reply.cut)
            except rubric.NoScore as error:
                failure = f"{error} (cut off at the limit of tokens)" if reply.cut else str(error)
                messages = [
                    *messages[:1],
                    {"role": "assistant", "content": reply.text},
                    {"role": "user", "content": rubric.AGAIN},
                ]
                continue
            done = Judgement(number, repeat, score, reason, prompt_tokens, completion_tokens)
            said = {name: getattr(done, name) for name in SAID}
            whose = {"id": question.key, "model": self.server.model, "repeat": repeat}
            cache.put(key, whose | said)
            return done
        return Judgement(number, repeat, None, failure, prompt_tokens, completion_tokens)

    def describe(self) -> dict[str, Any]:
        """What a reader must know to judge the same."""
        return {
            "model": self.server.model,
            "server": self.server.address,
            "temperature": self.server.temperature,
            "max_tokens": self.server.max_tokens,
            "repeats": self.repeats,
            "seed": self.seed,
        }


def shown(failed: int = 0, tokens: int = 0) -> dict[str, str]:
    """What stands beside the bar."""
    return {"failed": str(failed), "tokens": f"{tokens:,}"}


def scores_of(judgements: Sequence[Judgement], questions: int) -> list[list[int]]:
    """The scores of each question, in the order of the repeats; failures have none."""
    scores: list[list[int]] = [[] for _ in range(questions)]
    for done in judgements:
        if done.score is not None:
            scores[done.question].append(done.score)
    return scores


def summary(judgements: Sequence[Judgement], questions: Sequence[Question]) -> dict[str, Any]:
    """The mean of the questions' mean scores, and everything that qualifies it.

    A question all of whose judgements failed has no score and is not in the mean.
    """
    scores = scores_of(judgements, len(questions))
    fresh = [done for done in judgements if not done.cached]
    failed = [done for done in judgements if done.score is None]
    return {
        **mean([fmean(own) if own else math.nan for own in scores]),
        "distribution": {
            str(score): sum(done.score == score for done in judgements) for score in rubric.BOUNDS
        },
        "agreement": agreement(scores),
        "judgements": len(judgements) - len(failed),
        "failures": {
            "count": len(failed),
            "reasons": dict(Counter(done.reason for done in failed).most_common()),
            "which": [
                {"id": questions[done.question].key, "repeat": done.repeat, "reason": done.reason}
                for done in failed
            ],
        },
        "not_judged": len(questions) - len(Judge.asked(questions)),
        "cached": len(judgements) - len(fresh),
        "tokens": {
            name: {
                "prompt": sum(done.prompt_tokens for done in of),
                "completion": sum(done.completion_tokens for done in of),
            }
            for name, of in (("all", judgements), ("this run", fresh))
        },
    }
