"""Held-out questions of a file, sampled: every score recomputed from the rows."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from evenflow.config import TrainConfig
from evenflow.evaluation.heldout import HeldOut, kept, sample_row
from evenflow.policy.loading import load_model, load_tokenizer
from evenflow.policy.policy import Policy
from evenflow.tasks.countdown import Countdown, Question
from evenflow.training.build import build_held_out, build_rewards, engine_for, load_questions
from tests.groups import make_group


@pytest.fixture
def built(
    recipe: Callable[..., TrainConfig], tmp_path: Path
) -> Callable[..., tuple[HeldOut, Policy, object]]:
    def make(*overrides: str) -> tuple[HeldOut, Policy, object]:
        import torch

        rows = [{"prompt": f"{i},2>{i}:", "answer": str(i)} for i in range(1, 6)]
        path = tmp_path / "test.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        config = recipe(
            "data.task=null", f"data.train={path}", f"data.test={path}",
            "data.train_questions=null", "evaluation.every=1", "evaluation.questions=4",
            "evaluation.num_generations=4", "evaluation.samples=2", "reward.right=0.5", *overrides,
        )  # fmt: skip
        tokenizer = load_tokenizer(config.model.path)
        policy = Policy(load_model(config.model.path, torch.float32), temperature=2.0)
        questions = load_questions(config, tokenizer)
        held_out = build_held_out(config, questions, build_rewards(config), tokenizer, policy)
        assert held_out is not None
        return held_out, policy, engine_for(config, questions, tokenizer, policy)

    return make


def test_sampled_scores(built) -> None:  # type: ignore[no-untyped-def]
    held_out, policy, engine = built()
    policy.train()
    scores, everything, right, by_question = held_out.evaluate(policy, engine)
    assert policy.training  # as it was
    assert policy.temperature == 2.0
    assert right is None
    assert len(everything) == len(held_out.prompts)  # all answers fit
    again = held_out.evaluate(policy, engine)
    assert again == (scores, everything, None, by_question)  # its seed is its own
    for name, values in by_question.items():
        assert fmean(values) == pytest.approx(scores[name]), name
    assert by_question.keys() == scores.keys()
    rewards = [row["rewards"] for row in everything]
    right = [sum(r >= 0.5 for r in group) for group in rewards]
    assert scores["reward"] == pytest.approx(fmean(r for group in rewards for r in group))
    assert scores["accuracy"] == pytest.approx(fmean(c / 4 for c in right))
    for k in (2, 4):
        expected = fmean(1 - math.comb(4 - c, k) / math.comb(4, k) for c in right)
        assert scores[f"pass@{k}"] == pytest.approx(expected)
    assert "pass@8" not in scores
    assert scores["finished"] == fmean(f for row in everything for f in row["finished"])
    assert scores["unknown"] == 0.0
    assert 1 <= scores["length"] <= 10


def test_unknown_rewards_are_left_out(built) -> None:  # type: ignore[no-untyped-def]
    held_out, policy, engine = built("reward.functions={tests.training.rewards:half_unknown: 1.0}")
    scores, rows, *_ = held_out.evaluate(policy, engine)
    assert scores["unknown"] == 0.5
    assert all(row["rewards"][1::2] == [None, None] for row in rows)
    assert "pass@2" in scores
    assert "pass@4" not in scores  # nobody knows four rewards of a question


def test_every_question_counts_alike_however_many_answers_are_judged(
    built, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    """One question has one judged answer, right, the others four each, wrong: ¼, not 1/13; and so
    for a score of those questions alone in which something is known."""
    held_out, _, engine = built()
    nan = math.nan
    rewards = [[1.0, nan, nan, nan], *([[0.0] * 4] * 3)]
    groups = [make_group(str(i), [[1]] * 4, rewards=row) for i, row in enumerate(rewards)]
    monkeypatch.setattr(HeldOut, "answers", lambda *_: groups)
    scores, _, by_question = held_out._sampled(engine, held_out.prompts)
    assert scores["reward"] == scores["accuracy"] == 0.25
    assert scores["pass@2"] == scores["pass@4"] == 0.0
    assert scores["unknown"] == 3 / 16
    assert by_question["reward"] == [1, 0, 0, 0]
    for name, values in by_question.items():
        known = [value for value in values if not math.isnan(value)]
        assert scores[name] == fmean(known), name


def test_nothing_known(built) -> None:  # type: ignore[no-untyped-def]
    held_out, policy, engine = built("reward.functions={tests.training.rewards:unknown: 1.0}")
    scores, *_ = held_out.evaluate(policy, engine)
    assert math.isnan(scores["reward"])
    assert math.isnan(scores["accuracy"])
    assert scores["unknown"] == 1.0


def test_listed_questions_have_exact_curves_and_named_solutions(
    recipe: Callable[..., TrainConfig],
) -> None:

    base = "builtin:countdown"
    config = recipe(
        f"model.path={base}", "evaluation.every=1", "evaluation.questions=3",
        "evaluation.samples=2", "reward.functions={}", "rollout.max_completion_length=40",
    )  # fmt: skip
    tokenizer = load_tokenizer(base)
    policy = Policy(load_model(base, torch.float32))
    questions = load_questions(config, tokenizer)
    engine = engine_for(config, questions, tokenizer, policy)
    held_out = build_held_out(config, questions, build_rewards(config), tokenizer, policy)
    assert held_out is not None
    scores, rows, *_ = held_out.evaluate(policy, engine)
    with held_out.conditions(policy):
        right = [sum(of.values()) for of in held_out.masses(policy)]
    assert all(0.01 < p < 0.99 for p in right)
    for k in (2, 16, 256):
        assert scores[f"pass@{k}"] == pytest.approx(fmean(1 - (1 - p) ** k for p in right))
    assert list(scores)[:2] == ["accuracy", "pass@2"]
    for prompt, row in zip(held_out.prompts, rows, strict=False):
        question = Question(tuple(prompt.columns["numbers"]), prompt.columns["target"])
        assert row["classes"] == [Countdown().canonical(question, t) for t in row["answers"]]
        assert [form is not None for form in row["classes"]] == [r == 1 for r in row["rewards"]]


def test_a_row_names_the_solution_that_each_answer_spells() -> None:

    texts = ["1+2=3", "2+1=3", "1*2=2", "3"]
    finished = [True, True, True, False]
    rewards = [1.0, 1.0, 0.0, math.nan]
    group = make_group("1,2>3:", [[3]] * 4, texts, finished, rewards=rewards)
    solutions = {"1+2": ["1+2=3", "2+1=3"], "other": ["3=3"]}
    row = sample_row(group, solutions)
    assert row["classes"] == ["1+2", "1+2", None, None]
    assert row["rewards"] == [1.0, 1.0, 0.0, None]
    assert "classes" not in sample_row(group)


def test_what_does_not_fit_has_no_chance(recipe: Callable[..., TrainConfig]) -> None:
    """An answer longer than the limit is never sampled to its end: with one token less than the
    longest of all, exactly that spelling is gone."""
    base = "builtin:countdown"
    config = recipe(f"model.path={base}", "evaluation.every=1", "evaluation.questions=2",
                    "reward.functions={}", "rollout.max_completion_length=40")  # fmt: skip
    tokenizer = load_tokenizer(base)
    policy = Policy(load_model(base, torch.float32))
    questions = load_questions(config, tokenizer)
    engine = engine_for(config, questions, tokenizer, policy)
    held_out = build_held_out(config, questions, build_rewards(config), tokenizer, policy)
    assert held_out is not None
    assert held_out.solutions is not None

    def right(limit: int) -> list[float]:
        sampling = dataclasses.replace(held_out.sampling, max_tokens=limit)
        cut = dataclasses.replace(held_out, sampling=sampling)
        found = cut.evaluate(policy, engine).right
        assert found is not None
        return found

    def length(text: str) -> int:
        return len(tokenizer.encode(text)) + 1

    texts = [[t for ts in forms.values() for t in ts] for forms in held_out.solutions]
    longest = max(length(t) for of in texts for t in of)
    whole, less = right(longest), right(longest - 1)
    assert right(40) == pytest.approx(whole)
    for of, before, after in zip(texts, whole, less, strict=True):
        assert (after < before) == any(length(t) == longest for t in of)
    assert right(2) == [0.0, 0.0]


def test_a_question_that_comes_twice_counts_twice(recipe: Callable[..., TrainConfig]) -> None:
    base = "builtin:countdown"
    config = recipe(f"model.path={base}", "evaluation.every=1", "evaluation.questions=2",
                    "reward.functions={}", "rollout.max_completion_length=40")  # fmt: skip
    tokenizer = load_tokenizer(base)
    policy = Policy(load_model(base, torch.float32))
    questions = load_questions(config, tokenizer)
    engine = engine_for(config, questions, tokenizer, policy)
    held_out = build_held_out(config, questions, build_rewards(config), tokenizer, policy)
    assert held_out is not None
    assert held_out.solutions is not None
    (a, b), (of_a, of_b) = held_out.prompts, held_out.solutions
    thrice = dataclasses.replace(held_out, prompts=[a, b, a], solutions=[of_a, of_b, of_a])
    once, again = (each.evaluate(policy, engine).right for each in (held_out, thrice))
    assert once is not None
    assert again == pytest.approx([*once, once[0]])


def test_an_evaluation_keeps_all_answers_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[dict[str, Any]] = [{"answers": ["x" * 10] * 2} for _ in range(5)]
    assert kept(rows, 2) == rows
    monkeypatch.setattr("evenflow.evaluation.heldout.KEPT", 60)
    assert kept(rows, 2) == rows[:3]
    assert kept(rows, 4) == rows[:4]
    assert kept(rows, 0) == []


def test_a_spelling_may_end_with_any_stop_and_has_none_inside(
    recipe: Callable[..., TrainConfig],
) -> None:
    """The probability of a right answer is the share of sampled ones that are right."""
    config = recipe("model.path=builtin:countdown", "evaluation.every=1", "evaluation.questions=2")
    tokenizer = load_tokenizer("builtin:countdown")
    policy = Policy(load_model("builtin:countdown", torch.float32))
    questions = load_questions(config, tokenizer)
    held_out = build_held_out(config, questions, build_rewards(config), tokenizer, policy)
    assert held_out is not None

    def masses(*stops: int) -> list[dict[str, float]]:
        sampling = dataclasses.replace(held_out.sampling, stop_ids=stops)
        return dataclasses.replace(held_out, sampling=sampling).masses(policy)

    (end,) = held_out.sampling.stop_ids
    (other,) = tokenizer.encode(":", add_special_tokens=False)  # which no answer has
    (inside,) = tokenizer.encode("=", add_special_tokens=False)
    both = masses(end, other)
    for of_both, *parts in zip(both, masses(end), masses(other), strict=True):
        for solution, mass in of_both.items():
            assert mass == pytest.approx(sum(part[solution] for part in parts), rel=1e-4)
    assert all(mass == 0 for of in masses(end, inside) for mass in of.values())
