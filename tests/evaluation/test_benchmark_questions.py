"""Every benchmark's rows, with the columns of its Hugging Face copy and of local ones."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evenflow.config import BenchmarkConfig, check
from evenflow.errors import UserError
from evenflow.evaluation.benchmarks.questions import (
    PromptFormat,
    find,
    load_questions,
    prompt_format,
    put,
    refuse_others,
    short,
)
from evenflow.evaluation.benchmarks.registry import BENCHMARKS, FUNCTION
from evenflow.evaluation.benchmarks.verdicts import grade
from evenflow.policy.loading import load_tokenizer
from evenflow.run.files import json_line

PROGRAM = "print(int(input()) + 1)"
CASES = json.dumps([{"input": "1\n", "output": "2\n", "testtype": "stdin"}])
# A row with the columns of each Hugging Face copy (made up, but for the names), an answer that is
# right, and one that is not.
ROWS: dict[str, tuple[dict[str, Any], str, str]] = {
    "aime24": (
        {"id": 60, "problem": "1+1?", "solution": "It is 2.", "answer": "2", "url": "", "year": 1},
        "so \\boxed{2}",
        "so \\boxed{3}",
    ),
    "aime25": ({"id": "0", "problem": "1+1?", "answer": "2"}, "\\boxed{02}", "2 or 3"),
    "amc23": (
        {"id": 0, "question": "1+1?", "answer": "2.0", "url": ""},
        "\\boxed{2}",
        "\\boxed{20}",
    ),
    "math500": (
        {"problem": "Half?", "solution": "…", "answer": "\\frac{1}{2}", "unique_id": "test/1.json",
         "subject": "Algebra", "level": 1},
        "\\boxed{0.5}",
        "\\boxed{0.2}",
    ),
    "minerva": ({"question": "How far?", "answer": "4.5e33"}, "$4.5\\times 10^{33}$", "4.5e32"),
    "olympiad": (
        {"id": 1606, "question": "Roots?", "final_answer": ["1,-1"], "solution": ["long"],
         "context": None, "is_multiple_answer": True, "answer_type": "Numerical"},
        "\\boxed{-1, 1}",
        "\\boxed{1}",
    ),
    "gsm8k": ({"question": "1+1?", "answer": "1+1=<<1+1=2>>2\n#### 2"}, "#### 2", "#### 1"),
    "humaneval+": (
        {"task_id": "HumanEval/0", "prompt": 'def up(x):\n    """One more."""\n',
         "entry_point": "up", "canonical_solution": "    return x + 1\n",
         "test": "import numpy as np\ninputs = [[1], [2]]\ndef check(candidate): ..."},
        "```python\ndef up(x):\n    return 1 + x\n```",
        "```python\ndef up(x):\n    return 2\n```",
    ),
    "livecodebench": (
        {"question_title": "Up", "question_content": "Add one.", "platform": "atcoder",
         "question_id": "abc1_a", "contest_id": "abc1", "contest_date": "2025-01-04T00:00:00",
         "starter_code": "", "difficulty": "easy", "public_test_cases": CASES,
         "private_test_cases": CASES, "metadata": "{}"},
        PROGRAM,
        "print(3)",
    ),
    "codeforces": (
        {"id": "1/A", "contest_id": "1", "index": "A", "title": "Up", "description": "Add one.",
         "time_limit": 1.0, "input_format": "A number.", "output_format": "A number.",
         "note": None, "examples": [{"input": "1\n", "output": "2\n"}], "interaction_format": None,
         "official_tests": [{"input": "1\n", "output": "2\n"}], "official_tests_complete": True,
         "input_mode": "stdio", "generated_checker": None},
        PROGRAM,
        "print(3)",
    ),
}  # fmt: skip
LOCAL = {
    "aime24": "aime24.jsonl",
    "aime25": "aime25.jsonl",
    "amc23": "amc23.jsonl",
    "math500": "math500.jsonl",
    "gsm8k": "gsm8k_test.jsonl",
    "humaneval+": "humanevalplus.jsonl.gz",
}
COUNTS = {"aime24": 30, "aime25": 30, "amc23": 40, "math500": 500, "gsm8k": 1319, "humaneval+": 164}


def config(benchmark: str, **changes: Any) -> BenchmarkConfig:
    return check(BenchmarkConfig, {"model": {"path": "m"}, "benchmark": benchmark, **changes})


def written(path: Path, *rows: dict) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def answered(row: dict, *responses: str) -> list[dict]:
    return [{"id": row["id"], "gold": row["gold"], "response": text} for text in responses]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_rows_as_on_the_hub(name: str, tmp_path: Path) -> None:
    row, right, wrong = ROWS[name]
    asked = config(name, data=written(tmp_path / "rows.jsonl", row))
    questions = load_questions(asked)
    (question,) = questions.rows
    assert question["prompt"].strip()
    lines = answered(question, right, wrong)
    found = grade(lines, BENCHMARKS[name].grader, {question["id"]: question})
    assert [verdict for verdict, _ in found] == ["right", "wrong"]


@pytest.mark.parametrize("name", LOCAL)
def test_local_copies(name: str, shared: Path) -> None:
    source = shared / "data" / LOCAL[name]
    questions = load_questions(config(name, data=str(source)))
    assert len(questions.rows) == COUNTS[name]
    assert questions.source == str(source)
    if name == "humaneval+":
        few = questions.rows[:4]
        lines = [
            line | {"response": text}
            for row in few
            for line in answered(row, "")
            for text in (row["answer"], "    return None")
        ]
        found = grade(lines, "code", {row["id"]: row for row in few})
        assert [verdict for verdict, _ in found] == ["right", "wrong"] * 4
        return
    lines = [
        {"id": row["id"], "gold": row["gold"], "response": f"So \\boxed{{{row['gold']}}}."}
        for row in questions.rows
    ]
    assert {verdict for verdict, _ in grade(lines, "math", {})} == {"right"}


def test_which_questions(tmp_path: Path) -> None:
    rows = [{"id": f"q{i}", "prompt": f"{i}?", "answer": i} for i in range(5)]
    data = written(tmp_path / "rows.jsonl", *rows)
    some = load_questions(config("math500", data=data, skip=1, questions=2))
    assert [row["id"] for row in some.rows] == ["q1", "q2"]
    with pytest.raises(UserError, match="no question is left of the 5"):
        load_questions(config("math500", data=data, skip=5))
    twice = written(tmp_path / "twice.jsonl", *(row | {"id": "same"} for row in rows))
    assert [row["id"] for row in load_questions(config(twice)).rows] == ["1", "2", "3", "4", "5"]


def test_problems_that_cannot_be_judged_are_left_out_and_counted(tmp_path: Path) -> None:
    row = ROWS["codeforces"][0]
    others = [row | {"id": f"2/{i}", "generated_checker": "import sys"} for i in "AB"]
    data = written(tmp_path / "rows.jsonl", *others, row)
    questions = load_questions(config("codeforces", data=data))
    assert [row["id"] for row in questions.rows] == ["1/A"]
    (reason,) = questions.left_out
    assert "checker of its own" in reason
    assert questions.left_out[reason] == 2
    text = questions.rows[0]["prompt"]
    assert text.startswith("Up (time limit: 1 s)\n\nAdd one.\n\nInput\nA number.")
    assert text.endswith("Example\nInput:\n1\nOutput:\n2")


def test_reward_functions_find_the_gold_that_was_named(tmp_path: Path) -> None:
    rows = [{"prompt": "?", "answer": "4", "alt": "5"}, {"prompt": "!", "answer": None, "gold": 7}]
    data = written(tmp_path / "mine.jsonl", *rows)

    def answers(**more: Any) -> list[Any]:
        return [row["answer"] for row in load_questions(config(data, grader="gsm8k", **more)).rows]

    assert answers() == ["4", 7]
    assert answers(gold_column="alt", questions=1) == ["5"]


def test_ones_own_file(tmp_path: Path) -> None:
    rows = [{"q": "1+1?", "a": 2}, {"q": [{"role": "user", "content": "2+2?"}], "a": "4"}]
    data = written(tmp_path / "mine.jsonl", *rows)
    asked = config(data, prompt_column="q", gold_column="a")
    questions = load_questions(asked)
    assert questions.name == "mine"
    assert [row["gold"] for row in questions.rows] == [2, "4"]
    assert prompt_format(asked, questions.benchmark, SimpleNamespace(chat_template=None)) == (
        PromptFormat("{prompt}", False, None, {})
    )
    with pytest.raises(UserError, match=r"none of the columns gold; name one with gold_column"):
        load_questions(config(data, prompt_column="q", gold_column="gold"))
    with pytest.raises(UserError, match="none of the columns prompt, problem, question"):
        load_questions(config(data))


@pytest.mark.parametrize("name", ["codeforces", "olympiad", "livecodebench", "countdown"])
def test_a_file_called_as_a_benchmark_is_ones_own_file(name: str, tmp_path: Path) -> None:
    row = {"title": "Sum", "prompt": "1+1?", "answer": "2", "context": "ctx", "time_limit": "?"}
    questions = load_questions(config(written(tmp_path / f"{name}.jsonl", row)))
    assert [(row["prompt"], row["gold"]) for row in questions.rows] == [("1+1?", "2")]
    assert questions.benchmark.grader == "math"
    copy = written(tmp_path / "rows.jsonl", ROWS["olympiad"][0] | {"context": "Let x = 1."})
    known = load_questions(config("olympiad", data=copy))
    assert known.rows[0]["prompt"] == "Let x = 1.\n\nRoots?"


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        (7, "question q: must be text, or a list of chat messages"),
        ([], "question q: must be text"),
        ([{"role": "user", "content": [{"type": "text", "text": "1+1?"}]}], "question q: must be"),
        ([{"content": "1+1?"}], "question q: must be text"),
        ("1+1 \ud83d", r"question 'q': its prompt has half a character \('\\ud83d', a lone"),
        ([{"role": "user", "content": "\udc00"}], "question 'q': its prompt has half a character"),
    ],
)
def test_questions_that_cannot_be_put(prompt: Any, says: str, tmp_path: Path) -> None:
    row = {"id": "q", "prompt": prompt, "answer": "2"}
    with pytest.raises(UserError, match=says):
        load_questions(config(written(tmp_path / "mine.jsonl", row)))


def test_golds_that_cannot_be_written(tmp_path: Path) -> None:
    row = {"id": "q", "prompt": "1+1?", "answer": ["2", "\ud83d"]}
    with pytest.raises(UserError, match="question 'q': its gold has half a character"):
        load_questions(config(written(tmp_path / "mine.jsonl", row)))
    whole = row | {"answer": "\U0001f600"}
    assert load_questions(config(written(tmp_path / "mine.jsonl", whole))).rows[0]["gold"] == "😀"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"time_limit": "2 s"}, "question 1/A: Codeforces: time_limit must be a number of seconds"),
        ({"examples": [{"input": "1"}]}, "question 1/A: Codeforces: examples must be a list"),
    ],
)
def test_problems_that_cannot_be_shown(change: dict, says: str, tmp_path: Path) -> None:
    data = written(tmp_path / "rows.jsonl", ROWS["codeforces"][0] | change)
    with pytest.raises(UserError, match=says):
        load_questions(config("codeforces", data=data))


def test_answers_to_other_questions_are_refused() -> None:
    rows = [{"id": "1", "prompt": "a"}, {"id": "2", "prompt": [{"role": "user", "content": "b"}]}]
    lines = [{"id": "1", "prompt": "a"}, {"id": "2", "prompt": "b"}]
    refuse_others(lines, rows, "x.jsonl", "stop")
    with pytest.raises(UserError, match=r"question 2: has changed in x\.jsonl since .*; stop"):
        refuse_others([lines[0], lines[1] | {"prompt": "c"}], rows, "x.jsonl", "stop")
    with pytest.raises(UserError, match=r"question 1: is gone from x\.jsonl"):
        refuse_others(lines, rows[1:], "x.jsonl", "stop")


def test_names_that_there_are_not() -> None:
    with pytest.raises(UserError, match="did you mean aime24"):
        find(config("aime-24"))
    with pytest.raises(UserError, match="there are aime24, aime25"):
        find(config("zzz"))
    with pytest.raises(UserError, match="leave data out"):
        find(config("countdown", data="x.jsonl"))


def test_built_in_tasks() -> None:
    questions = load_questions(config("countdown", questions=3, skip=2))
    assert [row["id"] for row in questions.rows] == ["3", "4", "5"]
    assert questions.source == "task countdown"
    options = {"numbers": 3}
    three = load_questions(config("countdown", questions=1, task_options=options)).rows
    assert len(three[0]["numbers"]) == 3


@pytest.mark.parametrize(
    ("gold", "as_one"),
    [
        ("a\n#### 18", "18"),
        (["1", "2"], "1, 2"),
        (["3"], "3"),
        ([1e-05, 3.0, Decimal("0.5")], "0.00001, 3, 0.5"),
        (["1", None], ["1", None]),
        (7, 7),
        ("x", "x"),
        (Decimal("0.50"), "0.50"),
        (date(2024, 1, 2), "2024-01-02"),
        (
            {"v": date(2024, 1, 2), "w": [Decimal("0.5"), {"x": b"b"}], "y": None},
            {"v": "2024-01-02", "w": ["0.5", {"x": "b'b'"}], "y": None},
        ),
        ({"value": 1.5, "unit": "m"}, {"value": 1.5, "unit": "m"}),
    ],
)
def test_golds_as_one_answer(gold: Any, as_one: Any) -> None:
    assert short(gold) == as_one


def test_golds_of_parquet_are_such_as_an_answer_is_written_with(tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    golds = [{"v": date(2024, 1, 2), "w": [Decimal("1.5")]}]
    parquet.write_table(pa.table({"prompt": ["When?"], "answer": golds}), tmp_path / "g.parquet")
    (row,) = load_questions(config(str(tmp_path / "g.parquet"))).rows
    assert json_line({"gold": row["gold"]}) == '{"gold": {"v": "2024-01-02", "w": ["1.5"]}}\n'


def test_datasets_that_are_scripts_are_read_by_their_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The library's own builder on a local copy, at the address that it would be asked for.
    import datasets

    local = written(tmp_path / "rows.jsonl", ROWS["livecodebench"][0])
    asked: list[str] = []
    real = datasets.load_dataset

    def load(builder: str, *, data_files: str, split: str) -> Any:
        asked.append(data_files)
        return real(builder, data_files=local, split=split, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", load)
    questions = load_questions(config("livecodebench"))
    assert questions.rows[0]["id"] == "abc1_a"
    assert questions.source == "livecodebench/code_generation_lite v6"
    load_questions(config("livecodebench", split="v1"))
    prefix = "hf://datasets/livecodebench/code_generation_lite/"
    assert asked == [prefix + "test6.jsonl", prefix + "test.jsonl"]
    with pytest.raises(UserError, match="has v1, v2, v3, v4, v5, v6, not 'test'"):
        load_questions(config("livecodebench", split="test"))


def test_hub_names_reach_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, configuration: str | None, split: str) -> list[dict]:
        asked.append((name, configuration, split))
        return [ROWS["gsm8k"][0]]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load))
    for name in ("gsm8k", "aime24", "math500"):
        load_questions(config(name))
    load_questions(config("math500", data="me/copy:mine", split="train"))
    assert asked == [
        ("openai/gsm8k", "main", "test"),
        ("HuggingFaceH4/aime_2024", None, "train"),
        ("HuggingFaceH4/MATH-500", None, "test"),
        ("me/copy", "mine", "train"),
    ]


# --- how they are put -------------------------------------------------------------------------


def test_templates(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    row = load_questions(config("aime24", data=written(tmp_path / "r.jsonl", ROWS["aime24"][0])))
    form = prompt_format(config("aime24"), BENCHMARKS["aime24"], tokenizer)
    assert str(form).startswith("plain text\n{prompt}\n\nPlease reason step by step")
    assert "\\boxed{}" in form.template.format(prompt="1+1?")
    assert prompt_format(config("humaneval+"), BENCHMARKS["humaneval+"], tokenizer).template == (
        "{prompt}"  # a base model goes on with the function itself
    )
    own = PromptFormat("{prompt}{year}>", False, None, {})
    (prompt,) = put(row.rows, own, tokenizer, 64)
    assert tokenizer.decode(prompt.ids) == "1+1<unk>1>"  # the vocabulary has no question mark
    assert prompt.text == "1+1?"

    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}="
    form = prompt_format(config("humaneval+"), BENCHMARKS["humaneval+"], tokenizer)
    assert (form.chat, form.template) == (True, FUNCTION)
    asked = config("aime24", chat=False, system_prompt="Be brief.", prompt_template="{prompt}=")
    form = prompt_format(asked, BENCHMARKS["aime24"], tokenizer)
    assert str(form) == "plain text\n{prompt}=\nsystem message: Be brief."
    with pytest.raises(UserError, match="system_prompt needs chat messages") as error:
        put(row.rows, form, tokenizer, 64)
    assert "data." not in str(error.value)


def test_a_method_is_shown_with_what_is_to_be_completed(tmp_path: Path) -> None:
    row = ROWS["livecodebench"][0]
    rows = [row | {"starter_code": "class Solution:", "question_id": "b"}, row]
    data = written(tmp_path / "rows.jsonl", *rows)
    method, program = load_questions(config("livecodebench", data=data)).rows
    assert "```python\nclass Solution:\n```" in method["instruction"]
    assert "standard input" in program["instruction"]


def test_a_model_of_a_run_reads_what_the_run_put_around_questions(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "run" / "model"))
    recipe = {
        "algorithm": "flowrl",
        "head": {"pooling": "separator", "separator": ">"},
        "reward": {"functions": {"math": 1.0}},
        "data": {
            "train": "a.jsonl",
            "chat": True,
            "chat_template": "{{ messages[-1]['content'] }}={{ sign }}",
            "chat_template_kwargs": {"sign": "4"},
            "system_prompt": "Be brief.",
        },
    }
    (folder.parent / "config.yaml").write_text(json.dumps(recipe | {"rollout": {}}))
    tokenizer = load_tokenizer(str(folder))
    asked = config("countdown", model={"path": str(folder)})
    _, benchmark, _ = find(asked)
    form = prompt_format(asked, benchmark, tokenizer)
    assert str(form).startswith("chat template of the run\n")
    assert (form.system_prompt, form.arguments) == ("Be brief.", {"sign": "4"})
    (prompt,) = put([{"prompt": "1,2", "id": "a"}], form, tokenizer, 100)
    assert tokenizer.decode(prompt.ids) == "1,2=4>"
    own = asked.model_copy(update={"chat_template_kwargs": {"sign": "5"}, "system_prompt": "Yes."})
    form = prompt_format(own, benchmark, tokenizer)
    assert (form.system_prompt, form.arguments) == ("Yes.", {"sign": "5"})
    assert prompt_format(own.model_copy(update={"chat": False}), benchmark, tokenizer).chat is False
