"""The files of a run by verl, and the rewards behind its hook."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from evenflow.config import TrainConfig, load
from evenflow.errors import UserError
from evenflow.launch.job import Cluster
from evenflow.launch.questions import AS_IT_IS, write_files
from evenflow.launch.reward import compute_score
from evenflow.launch.verl import job
from evenflow.policy.loading import load_tokenizer

parquet = pytest.importorskip("pyarrow.parquet")
ROWS: list[dict[str, Any]] = [
    {"prompt": [{"role": "user", "content": "6·7?"}], "answer": "42", "tags": ["a", 1]},
    {"prompt": [{"role": "user", "content": "1+1?"}], "answer": "2"},
]


def config(rows: list[dict[str, Any]], folder: Path, *overrides: str) -> TrainConfig:
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = [f"data.train={source}", "reward.functions={math: 1.0}", *overrides]
    return load(TrainConfig, None, settings)


def judged(answer: str, row: dict[str, Any], recipe: Path, **more: str) -> dict[str, float]:
    """As verl's reward managers call the hook."""
    return compute_score(
        data_source=row["data_source"],
        solution_str=answer,
        ground_truth=row["reward_model"]["ground_truth"],
        extra_info=row["extra_info"] | {"num_turns": 2},
        recipe=str(recipe),
        **more,
    )


def test_rows_reach_the_reward_as_they_were(tmp_path: Path) -> None:
    files = write_files(config(ROWS, tmp_path), tmp_path)
    first, second = parquet.read_table(files.train).to_pylist()
    assert first["prompt"] == ROWS[0]["prompt"]
    assert first["reward_model"] == {"style": "rule", "ground_truth": "42"}
    told = json.loads(first["extra_info"]["row"])
    assert told == {"prompt": ROWS[0]["prompt"], "columns": {"answer": "42", "tags": ["a", 1]}}
    assert json.loads(second["extra_info"]["row"])["columns"] == {"answer": "2"}
    assert (files.questions, files.test, files.template) == (2, None, None)
    right = {"score": 1.0, "acc": 1.0, "unknown": 0.0}
    assert judged(r"\boxed{42}", first, files.recipe) == right
    assert judged(r"\boxed{42}", second, files.recipe)["score"] == 0.0


def test_a_box_in_a_thought_that_the_template_opened_is_no_answer(tmp_path: Path) -> None:
    files = write_files(config(ROWS, tmp_path), tmp_path)
    row = parquet.read_table(files.train).to_pylist()[0]
    cut = r"so \boxed{42}, but let me"
    assert judged(cut, row, files.recipe)["score"] == 1.0
    assert judged(cut, row, files.recipe, opened_thoughts="<think>")["score"] == 0.0


def test_weights_and_what_is_right_are_the_recipes(tmp_path: Path) -> None:
    functions = "reward.functions={math: 2.0, tests.launch.test_questions:worded: 0.5}"
    files = write_files(config(ROWS, tmp_path, functions), tmp_path)
    row = parquet.read_table(files.train).to_pylist()[0]
    found = judged(r"\boxed{42}", row, files.recipe)
    assert found["score"] == 2.5
    assert found["acc"] == 1.0
    assert judged(r"\boxed{41}", row, files.recipe)["acc"] == 0.0


def test_a_file_of_verls_own_form_is_taken(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": ROWS[0]["prompt"],
            "data_source": "math_dapo",
            "reward_model": {"ground_truth": "42", "style": "rule"},
            "extra_info": {"index": "a-b"},
        }
    ]
    files = write_files(config(rows, tmp_path), tmp_path)
    row = parquet.read_table(files.train).to_pylist()[0]
    assert row["reward_model"]["ground_truth"] == "42"
    assert judged(r"\boxed{42}", row, files.recipe)["score"] == 1.0


def test_tests_that_cannot_be_read_are_found_before_anything_is_written(tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": "Add."}]
    right = json.dumps([{"input": "1 2", "output": "3"}])
    rows = [
        {"prompt": prompt, "ability": "code", "reward_model": {"ground_truth": truth}}
        for truth in (right, "[]")
    ]
    given = config(rows, tmp_path, "reward.functions={code: 1.0}")
    with pytest.raises(UserError, match=r"^row 2: tests: a list must hold objects"):
        write_files(given, tmp_path)
    assert not (tmp_path / "train.parquet").exists()
    files = write_files(config(rows[:1], tmp_path, "reward.functions={code: 1.0}"), tmp_path)
    row = parquet.read_table(files.train).to_pylist()[0]
    assert row["reward_model"]["ground_truth"] == right
    program = "print(sum(map(int, input().split())))"
    assert judged(f"```python\n{program}\n```", row, files.recipe)["score"] == 1.0


def test_unknown_is_zero_and_counted(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "answer": ""}, ROWS[1]]
    files = write_files(config(rows, tmp_path), tmp_path)
    row = parquet.read_table(files.train).to_pylist()[0]
    assert judged("3", row, files.recipe) == {"score": 0.0, "acc": 0.0, "unknown": 1.0}


