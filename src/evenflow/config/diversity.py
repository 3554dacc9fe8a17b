"""What `evenflow diversity ANSWERS…` is told."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from evenflow.bounds import AnyFloat, Count, NonNegativeCount, Seconds, Seed, TemperatureOrGreedy
from evenflow.config.sections import Section


class JudgeConfig(Section):
    model: str | None = None
    """Name on the server of a language model that scores from 1 to 5 how different the approaches
    are; it is sent whole answers. null: nobody judges."""
    base_url: str | None = None
    """Any OpenAI-compatible server, e.g. http://127.0.0.1:8000/v1; null: OPENAI_BASE_URL, else
    OpenAI. Its key is read from OPENAI_API_KEY."""
    repeats: Count = 3
    """How often a question is judged, its answers in another order each time."""
    seed: Seed = 0
    """Seed of these orders."""
    temperature: TemperatureOrGreedy | None = 0.0
    """Sampling temperature; null: not sent, for models that refuse one."""
    max_tokens: Count | None = None
    """Longest reply in tokens; null: the server's own limit."""
    parallel: Count = 8
    """Requests under way at once."""
    timeout: Seconds = 300.0
    """Seconds without a sign of the server after which a request is given up."""
    retries: NonNegativeCount = 5
    """How often a request that failed is tried again."""
    cache: str | None = None
    """File in which judgements are kept; null: judge.jsonl beside the result."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.model is None and self.model_fields_set - {"model"}:
            raise ValueError("model names who judges; without it the other fields change nothing")
        return self


class DiversityConfig(Section):
    """`evenflow diversity`."""

    output: str | None = None
    """Where the result of a single file is written; null: diversity.json beside answers.jsonl or
    samples.jsonl, NAME.diversity.json beside NAME.jsonl."""
    right_only: bool = False
    """Compare nothing but the right answers."""
    right: AnyFloat = 1.0
    """Reward from which an answer in samples.jsonl is right."""
    task: str | None = None
    """Built-in task that tells its solutions apart: countdown, programs."""
    task_options: dict[str, Any] = Field(default={})
    """Its arguments, as in data.task_options of the recipe, e.g. {operators: "+-*/"}."""
    embed: str | None = None
    """Sentence-embedding model that says how alike two answers are, a folder or a name; null: their
    words and word pairs do."""
    judge: JudgeConfig = JudgeConfig()

    @model_validator(mode="after")
    def _of_a_task(self) -> Self:
        if self.task_options and self.task is None:
            raise ValueError("task_options are a task's; name it with task=")
        return self
