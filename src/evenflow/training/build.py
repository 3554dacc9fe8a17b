"""From a recipe to the parts of a run, and the facts that a run states at its start."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from evenflow.config import DataConfig, HeadConfig, RewardConfig, TrainConfig
from evenflow.config.effect import cautions, without_effect
from evenflow.data import Prompt, build_prompts, load_rows
from evenflow.errors import UserError
from evenflow.evaluation.heldout import HeldOut
from evenflow.machine import require_memory
from evenflow.objectives import PRESETS, Balance, effective_inverse_temperature
from evenflow.policy.loading import build_policy, separator_id
from evenflow.policy.policy import Policy
from evenflow.policy.reach import reach, remark
from evenflow.policy.stops import ids_of, stop_ids
from evenflow.rewards import Rewards, load_reward
from evenflow.rewards.right import advantage
from evenflow.rollout.embedded.decoder import check_model
from evenflow.rollout.sampling import TOKEN_BYTES, Sampling
from evenflow.rollout.stopping import chat_ends, require_vocabulary
from evenflow.run.out_of_memory import naming_the_field
from evenflow.tasks import Task, get_task

TASK_QUESTIONS = 4096  # training questions of a task unless it or the recipe says otherwise
GIB = 2**30


@dataclass(frozen=True)
class Questions:
    """The training questions, the held-out ones, and the task they come from, if any."""

    train: list[Prompt]
    test: list[Prompt]
    task: Task | None

    @property
    def all(self) -> tuple[Prompt, ...]:
        return (*self.train, *self.test)


def needs_reference(config: TrainConfig) -> bool:
    """Whether training scores answers by the reference, or samples from it."""
    needs = config.build_objective().needs
    return needs.reference or config.log.reference_kl or needs.log_z == "offline"


def policy_to_train(
    config: TrainConfig,
    device: torch.device,
    tokenizer: PreTrainedTokenizerBase,
    checkpoint: Path | None,
) -> Policy:
    """The policy with the parts that the recipe's objective needs."""
    needs = config.build_objective().needs
    with naming_the_field("loading the model"):
        return build_policy(
            config.model,
            config.head if needs.log_z == "head" else None,
            critic=config.critic if needs.values else None,
            reference=needs_reference(config),
            temperature=config.rollout.temperature,
            device=device,
            tokenizer=tokenizer,
            checkpoint=checkpoint,
        )


def load_questions(
    config: TrainConfig, tokenizer: PreTrainedTokenizerBase, *, training: bool = True
) -> Questions:
    """Read or make the questions and tokenize them; for training those that it will use."""
    data, held_out, skip = config.data, config.evaluation.questions, config.evaluation.skip
    task = get_task(data.task, data.task_options) if data.task else None
    train, test = [], []
    if training and task is not None:
        fewer = getattr(task, "TRAIN_QUESTIONS", TASK_QUESTIONS)
        train = task.rows("train", data.train_questions or fewer)
    elif training and data.train is not None:
        train = load_rows(data.train, data.train_split)[: data.train_questions]
    if not training or config.evaluation.every:
        if task is not None:
            test = task.rows("test", skip + held_out)[skip:]
        elif data.test is not None:
            test = load_rows(data.test, data.test_split)[skip : skip + held_out]
    head = config.head if config.build_objective().needs.log_z == "head" else None
    return Questions(
        train=tokenize(train, tokenizer, data, head) if train else [],
        test=tokenize(test, tokenizer, data, head) if test else [],
        task=task,
    )


