"""What a run states at its start, and the memory that it will take."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from evenflow.config import GIVEN, TrainConfig
from evenflow.config.effect import as_computed, cautions, idle_templates, without_effect
from evenflow.objectives import Choices, preset
from evenflow.policy.policy import Policy
from evenflow.policy.stops import ids_of, stop_ids
from evenflow.prompting import begun, unread
from evenflow.rollout.stopping import chat_ends
from evenflow.run.provenance import device_name
from evenflow.training.build import Questions
from evenflow.training.settle import memory_estimate

GIB = 2**30


def facts(
    config: TrainConfig,
    policy: Policy,
    questions: Questions,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> list[tuple[str, str]]:
    """What a person wants to know before the first step; with a tokenizer, where answers end."""
    parameters = sum(p.numel() for p in policy.model.parameters())
    trained = sum(p.numel() for p in policy.model.parameters() if p.requires_grad)
    rows = [
        ("algorithm", preset(config.algorithm).source),
        ("device", f"{device_name(policy.device)}, {str(policy.compute_dtype)[6:]} forward passes"),
        ("model", f"{config.model.path}, {parameters:,} parameters, {trained:,} trained"),
        ("questions", f"{len(questions.train):,} to train on, {len(questions.test):,} held out"),
        ("memory", "about " + memory_text(config, policy, questions)),
    ]
    if policy.device.type == "cuda" or policy.recomputes:
        kept = "computed again in backward" if policy.recomputes else "held until backward"
        asked = config.model.gradient_checkpointing is not None
        why = "model.gradient_checkpointing" if asked else "by what fits into memory"
        rows.append(("activations", f"{kept} ({why})"))
    if policy.compiler is not None and policy.compiler.working:
        rows.append(("compiled", "layers and log-probs, in learning and scoring"))
    if tokenizer is not None:
        first = (questions.train or questions.test)[0]
        rows.append(("first prompt", one_line(str(tokenizer.decode(list(first.ids))))))
        if lacking := unread(first.ids, tokenizer):
            rows.append(("take care", f"the first prompt: {lacking}"))
        rows.append(("answers end", ends_text(config, policy.model, questions, tokenizer)))
    objective = config.build_objective()
    if isinstance(objective, Choices):
        rows += objective.facts(config.setting)
    computed = as_computed(config, str(policy.compute_dtype)[6:])
    rows += [("no effect", sentence) for sentence in without_effect(computed)]
    chats = [isinstance(prompt.text, list) for prompt in questions.all]
    rows += [("no effect", sentence) for sentence in idle_templates(config.data, chats)]
    rows += [("take care", sentence) for sentence in cautions(config)]
    trained_on = {prompt.ids for prompt in questions.train}
    if both := sum(prompt.ids in trained_on for prompt in questions.test):
        rows.append(("take care", f"data.test: {both:,} of the held-out questions are trained on"))
    if sentence := begun([prompt.text for prompt in questions.all]):
        rows.append(("take care", sentence))
    return rows


def one_line(text: str, longest: int = 400) -> str:
    """A text as it is, but on one line, and its middle left out where it is long."""
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]} … {text[-half:]}"


def sample_text(row: Mapping[str, Any]) -> str:
    """A held-out question with the first of its answers, of a line of samples.jsonl."""
    prompt, answer, reward = row["prompt"], row["answers"][0], row["rewards"][0]
    asked = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    end = "" if row["finished"][0] else " … (cut off)"
    worth = "unknown" if reward is None else f"{reward:g}"
    return f"{one_line(asked, 160)} → {one_line(answer)}{end} (reward {worth})"


def how_to_go_on(config: TrainConfig, saved: Path, *, by_name: bool) -> str:
    """What to type to go on from a checkpoint; `by_name`: its rewards are those of the recipe."""
    if config.checkpoint.weights_only:
        return "nothing, for checkpoint.weights_only left the trainer's state out"
    if by_name and config.data.train != GIVEN:
        return f"evenflow train --resume {shlex.quote(str(saved.parent))}"
    return f"Trainer(config, resume=Path({str(saved)!r}), …)"


def ends_text(
    config: TrainConfig, model: Any, questions: Questions, tokenizer: PreTrainedTokenizerBase
) -> str:
    """The tokens that end an answer, and whether one of them comes from the chat template alone."""
    ends = chat_ends(questions.all, config.data, tokenizer, model)
    found = stop_ids([*config.rollout.stop, *ends], tokenizer, model)
    names = {end: str(tokenizer.convert_ids_to_tokens(end)) for end in found}
    named = (tokenizer.eos_token_id, *ids_of(model.generation_config.eos_token_id))
    added = [
        f"; {names[end]} is added, because the chat template ends a turn with it"
        for end in ends
        if end not in named
    ]
    return f"at {', '.join(names.values())}{''.join(added)}"


def memory_text(config: TrainConfig, policy: Policy, questions: Questions) -> str:
    """The estimate, with its largest parts."""
    parts = memory_estimate(config, policy, questions)
    shown = ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts.items())
    return f"{sum(parts.values()) / GIB:.2f} GiB ({shown})"


def true_log_z(config: TrainConfig, right: Sequence[float] | None) -> dict[str, float]:
    """`log_z/true`: the mean log Z of the objective's target over held-out questions, of each of
    which `right` has the chance that the reference is right (the policy's before the first step).
    Empty where it is not known."""
    objective = config.build_objective()
    if right is None or not isinstance(objective, Choices):
        return {}
    value = objective.true_log_z(right, config.setting)
    return {} if value is None else {"log_z/true": value}
