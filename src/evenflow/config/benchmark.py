"""What `evenflow eval model.path=… benchmark=…` is told."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from evenflow.bounds import (
    AnyFloat,
    Count,
    NonNegativeCount,
    PositiveInt,
    Seconds,
    Seed,
    TemperatureOrGreedy,
    Template,
    Threads,
)
from evenflow.config.rollout import refuse_server
from evenflow.config.sections import Section


class SampledModel(Section):
    path: str
    """A run, a checkpoint, a model's folder or its Hugging Face name, or "builtin:countdown" and
    "builtin:programs"."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the forward pass; weights are kept in float32. auto: bfloat16 on a GPU
    that has it."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    """Attention implementation, as Transformers names it."""


class BenchmarkConfig(Section):
    """`evenflow eval` on a benchmark."""

    model: SampledModel
    benchmark: str
    """aime24, aime25, amc23, math500, minerva, olympiad, gsm8k, humaneval+, livecodebench,
    codeforces, a built-in task (countdown, programs, stories), or a file of questions."""
    data: str | None = None
    """The questions: a .jsonl, .json (also .gz) or .parquet file, or a Hugging Face dataset
    ("org/name" or "org/name:config"); null: the benchmark's own Hugging Face dataset."""
    split: str | None = None
    """Split of a Hugging Face dataset; null: the benchmark's own. livecodebench: v1 to v6."""
    questions: Count | None = None
    """Use only so many questions; null: all (a task: 200)."""
    skip: NonNegativeCount = 0
    """Questions left out before them."""
    task_options: dict[str, Any] = Field(default={})
    """Arguments of a built-in task, e.g. {numbers: 4, largest: 9, targets: [10, 40]}."""
    prompt_column: str | None = None
    """Column with the question, as text or as chat messages; null: the benchmark's own, in a file
    `prompt`, `problem` or `question`."""
    gold_column: str | None = None
    """Column with the right answer; null: the benchmark's own, in a file `answer`, `gold`,
    `final_answer` or `solution`."""
    prompt_template: Template | None = None
    """Text around the question, with column names in braces ({prompt} is the question); null: the
    benchmark's own."""
    chat: bool | None = None
    """Put questions through the chat template; null: as the run had them that the model comes from,
    else where the tokenizer has one."""
    system_prompt: str | None = None
    """System message put before the question (chat only); null: that of the run that the model
    comes from."""
    chat_template_kwargs: dict[str, Any] = Field(default={})
    """Arguments of the chat template, e.g. {enable_thinking: false}; empty: those of the run that
    the model comes from."""
    num_generations: Count = 16
    """Answers sampled to each question: the n of avg@n, and the largest k of pass@k."""
    temperature: TemperatureOrGreedy = 0.6
    """Sampling temperature; 0 is greedy."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Nucleus sampling; 1 keeps every token."""
    max_completion_length: Count | None = None
    """Longest answer in tokens, end token included; null: 8192, or what the model has room for
    after the longest prompt."""
    stop: list[str | int] = Field(default=[])
    """Further tokens that end an answer, beside the model's own end tokens and `rollout.stop` of
    the run that it comes from: numbers, or texts, each of which stands for every token that is
    decoded to just that."""
    grader: str | None = None
    """How answers are graded: math, dapo, math-verify, boxed-strict, code, or a reward function as
    package.module:function; null: the benchmark's own."""
    right: AnyFloat = 1.0
    """Reward from which an answer counts as right, where the grader is a reward function."""
    grading_timeout: Seconds = 60.0
    """Seconds that one call of a reward function may take; its answers are unknown after that, and
    are graded again when the evaluation is gone on with."""
    contest_ratings: str | None = None
    """codeforces: JSON file of past contests, their problems' points and participants' ratings
    (docs/evaluation.md); null: no rating is computed."""
    user_ratings: str | None = None
    """codeforces: JSON list of all users' ratings, for the percentile; null: none is computed."""
    seed: Seed = 0
    """Seed of everything random."""
    engine: str = "embedded"
    """What samples the answers: embedded, vllm (extra `vllm`), or an engine of your own as
    my_module:MyEngine."""
    server: str | list[str] | None = None
    """With engine vllm: the URL of a running vLLM server that samples, or those of several. null:
    vLLM runs in this process."""
    timeout: Seconds = 600.0
    """Seconds that a server may take for a question's answers, its queue included; after them it
    counts as lost. Raise it for long answers."""
    gpu_share: float = Field(default=0.4, gt=0, le=1)
    """Part of the GPU's memory that vLLM in this process takes for its weights and cache."""
    max_batch: PositiveInt = 512
    """Answers decoded at once; lower it when sampling runs out of memory."""
    output: str | None = None
    """Folder of the evaluation; null: runs/eval-<benchmark>-<time>. One that was interrupted is
    gone on with."""
    device: str = "auto"
    """"auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""
    threads: Threads | None = None
    """CPU threads; null: PyTorch's choice (OMP_NUM_THREADS, or all cores)."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if problem := refuse_server(self.engine, self.server):
            raise ValueError(problem)
        return self