def tokenize(
    rows: list[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    data: DataConfig,
    head: HeadConfig | None,
) -> list[Prompt]:
    """Rows as prompts, with the recipe's templates."""
    return build_prompts(
        rows,
        tokenizer,
        prompt_column=data.prompt_column,
        system_prompt=data.system_prompt,
        chat=data.chat,
        chat_template=data.chat_template,
        chat_template_kwargs=data.chat_template_kwargs,
        prompt_template=data.prompt_template,
        separator_id=separator_id(head, tokenizer),
        max_prompt_length=data.max_prompt_length,
        long_prompts=data.long_prompts,
    )


def build_rewards(config: TrainConfig) -> Rewards:
    """The recipe's reward functions, or the task's own."""
    data, weights = config.data, config.reward.functions
    functions = [(path, load_reward(path), weight) for path, weight in weights.items()]
    if not functions and data.task:
        functions = [(data.task, get_task(data.task, data.task_options).reward, 1.0)]
    return Rewards(functions, timeout=config.reward.timeout)


def build_sampling(
    config: TrainConfig,
    tokenizer: PreTrainedTokenizerBase,
    model: Any,
    questions: Questions | None = None,
) -> Sampling:
    """How answers are sampled in training; refuses a model that cannot be sampled from."""
    try:
        check_model(model)
    except ValueError as error:
        raise UserError(f"model.path: {error}") from error
    ends = chat_ends(questions.all if questions else (), config.data, tokenizer, model)
    return Sampling(
        max_tokens=config.rollout.max_completion_length,
        temperature=config.rollout.temperature,
        stop_ids=stop_ids([*config.rollout.stop, *ends], tokenizer, model),
    )


def build_held_out(
    config: TrainConfig,
    questions: Questions,
    rewards: Rewards,
    tokenizer: PreTrainedTokenizerBase,
    policy: Policy,
) -> HeldOut | None:
    """The evaluation of the recipe; None where there are no held-out questions."""
    require_vocabulary(questions.all, tokenizer, policy.model)
    require_room(config, questions, policy.model)
    evaluation = config.evaluation
    if not questions.test:
        return None
    solve = getattr(questions.task, "row_solutions", None)
    return HeldOut(
        prompts=questions.test,
        solutions=[solve(prompt.columns) for prompt in questions.test] if solve else None,
        rewards=rewards,
        right=config.reward.right,
        sampling=replace(
            build_sampling(config, tokenizer, policy.model, questions),
            temperature=evaluation.temperature,
            top_p=evaluation.top_p,
        ),
        num_generations=evaluation.num_generations,
        samples=evaluation.samples,
        seed=config.seed,
        max_batch=config.rollout.max_batch,
        budget=config.train.micro_batch_tokens,
    )


def require_room(config: TrainConfig, questions: Questions, model: Any) -> None:
    """Refuse questions whose answers would run beyond what the model can be trained on, and more
    answers than memory can hold."""
    lengths = [len(prompt.ids) for prompt in questions.all]
    limit, longest = reach(model, lengths), max(lengths)
    answer = config.rollout.max_completion_length
    if limit is not None and longest + answer > limit:
        raise UserError(
            f"the longest prompt has {longest} tokens and rollout.max_completion_length is "
            f"{answer}, together more than the model's {limit} positions{remark(model, limit)}; "
            "lower rollout.max_completion_length, or data.max_prompt_length with "
            "data.long_prompts=drop"
        )
    rollout, evaluation = config.rollout, config.evaluation
    for section, asked, n in (
        ("rollout", rollout.questions if questions.train else 0, rollout.num_generations),
        ("evaluation", len(questions.test), evaluation.num_generations),
    ):
        require_memory(
            asked * n * answer * TOKEN_BYTES,
            f"{section}.questions × {section}.num_generations × rollout.max_completion_length",
        )


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
        ("algorithm", PRESETS[config.algorithm].source),
        ("device", f"{device_name(policy.device)}, {str(policy.compute_dtype)[6:]} forward passes"),
        ("model", f"{config.model.path}, {parameters:,} parameters, {trained:,} trained"),
        ("questions", f"{len(questions.train):,} to train on, {len(questions.test):,} held out"),
        ("memory", "about " + memory_text(config, policy, questions)),
    ]
    if tokenizer is not None:
        rows.append(("answers end", ends_text(config, policy.model, questions, tokenizer)))
    objective = config.build_objective()
    if isinstance(objective, Balance):
        rows.append(("target", target_text(objective, config.reward)))
    rows += [("no effect", sentence) for sentence in without_effect(config)]
    rows += [("take care", sentence) for sentence in cautions(config)]
    return rows


def target_text(objective: Balance, reward: RewardConfig) -> str:
    """How much likelier a right answer is to become than a wrong one."""
    right, of_token = advantage(reward.functions, reward.right), objective.scale == "mean"
    nats, odds = effective_inverse_temperature(objective, right=right)
    # Rewards normalised by their spread in the group have lost their weights.
    weight = "" if objective.reward == "group" or right == 1 else f"·{right:g}"
    asked = f"{odds:,.3g} : 1" if math.isfinite(odds) else "beyond e^700 : 1"
    return (
        f"β{weight}/s = {nats:.3g} nats{' per token of the answer' if of_token else ''}: "
        f"right : wrong = {asked}, times the reference's odds"
        f"{' (one token, half the group right)' if of_token else ''}"
    )


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


def device_name(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def memory_text(config: TrainConfig, policy: Policy, questions: Questions) -> str:
    """The estimate, with its largest parts."""
    parts = memory_estimate(config, policy, questions)
    shown = ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts.items())
    return f"{sum(parts.values()) / GIB:.2f} GiB ({shown})"


def memory_estimate(config: TrainConfig, policy: Policy, questions: Questions) -> dict[str, float]:
    """Bytes by purpose; activations by the usual rule of 34 bytes × hidden × layers a token
    (Korthikanti et al., arXiv 2205.05198, without attention matrices), the rest counted."""
    model: Any = policy.model
    shape = model.config.get_text_config()
    trained = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    held = sum(p.numel() * p.element_size() for p in policy.parameters())
    half = 2 if policy.compute_dtype != torch.float32 else 4
    longest = max(len(prompt.ids) for prompt in questions.train or questions.test)
    heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
    size = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    cached = 2 * half * shape.num_hidden_layers * heads * size  # keys and values of a token
    answers = config.rollout.questions * config.rollout.num_generations
    decoded = min(config.rollout.max_batch, answers)  # at once
    reach = longest + config.rollout.max_completion_length
    recomputed = config.model.gradient_checkpointing
    if recomputed is None:  # as `policy.loading.build_policy` decides
        recomputed = policy.device.type == "cuda"
    layers = 1 if recomputed else shape.num_hidden_layers
    tokens = min(config.train.micro_batch_tokens, answers * reach)
    return {
        "weights": float(held),
        "gradients and Adam": 12.0 * trained,
        "sampling cache": float(decoded * reach * cached),
        "activations": 17.0 * half * shape.hidden_size * layers * tokens
        + half * shape.hidden_size * shape.num_hidden_layers * tokens,
        "logits": 12.0 * min(config.model.logprob_chunk, tokens) * shape.vocab_size,
    }
