"""From a recipe to the parts of a run, and what it states at its start."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.policy.loading import build_policy, load_model, load_tokenizer
from evenflow.policy.policy import Policy
from evenflow.policy.stops import stop_ids
from evenflow.rollout import Limits, Sampling
from evenflow.rollout.embedded.generate import generate
from evenflow.rollout.embedded.refill import largest_shape
from evenflow.rollout.embedded.static import StaticDecoding
from evenflow.training.build import (
    Questions,
    build_sampling,
    engine_for,
    load_questions,
    require_room,
)
from evenflow.training.facts import facts
from evenflow.training.settle import memory_estimate

Make = Callable[..., TrainConfig]


def parts(config: TrainConfig) -> tuple[Policy, Questions, Any]:
    tokenizer = load_tokenizer(config.model.path)
    policy = build_policy(
        config.model,
        config.head if config.build_objective().needs.head else None,
        reference=True,
        temperature=1.0,
        device=torch.device("cpu"),
        tokenizer=tokenizer,
    )
    return policy, load_questions(config, tokenizer), tokenizer


# --- questions -------------------------------------------------------------------------------


def test_no_held_out_questions_are_made_for_nothing(recipe: Make) -> None:
    tokenizer = load_tokenizer(recipe().model.path)
    assert load_questions(recipe(), tokenizer).test == []
    assert len(load_questions(recipe("evaluation.every=1"), tokenizer).test) == 200
    evaluated = load_questions(recipe("evaluation.questions=7"), tokenizer, training=False)
    assert (len(evaluated.train), len(evaluated.test)) == (0, 7)


def test_a_file_is_cut_to_the_questions_asked_for(recipe: Make, tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{i}>"}) + "\n" for i in range(9)))
    config = recipe("data.task=null", f"data.train={path}", "data.train_questions=5")
    assert len(load_questions(config, load_tokenizer(config.model.path)).train) == 5


def test_only_a_head_that_is_there_puts_a_separator_into_the_prompt(recipe: Make) -> None:
    pooling = "head.pooling=separator"
    _, without, tokenizer = parts(recipe("algorithm=tba", pooling))
    assert "<|separator|>" not in tokenizer.get_vocab()
    policy, questions, tokenizer = parts(recipe("algorithm=flowrl", pooling))
    added = tokenizer.convert_tokens_to_ids("<|separator|>")
    assert questions.train[0].ids == (*without.train[0].ids, added)
    assert added < policy.model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]


# --- room, stop tokens -----------------------------------------------------------------------


def test_answers_must_fit_the_models_positions(recipe: Make) -> None:
    config = recipe()
    policy, questions, tokenizer = parts(config)
    longest = max(len(prompt.ids) for prompt in questions.train)
    fits = recipe(f"rollout.max_completion_length={64 - longest}")
    limits = engine_for(fits, questions, tokenizer, policy).limits(questions.all)
    require_room(fits, questions, limits)
    too_long = recipe(f"rollout.max_completion_length={65 - longest}")
    with pytest.raises(UserError) as caught:
        require_room(too_long, questions, limits)
    said = str(caught.value)
    assert f"{longest} tokens and rollout.max_completion_length is {65 - longest}" in said
    assert "the model's 64 positions" in said
    assert "data.max_prompt_length" in said


def test_a_model_without_a_limit_has_room(recipe: Make) -> None:
    config = recipe("rollout.max_completion_length=100000")
    questions = load_questions(config, load_tokenizer(config.model.path))
    require_room(config, questions, Limits(positions=None))


def test_all_ends_of_an_answer(recipe: Make) -> None:
    config = recipe()
    tokenizer = load_tokenizer(config.model.path)
    model: Any = load_model(config.model.path, torch.float32)
    assert stop_ids([], tokenizer, model) == (1,)
    model.generation_config.eos_token_id = [1, 2]
    comma = tokenizer.convert_tokens_to_ids(",")
    assert stop_ids([",", 4], tokenizer, model) == tuple(sorted({1, 2, 4, comma}))
    with pytest.raises(UserError, match=r"rollout\.stop: '12' is 2 tokens"):
        stop_ids(["12"], tokenizer, model)
    tokenizer.eos_token = None
    model.generation_config.eos_token_id = None
    with pytest.raises(UserError, match=r"rollout\.stop: the tokenizer names no end token"):
        stop_ids([], tokenizer, model)


def test_sampling_in_training(recipe: Make) -> None:
    config = recipe("rollout.temperature=0.7", "rollout.stop=[',']")
    tokenizer, model = (
        load_tokenizer(config.model.path),
        load_model(config.model.path, torch.float32),
    )
    sampling = build_sampling(config, tokenizer, model, load_questions(config, tokenizer))
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p) == (10, 0.7, 1.0)
    assert len(sampling.stop_ids) == 2


# --- facts -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_the_memory_estimate_counts_what_it_can(recipe: Make) -> None:
    config = recipe()
    policy, questions, _ = parts(config)
    estimate = memory_estimate(config, policy, questions)
    assert all(size > 0 for size in estimate.values())
    model = sum(p.numel() for p in policy.model.parameters())
    head = sum(p.numel() for p in policy.head.parameters())  # type: ignore[union-attr]
    assert estimate["weights"] == 4 * (2 * model + head)  # the reference too
    assert estimate["gradients and Adam"] == 12 * (model + head)
    # keys and values × float32 × 2 layers × width 16, for 16 answers at 10 positions more
    longest = max(len(prompt.ids) for prompt in questions.train)
    assert estimate["sampling cache"] == 2 * 4 * 2 * 16 * 16 * (longest + 10)


def test_the_estimate_counts_the_buffers_of_the_static_path(recipe: Make) -> None:
    config = recipe("rollout.decoding=static")
    policy, questions, _ = parts(config)
    estimate = memory_estimate(config, policy, questions)
    longest = max(len(prompt.ids) for prompt in questions.train)
    rollout = config.rollout
    shape = largest_shape(rollout.questions, rollout.num_generations, longest, 10, 512)
    decoding = StaticDecoding()
    prompts = [[3] * longest] * rollout.questions
    sampling = Sampling(max_tokens=10)
    model: Any = policy.model
    list(generate(model, prompts, rollout.num_generations, sampling, seed=0, static=decoding))
    assert decoding._kept is not None
    assert decoding._kept.cache.capacity == shape
    of_tokens = shape.slots * shape.answer * 16
    assert estimate["sampling cache"] == decoding._kept.cache.bytes + of_tokens


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("rollout.max_batch=4", "sampling cache"),
        ("train.micro_batch_tokens=64", "activations"),
        ("model.logprob_chunk=16", "logits"),
        ("model.gradient_checkpointing=true", "activations"),
    ],
)
def test_what_a_message_says_to_lower_lowers_the_estimate(
    recipe: Make, override: str, part: str
) -> None:
    policy, questions, _ = parts(recipe())
    before = memory_estimate(recipe(), policy, questions)
    after = memory_estimate(recipe(override), *parts(recipe(override))[:2])
    assert after[part] < before[part]
    assert {name for name in before if before[name] != after[name]} <= {part, "logits"}


def test_facts(recipe: Make) -> None:
    config = recipe("algorithm=tba", "objective.inverse_temperature=5", "evaluation.every=1")
    policy, questions, _ = parts(config)
    said = dict(facts(config, policy, questions))
    assert " CPU, " in said["device"]
    assert said["questions"] == "32 to train on, 200 held out"
    assert said["target"].startswith(f"β/s = 5 nats: right : wrong = {math.exp(5):,.3g} : 1")
    paper = recipe("algorithm=flowrl")
    said = dict(facts(paper, *parts(paper)[:2]))
    assert "30 nats per token of the answer" in said["target"]  # 15, rewards 2 apart
    assert "half the group right" in said["target"]
    surrogate = recipe("algorithm=grpo")
    assert "target" not in dict(facts(surrogate, *parts(surrogate)[:2]))


def test_what_auto_stands_for_says_what_is_idle(recipe: Make) -> None:
    config = recipe("algorithm=tba", "rollout.largest_gap=0.5")
    policy, questions, _ = parts(config)
    said = dict(facts(config, policy, questions))["no effect"]
    assert said.startswith("rollout.largest_gap: the embedded engine's float32 log-probs")
    policy.compute_dtype = torch.bfloat16
    assert "no effect" not in dict(facts(config, policy, questions))


def test_a_first_prompt_that_the_model_cannot_read(recipe: Make) -> None:
    config = recipe("algorithm=tba")
    policy, questions, tokenizer = parts(config)
    assert "take care" not in dict(facts(config, policy, questions, tokenizer))
    first = dataclasses.replace(questions.train[0], ids=tuple(tokenizer.encode("to 24")))
    lacking = dataclasses.replace(questions, train=[first])
    said = dict(facts(config, policy, lacking, tokenizer))["take care"]
    assert said.startswith("the first prompt: 3 of its 5 tokens are <unk>, ")


def test_held_out_questions_that_are_trained_on_are_counted(recipe: Make) -> None:
    config = recipe("algorithm=tba", "evaluation.every=1")
    policy, questions, _ = parts(config)
    assert "take care" not in dict(facts(config, policy, questions))
    both = dataclasses.replace(questions, test=[*questions.test, *questions.train[:3]])
    said = dict(facts(config, policy, both))["take care"]
    assert said == "data.test: 3 of the held-out questions are trained on"


def test_answers_that_the_data_begin_are_counted(recipe: Make) -> None:
    config = recipe("algorithm=tba")
    policy, questions, _ = parts(config)
    chat = [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}]
    begun = [dataclasses.replace(prompt, text=chat) for prompt in questions.train[:2]]
    some = dataclasses.replace(questions, train=[*begun, *questions.train[2:]])
    said = dict(facts(config, policy, some))["take care"]
    assert said.startswith(f"2 of {len(some.all)} questions end with the assistant's words, which ")


def test_a_template_that_no_question_goes_through_is_said(recipe: Make) -> None:
    config = recipe("algorithm=tba", "data.prompt_template=Q {prompt}")
    policy, questions, _ = parts(config)
    assert "no effect" not in dict(facts(config, policy, questions))
    chat = [{"role": "user", "content": "1+1"}]
    messages = [dataclasses.replace(prompt, text=chat) for prompt in questions.train]
    given = dataclasses.replace(questions, train=messages, test=[])
    said = dict(facts(config, policy, given))["no effect"]
    assert said == "data.prompt_template: every question is chat messages already"


def test_the_target_counts_the_weight_of_what_checks_answers(recipe: Make) -> None:
    tba = ("algorithm=tba", "objective={inverse_temperature: 6, scale: sum}")
    shared = parts(recipe(*tba))[:2]

    def target(*overrides: str) -> str:
        return dict(facts(recipe(*tba, *overrides), *shared))["target"]

    assert target("reward.functions={countdown: 1}").startswith("β/s = 6 nats: right : wrong = 403")
    half = target("reward.functions={countdown: 0.5}")
    assert half.startswith("β·0.5/s = 3 nats: right : wrong = 20.1 : 1")
    more = target("reward.functions={countdown: 1, stories: 0.5}", "reward.right=1.2")
    assert more.startswith("β/s = 6 nats")  # a bonus is not what right answers are above wrong ones
    own = target("reward.functions={mine:reward: 2}", "reward.right=2")
    assert own.startswith("β·2/s = 12 nats")
    assert target("reward.functions={mine:reward: 1}", "reward.right=0").startswith("β/s = 6 nats")
    spread = "objective={inverse_temperature: 6, scale: sum, reward: group}"
    assert target("reward.functions={countdown: 0.5}", spread).startswith("β/s = 12 nats")


def test_skip_leaves_out_the_first_held_out_questions(recipe: Make, tmp_path: Path) -> None:
    def held_out(*overrides: str) -> list[str]:
        config = recipe("evaluation.every=1", *overrides)
        tokenizer = load_tokenizer(config.model.path)
        return [str(p.text) for p in load_questions(config, tokenizer).test]

    first, both = held_out("evaluation.questions=4"), held_out("evaluation.questions=8")
    assert held_out("evaluation.questions=4", "evaluation.skip=4") == both[4:]
    assert both[:4] == first
    rows = "".join(json.dumps({"prompt": f"{i}"}) + "\n" for i in range(9))
    (tmp_path / "test.jsonl").write_text(rows)
    file = (
        "data.task=null",
        f"data.train={tmp_path}/test.jsonl",
        f"data.test={tmp_path}/test.jsonl",
    )
    assert held_out(*file, "evaluation.questions=3", "evaluation.skip=5") == ["5", "6", "7"]
