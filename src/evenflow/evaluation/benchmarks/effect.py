"""Options that are set and change nothing."""

from __future__ import annotations

from collections.abc import Sequence

from evenflow.config import BenchmarkConfig
from evenflow.data import Row
from evenflow.evaluation.benchmarks.questions import find, is_file
from evenflow.evaluation.benchmarks.verdicts import PRESETS
from evenflow.tasks import TASKS


def without_effect(config: BenchmarkConfig, rows: Sequence[Row]) -> list[str]:
    """A sentence for each option that is not at its default, and yet changes nothing."""
    _, benchmark, source = find(config)
    grader = config.grader or benchmark.grader
    chats = [isinstance(row["prompt"], list) for row in rows]
    no_reward = grader in (*PRESETS, "code"), "only where the grader is a reward function"
    idle = {
        "split": (is_file(source or ""), "a file has no splits"),
        "task_options": (config.benchmark not in TASKS, "only a built-in task has options"),
        "gold_column": (grader in ("code", *TASKS), "the grader does not look at golds"),
        "right": no_reward,
        "grading_timeout": no_reward,
        "prompt_template": (bool(rows) and all(chats), "every question is chat messages already"),
        "chat_template_kwargs": (config.chat is False and not any(chats), "chat is false"),
        "gpu_share": (
            config.engine != "vllm" or config.server is not None,
            "only engine: vllm without a server takes a share of the GPU",
        ),
        "timeout": (config.server is None, "only a server is waited for"),
        "top_p": (config.temperature == 0, "temperature: 0 is greedy"),
    }
    defaults = BenchmarkConfig.model_fields
    return [
        f"{name}: {why}"
        for name, (no_effect, why) in idle.items()
        if no_effect
        and getattr(config, name) != defaults[name].get_default(call_default_factory=True)
    ]
