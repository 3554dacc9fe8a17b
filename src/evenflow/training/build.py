"""From a recipe to the parts of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from evenflow.config import GIVEN, DataConfig, HeadConfig, TrainConfig
from evenflow.config.effect import needs_reference
from evenflow.config.recipe import lacks_guide
from evenflow.data import Prompt, build_prompts, load_rows
from evenflow.errors import UserError
from evenflow.evaluation.heldout import HeldOut
from evenflow.machine import require_memory
from evenflow.policy.loading import build_policy, separator_id
from evenflow.policy.policy import Policy
from evenflow.policy.stops import stop_ids
from evenflow.rewards import Rewards, load_reward
from evenflow.rollout.engine import Engine, Limits, build_engine, limits_of, rest
from evenflow.rollout.sampling import Sampling
from evenflow.rollout.stopping import chat_ends, require_vocabulary
from evenflow.run.out_of_memory import naming_the_field
from evenflow.tasks import Task, checked_rows, get_task, rows_of

Rows = Iterable[Mapping[str, Any]]
TASK_QUESTIONS = 4096  # training questions of a task unless it or the recipe says otherwise


@dataclass(frozen=True)
class Questions:
    """The training questions, the held-out ones, and the task they come from, if any."""

    train: list[Prompt]
    test: list[Prompt]
    task: Task | None

    @property
    def all(self) -> tuple[Prompt, ...]:
        return (*self.train, *self.test)


def policy_to_train(
    config: TrainConfig,
    device: torch.device,
    tokenizer: PreTrainedTokenizerBase,
    checkpoint: Path | None,
) -> Policy:
    """The policy with the parts that the recipe's objective needs."""
    objective = config.build_objective()
    needs = objective.needs
    with naming_the_field("loading the model"):
        return build_policy(
            config.model,
            config.head if needs.head else None,
            critic=config.critic if needs.critic else None,
            reference=needs_reference(config, objective),
            temperature=config.rollout.temperature,
            device=device,
            tokenizer=tokenizer,
            checkpoint=checkpoint,
        )


def load_questions(
    config: TrainConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    training: bool = True,
    given: tuple[Rows, Rows] | None = None,
) -> Questions:
    """Read or make the questions and tokenize them; for training those that it will use. `given`
    are those that Python hands over, to train on and held out."""
    data = config.data
    train, test, task = read_rows(config, training=training, given=given)
    needs = config.build_objective().needs
    head = config.head if needs.head else None
    gold = gold_of(config, task) if needs.guide and train else None
    return Questions(
        train=tokenize(train, tokenizer, data, head, guide=needs.guide, gold=gold) if train else [],
        test=tokenize(test, tokenizer, data, head) if test else [],
        task=task,
    )


def read_rows(
    config: TrainConfig, *, training: bool = True, given: tuple[Rows, Rows] | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Task | None]:
    """The rows to train on, the held-out ones, and the task that they come from, if any; arguments
    as those of `load_questions`."""
    data, held_out, skip = config.data, config.evaluation.questions, config.evaluation.skip
    task = get_task(data.task, data.task_options) if data.task else None
    train, test = [], []
    if given is None and training and data.train == GIVEN:
        raise UserError(
            f"data.train: {GIVEN} stands for questions that Python hands to the trainer, which no "
            "command can: Trainer(config, questions=…), and with resume=CHECKPOINT to go on"
        )
    if given is not None and data.train != GIVEN:
        raise UserError(
            "questions: the recipe names others (data.task, data.train); leave these out, or set "
            f"data.task=null data.train={GIVEN}"
        )
    if given is not None:
        train = given_rows(given[0], "questions")[: data.train_questions]
        test = given_rows(given[1], "held_out")[skip : skip + held_out]
        test = test if config.evaluation.every else []
        if not train:
            raise UserError("questions: there are none to train on")
    elif training and task is not None:
        fewer = getattr(task, "TRAIN_QUESTIONS", TASK_QUESTIONS)
        train = rows_of(task, "train", data.train_questions or fewer, "data.train_questions")
    elif training and data.train is not None:
        train = load_rows(data.train, data.train_split)[: data.train_questions]
    if given is None and (not training or config.evaluation.every):
        there = []
        if task is not None:
            there = rows_of(task, "test", skip + held_out, "evaluation.questions")
        elif data.test is not None:
            there = load_rows(data.test, data.test_split)
        test = there[skip : skip + held_out]
        if there and not test:
            raise UserError(
                f"evaluation.skip: after the first {skip:,} no held-out question is left of "
                f"{len(there):,}"
            )
    return train, test, task


def given_rows(rows: Rows, name: str) -> list[dict[str, Any]]:
    """Rows from Python; UserError that names the argument where they are none."""
    if isinstance(rows, str | Mapping) or not isinstance(rows, Iterable):
        raise UserError(
            f"{name}: must be rows, each a mapping from column to value, not a "
            f"{type(rows).__name__}; a file is named by data.train and data.test"
        )
    return checked_rows(rows, name)


def tokenize(
    rows: list[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    data: DataConfig,
    head: HeadConfig | None,
    *,
    guide: bool = False,
    gold: Callable[[dict[str, Any]], str] | None = None,
) -> list[Prompt]:
    """Rows as prompts, with the recipe's templates; to `guide`, also with their gold answers, those
    of the recipe's template, or `gold` of a row."""
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
        guide_template=data.guide_template if guide else None,
        gold=gold,
        max_prompt_length=data.max_prompt_length,
        long_prompts=data.long_prompts,
    )


