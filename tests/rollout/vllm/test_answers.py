"""What vLLM is asked for, and the groups that are made of what it gives."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from evenflow.data import Prompt
from evenflow.errors import UserError
from evenflow.policy.loading import load_tokenizer
from evenflow.rollout import Sampling
from evenflow.rollout.vllm.answers import Answer, group_of, parameters, seeds_of


def test_a_group_is_one_request_and_ends_where_we_say() -> None:
    asked = parameters(Sampling(30, 0.7, 0.9, 5, stop_ids=(1, 2)), 4, 17)
    assert asked == {
        "n": 4,
        "max_tokens": 30,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 5,
        "stop_token_ids": [1, 2],
        "ignore_eos": True,
        "logprobs": 0,
        "seed": 17,
    }


def test_greedy_answers_are_asked_for_once() -> None:
    assert parameters(Sampling(30, temperature=0.0), 4, 0)["n"] == 1


def test_a_temperature_that_vllm_would_raise_is_refused() -> None:
    with pytest.raises(UserError, match=r"temperature: vLLM samples at 0\.01 and above"):
        parameters(Sampling(30, temperature=0.005), 4, 0)


def test_seeds_of_groups_lie_far_apart() -> None:
    seeds = sorted(seeds_of(3, 1000))
    assert min(b - a for a, b in itertools.pairwise(seeds)) > 1000
    assert seeds[0] >= 0
    assert seeds[-1] < 2**62
    assert seeds_of(3, 1000) != seeds_of(4, 1000)


def test_a_prompts_own_seed_alone_decides() -> None:
    assert seeds_of([5, 6, 7], 3)[2] == seeds_of([7], 1)[0]


@pytest.fixture
def prompt() -> Prompt:
    return Prompt(key="a", text="3 4", ids=(5, 6), columns={})


def test_answers_become_a_group_with_our_texts(tiny_model: Path, prompt: Prompt) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    end = tokenizer.eos_token_id
    seven = tokenizer.convert_tokens_to_ids("7")
    answers = [Answer([seven, end], [-1.0, -2.0], "stop"), Answer([seven], [-1.0], "length")]
    group = group_of(3, prompt, answers, 2, tokenizer, 9)
    assert (group.place, group.prompt, group.version) == (3, prompt, 9)
    assert group.answers == [[seven, end], [seven]]
    assert group.logprobs == [[-1.0, -2.0], [-1.0]]
    assert group.texts == ["7", "7"]
    assert group.finished == [True, False]


def test_a_greedy_answer_is_each_of_its_group(prompt: Prompt) -> None:
    group = group_of(0, prompt, [Answer([7], [-1.0], "length")], 3, None, 0)
    assert group.answers == [[7]] * 3
    assert group.texts == [""] * 3


@pytest.mark.parametrize("reason", ["abort", "error", None])
def test_an_answer_that_was_given_up_is_none(prompt: Prompt, reason: str | None) -> None:
    with pytest.raises(UserError, match=f"vLLM gave up an answer \\({reason}\\)"):
        group_of(0, prompt, [Answer([7], [-1.0], reason)], 1, None, 0)
