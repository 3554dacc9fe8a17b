"""Questions with their gold answers: what is written, what is refused, what is scored."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evenflow.config import TrainConfig
from evenflow.data import Prompt
from evenflow.errors import UserError
from evenflow.objectives import Answers, Balance
from evenflow.tasks.countdown import Countdown
from evenflow.training.build import load_questions
from evenflow.training.learning import Learner
from evenflow.training.scoring import Rows
from tests.training.runs import train

Make = Callable[..., TrainConfig]
FLOWBALANCE = "algorithm=flowbalance"


def from_file(recipe: Make, rows: Iterable[dict[str, Any]], *overrides: str) -> TrainConfig:
    """A recipe whose questions are of a file."""
    file = Path(str(recipe().output)).parent / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return recipe(FLOWBALANCE, "data.task=null", f"data.train={file}", *overrides)


def prompts_of(config: TrainConfig) -> list[Prompt]:
    return load_questions(config, AutoTokenizer.from_pretrained(config.model.path)).train


def test_countdowns_guide_is_a_solved_question_and_the_question_again(
    recipe: Make, tiny_model: Path
) -> None:
    config = recipe(FLOWBALANCE, "data.train_questions=4")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    questions = load_questions(config, tokenizer)
    plain = load_questions(recipe("data.train_questions=4"), tokenizer)
    for prompt in questions.train:
        text = tokenizer.decode(prompt.guide)
        solved, end, again = text.partition("<eos>")
        question, colon, answer = solved.partition(":")
        assert [question + colon, end, again] == [prompt.text, "<eos>", prompt.text]
        solutions = Countdown().row_solutions(prompt.columns)
        assert answer == next(iter(solutions.values()))[0]
        assert prompt.guide[-len(prompt.ids) :] == prompt.ids
        assert prompt.longest == len(prompt.guide)
    assert [p.key for p in plain.train] == [p.key for p in questions.train]
    assert [replace(p, guide=()) for p in questions.train] == plain.train


def test_a_template_writes_the_gold_answer(recipe: Make) -> None:
    rows = [{"prompt": "1,2>3:", "answer": "1+2=3"}]
    config = from_file(recipe, rows, "data.guide_template={answer}>{prompt}")
    (prompt,) = prompts_of(config)
    tokenizer = AutoTokenizer.from_pretrained(config.model.path)
    assert tokenizer.decode(prompt.guide) == "1+2=3>1,2>3:"
    assert tokenizer.decode(prompt.ids) == "1,2>3:"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{gold}:", "row 1 has no column 'gold', which data.guide_template names; there are: prom"),
        ("{answer", "row 1: data.guide_template cannot be filled"),
        ("{answer}" * 30, "row 1: the prompt with its gold answer has 150 tokens and the limit is"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(
    recipe: Make, template: str, message: str
) -> None:
    rows = [{"prompt": "1,2>3:", "answer": "1+2=3"}]
    limit = "data.max_prompt_length=100"
    with pytest.raises(UserError, match=message):
        prompts_of(from_file(recipe, rows, f"data.guide_template='{template}'", limit))


def test_long_guides_are_dropped_like_long_prompts(recipe: Make) -> None:
    rows = [{"prompt": "1,2>3:", "answer": answer} for answer in ("1+2=3", "1+2=3" * 9)]
    settings = ["data.guide_template={answer}>{prompt}", "data.long_prompts=drop"]
    config = from_file(recipe, rows, *settings, "data.max_prompt_length=20")
    assert [prompt.columns["answer"] for prompt in prompts_of(config)] == ["1+2=3"]


def test_without_a_gold_answer_the_recipe_is_refused(recipe: Make) -> None:
    says = "data.guide_template: flowbalance reads each question with its gold answer; write how"
    with pytest.raises(UserError, match=says):
        recipe(FLOWBALANCE, "data.task=stories")
    with pytest.raises(UserError, match=says):
        from_file(recipe, [{"prompt": "1"}])
    own = recipe(FLOWBALANCE, "data.task=tests.training.test_guide:Unlisted")
    with pytest.raises(UserError, match=says):
        prompts_of(own)


class Unlisted:
    """A task of one's own, that does not list its answers."""

    @staticmethod
    def reward(completions: list[str], **_: Any) -> list[float]:
        return [0.0 for _ in completions]

    def rows(self, split: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
        return [{"prompt": f"{n}:"} for n in range(count)]


def test_guided_scores_are_those_of_plain_transformers(
    recipe: Make, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With replayed answers, micro-batches and two optimiser steps a batch: the second step's are
    of the reference still."""
    seen: list[Rows] = []
    learn = Learner.learn

    def spy(learner: Learner, rows: Rows, seed: str) -> Any:
        seen.append(rows)
        return learn(learner, rows, seed=seed)

    monkeypatch.setattr(Learner, "learn", spy)
    train(
        recipe(
            FLOWBALANCE,
            "train.steps=2",
            "train.mini_batch_questions=2",
            "train.micro_batch_tokens=256",
            "rollout.questions=2",
            "rollout.replay.questions=1",
            "data.train_questions=4",
        )
    )
    assert [rows.count for rows in seen] == [2, 3]
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    end = model.config.eos_token_id
    for rows in seen:
        assert rows.answers.guide_logprobs is not None
        for i, (guide, prompt, answer) in enumerate(
            zip(rows.guide_ids, rows.prompt_ids, rows.answer_ids, strict=True)
        ):
            assert guide[: len(prompt)] == guide[-len(prompt) :] == prompt
            assert guide[-len(prompt) - 1] == end
            with torch.no_grad():
                logits = model(torch.tensor([[*guide, *answer]])).logits[0, len(guide) - 1 : -1]
            expected = logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
            found = rows.answers.guide_logprobs[i, : len(answer)]
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        answers: Answers = rows.answers
        assert answers.ref_logprobs is not None
        assert not torch.allclose(answers.guide_logprobs, answers.ref_logprobs, atol=1e-3)


def test_who_has_no_guidance_makes_no_guides(recipe: Make) -> None:
    config = recipe("data.guide_template='{prompt}'")
    assert isinstance(config.build_objective(), Balance)
    assert {prompt.guide for prompt in prompts_of(config)} == {()}