def gold_of(config: TrainConfig, task: Task | None) -> Callable[[dict[str, Any]], str] | None:
    """A right answer to a row, the first that the task lists; None where the recipe has a template
    for it. UserError where nothing tells it."""
    if config.data.guide_template is not None:
        return None
    solve = getattr(task, "row_solutions", None)
    if solve is None:
        raise UserError(lacks_guide(config.algorithm))

    def gold(columns: dict[str, Any]) -> str:
        solutions = solve(columns)
        if not solutions:
            raise UserError(
                f"data.task: {type(task).__name__}.row_solutions gave none for {columns!r:.80}, "
                f"and {config.algorithm} reads one of them"
            )
        return next(iter(solutions.values()))[0]

    return gold


def build_rewards(
    config: TrainConfig, given: Sequence[Callable] | Mapping[Callable, float] | None = None
) -> Rewards:
    """The recipe's reward functions, or the task's own, or those that Python hands over."""
    data, weights = config.data, config.reward.functions
    if given is not None:
        functions = given_functions(given)
    elif data.train == GIVEN and not weights:
        raise UserError("rewards: name them: Trainer(config, questions=…, rewards=[my_reward])")
    else:
        functions = [(path, load_reward(path), weight) for path, weight in weights.items()]
        if not functions and data.task:
            functions = [(data.task, get_task(data.task, data.task_options).reward, 1.0)]
    return Rewards(functions, timeout=config.reward.timeout)


def require_columns(rewards: Rewards, questions: Questions) -> None:
    """UserError where a reward asks for a column that no question has, or cannot read one."""
    for prompts in (questions.train, [] if questions.task else questions.test):
        if prompts:
            rewards.require_columns(dict.fromkeys(n for p in prompts for n in p.columns))
        for prompt in prompts:
            rewards.check(prompt.columns, f"the question {prompt.text!r:.80}")


def given_functions(
    given: Sequence[Callable] | Mapping[Callable, float],
) -> list[tuple[str, Callable, float]]:
    """(name, function, weight) of rewards from Python; UserError where they are none."""
    if callable(given) or isinstance(given, str) or not isinstance(given, Iterable):
        raise UserError(
            f"rewards: must be a list of functions, or function → weight, not {given!r:.80}"
        )
    pairs = given.items() if isinstance(given, Mapping) else [(each, 1.0) for each in given]
    for function, weight in pairs:
        if not callable(function):
            raise UserError(f"rewards: {function!r:.80} is no function")
        if not isinstance(weight, int | float):
            raise UserError(f"rewards: the weight of {name_of(function)} must be a number")
    return [(name_of(function), function, weight) for function, weight in pairs]


def name_of(function: Callable) -> str:
    """What a reward is called in metrics."""
    return getattr(function, "__name__", type(function).__name__)


def build_sampling(
    config: TrainConfig, tokenizer: PreTrainedTokenizerBase, model: Any, questions: Questions
) -> Sampling:
    """How answers are sampled in training, and where they end."""
    ends = chat_ends(questions.all, config.data, tokenizer, model)
    return Sampling(
        max_tokens=config.rollout.max_completion_length,
        temperature=config.rollout.temperature,
        stop_ids=stop_ids([*config.rollout.stop, *ends], tokenizer, model),
    )


def engine_for(
    config: TrainConfig,
    questions: Questions,
    tokenizer: PreTrainedTokenizerBase,
    policy: Policy,
) -> Engine:
    """The recipe's engine with this policy; refuses questions that it cannot answer."""
    rollout = config.rollout
    engine = build_engine(
        rollout.engine,
        tokenizer,
        rollout.max_batch,
        rollout.decoding,
        gpu_share=rollout.gpu_share,
        server=rollout.server,
        timeout=rollout.timeout,
    )
    engine.update(policy, 0)
    limits = limits_of(engine, questions.all)
    require_vocabulary(questions.all, tokenizer, policy.model)
    require_room(config, questions, limits)
    rest(engine)
    return engine


def build_held_out(
    config: TrainConfig,
    questions: Questions,
    rewards: Rewards,
    tokenizer: PreTrainedTokenizerBase,
    policy: Policy,
) -> HeldOut | None:
    """The evaluation of the recipe; None where there are no held-out questions."""
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
        tokenizer=tokenizer,
        num_generations=evaluation.num_generations,
        samples=evaluation.samples,
        seed=config.seed,
        budget=config.train.micro_batch_tokens,
    )


def require_room(config: TrainConfig, questions: Questions, limits: Limits) -> None:
    """Refuse questions whose answers would run beyond what can be sampled and trained on, and more
    answers than memory can hold."""
    longest = max(prompt.longest for prompt in questions.all)
    answer, limit = config.rollout.max_completion_length, limits.positions
    if limit is not None and longest + answer > limit:
        raise UserError(
            f"the longest prompt has {longest} tokens and rollout.max_completion_length is "
            f"{answer}, together more than the model's {limit} positions{limits.remark}; "
            "lower rollout.max_completion_length, or data.max_prompt_length with "
            "data.long_prompts=drop"
        )
    rollout, evaluation = config.rollout, config.evaluation
    for section, asked, n in (
        ("rollout", rollout.questions if questions.train else 0, rollout.num_generations),
        ("evaluation", len(questions.test), evaluation.num_generations),
    ):
        require_memory(
            asked * n * answer * limits.token_bytes,
            f"{section}.questions × {section}.num_generations × rollout.max_completion_length",
        )