def test_a_task_has_plain_text_in_a_template_that_adds_nothing(
    tmp_path: Path, tiny_model: Path
) -> None:
    settings = ["data.task=countdown", "data.train_questions=8", "evaluation.questions=3"]
    recipe = load(TrainConfig, None, [f"model.path={tiny_model}", *settings])
    files = write_files(recipe, tmp_path)
    tokenizer = load_tokenizer(str(tiny_model))
    assert files.template is not None
    assert files.template.endswith(AS_IT_IS)
    assert files.test is not None
    assert (files.questions, parquet.read_table(files.test).num_rows) == (8, 3)
    row = parquet.read_table(files.train).to_pylist()[0]
    text = row["prompt"][0]["content"]
    ids = tokenizer.apply_chat_template(
        row["prompt"], chat_template=files.template, add_generation_prompt=True, return_dict=False
    )
    assert ids == tokenizer(text).input_ids
    assert judged("1+1=3", row, files.recipe)["score"] == 0.0


@pytest.mark.parametrize(
    ("rows", "overrides", "sentence"),
    [
        (
            [ROWS[0], {"prompt": "2+2?", "answer": "4"}],
            [],
            "some prompts are plain text and some chat messages",
        ),
        (
            [{"prompt": [*ROWS[0]["prompt"], {"role": "assistant", "content": "4"}], "answer": ""}],
            [],
            "row 1: the prompt ends with the assistant's words",
        ),
        (ROWS, ["reward.functions={tests.launch.test_questions:short: 1.0}"], "'completion_ids'"),
    ],
)
def test_what_verl_could_not_put_or_tell(
    rows: list[dict[str, Any]], overrides: list[str], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        write_files(config(rows, tmp_path, *overrides), tmp_path)
    assert "train.parquet" not in os.listdir(tmp_path)


def short(completion_ids: list[list[int]], **_: object) -> list[float]:
    return [1.0 / (1 + len(ids)) for ids in completion_ids]


def worded(completions: list, **_: object) -> list[float]:
    return [float(len(answer[-1]["content"]) > 0) for answer in completions]


def test_half_a_character_and_further_fields_of_messages(tmp_path: Path) -> None:
    rows = [
        {"prompt": [{"role": "user", "content": "1+1?", "n": 1}], "answer": "2", "note": "\ud83d"},
        {"prompt": [{"role": "user", "content": "2+1?", "n": "x"}], "answer": "3", "note": ""},
    ]
    files = write_files(config(rows, tmp_path), tmp_path)
    table = parquet.read_table(files.train).to_pylist()
    assert [row["prompt"] for row in table] == [
        [{"role": "user", "content": "1+1?"}],
        [{"role": "user", "content": "2+1?"}],
    ]
    assert json.loads(table[0]["extra_info"]["row"])["columns"]["note"] == "\ud83d"


def reasoner(folder: Path, *, special: bool) -> Path:
    """A tokenizer of words whose chat template opens a thought."""
    words = {word: i for i, word in enumerate(["<unk>", "6·7?", "1+1?", "one", "<s>"])}
    known = Tokenizer(WordLevel(words, unk_token="<unk>"))
    known.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=known, unk_token="<unk>")
    tokenizer.add_tokens(["<think>", "</think>"], special_tokens=False)
    if special:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    tokenizer.chat_template = "{{ messages[0].content }} <think>\n"
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("special", [False, True])
def test_the_thought_that_the_template_opens_is_told(special: bool, tmp_path: Path) -> None:
    """verl shows a reward no prompt; of marks that are special tokens, it shows nothing at all."""
    model = reasoner(tmp_path / "model", special=special)
    few = ["rollout.questions=2", "train.mini_batch_questions=2"]
    given = config(ROWS, tmp_path, f"model.path={model}", *few)
    files = write_files(given, tmp_path)
    assert files.opened_thought == ("" if special else "<think>")
    assert len(files.remarks) == special
    found = job(given, files, Cluster())
    key = "+reward.custom_reward_function.reward_kwargs.opened_thoughts"
    assert found.overrides.get(key) == (None if special else "<think>")
    assert [text for text in found.remarks if "special token" in text] == [*files.remarks]


def test_a_prompt_that_is_too_long_is_refused_before_verl_cuts_it(tmp_path: Path) -> None:
    model = reasoner(tmp_path / "model", special=False)
    long = {"prompt": [{"role": "user", "content": "one " * 20}], "answer": "1"}
    settings = [f"model.path={model}", "data.max_prompt_length=10"]
    with pytest.raises(UserError, match=r"^row 3: the prompt has 21 tokens and the limit is 10"):
        write_files(config([*ROWS, long], tmp_path, *settings), tmp_path)
    assert not (tmp_path / "train.parquet").exists()
    dropped = config([*ROWS, long], tmp_path, *settings, "data.long_prompts=drop")
    assert write_files(dropped, tmp_path).questions == 3  # verl leaves it out


@pytest.mark.parametrize("key", ["name", "reasoning_content", "tool_calls", "tool_call_id"])
def test_what_templates_read_of_messages_is_not_lost_silently(key: str, tmp_path: Path) -> None:
    row = {"prompt": [{"role": "user", "content": "1+1?", key: "x"}], "answer": "2"}
    with pytest.raises(UserError, match=f"^row 2: a message has '{key}'"):
        write_files(config([ROWS[0], row], tmp_path), tmp_path)
