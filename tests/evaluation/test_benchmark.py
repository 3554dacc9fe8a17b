"""`evenflow eval … benchmark=…` from the command line: whole, interrupted, graded again."""

from __future__ import annotations

import ast
import json
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import evenflow
from evenflow.cli import main
from evenflow.evaluation.benchmarks.answers import Answers
from evenflow.evaluation.benchmarks.registry import BENCHMARKS
from evenflow.evaluation.benchmarks.sampling import question_seed

Run = Callable[..., Path]
FIELDS = ["id", "sample", "prompt", "gold", "response", "tokens", "finished", "verdict", "reason"]
RESULT = [
    *("kind", "benchmark", "model", "source", "questions", "questions_asked"),
    *("num_generations", "temperature", "top_p", "max_completion_length", "prompt_format"),
    *("grader", "seed", "avg@k", "pass@k", "maj@k", "length", "cut_off", "unknown"),
    *("tokens_per_second", "seconds"),
]


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path) -> Run:
    """Evaluate the tiny model on Countdown: 6 questions, 4 answers each, 2 questions at once."""

    def evaluate(folder: str, *overrides: str, status: int = 0) -> Path:
        output = tmp_path / folder
        arguments = [
            "eval", f"model.path={tiny_model}", "benchmark=countdown", "questions=6",
            "num_generations=4", "max_completion_length=8", "max_batch=8", "threads=1",
            "temperature=1", f"output={output}", *overrides,
        ]  # fmt: skip
        assert main(arguments) == status
        return output

    return evaluate


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]


def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def test_what_is_written(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run("a")
    rows, found = lines(folder), result(folder)
    assert [list(row) for row in rows] == [[*FIELDS, "class"]] * 24
    assert [(row["id"], row["sample"]) for row in rows] == [
        (str(i), j) for i in range(1, 7) for j in range(4)
    ]
    assert list(found) == RESULT
    assert (found["kind"], found["benchmark"], found["source"]) == (
        "benchmark",
        "countdown",
        "task countdown",
    )
    assert found["prompt_format"] == "plain text\n{prompt}"
    assert list(found["pass@k"]) == ["1", "2", "3", "4"]
    assert list(found["maj@k"]) == ["1", "2", "4"]
    right = Counter(row["id"] for row in rows if row["verdict"] == "right")
    assert found["avg@k"]["value"] == pytest.approx(right.total() / 24)
    assert found["cut_off"] == pytest.approx(sum(not row["finished"] for row in rows) / 24)
    assert found["length"] == pytest.approx(sum(row["tokens"] for row in rows) / 24)
    said = capsys.readouterr().out
    assert "countdown: 6 questions" in said
    assert "tokens/s" in said
    assert "left 0:00" in said


def test_a_folder_is_made(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = [f"model.path={tiny_model}", "benchmark=programs", "questions=1", "num_generations=2"]
    assert main(["eval", *asked, "max_completion_length=4"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("eval-programs-")
    assert sorted(path.name for path in folder.iterdir()) == [
        *("answers.jsonl", "config.yaml", "provenance.json", "result.json", "sampling.json")
    ]
    assert main(["eval", *asked, "max_completion_length=4", f"output={folder}"]) == 0  # the same


def test_answers_do_not_depend_on_what_else_is_asked(run: Run) -> None:
    everything = lines(run("all"))
    assert lines(run("first", "questions=3")) == everything[:12]
    assert lines(run("rest", "questions=3", "skip=3")) == everything[12:]
    assert lines(run("wide", "max_batch=512")) == everything
    assert lines(run("other", "seed=1")) != everything


def test_seeds_are_of_seed_and_question() -> None:
    seeds = [question_seed(0, "a"), question_seed(1, "a"), question_seed(0, "b")]
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seeds[0] == question_seed(0, "a")


def test_an_interrupted_evaluation_goes_on_to_the_same_end(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run("whole")
    add = Answers.add

    def add_and_interrupt(self: Answers, rows: list[dict]) -> None:
        add(self, rows)
        if len(self.lines) == 12:  # one question of the second pair
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Answers, "add", add_and_interrupt)
        with pytest.raises(SystemExit) as stopped:
            run("parts")
    assert stopped.value.code == 130
    assert "goes on from here" in capsys.readouterr().out
    parts = whole.with_name("parts")
    saved = lines(parts)
    assert len(saved) == 12
    assert {row["verdict"] for row in saved} == {"unknown"}
    assert not (parts / "result.json").exists()
    # A kill in the midst of writing leaves a part of a line, and of a question.
    with (parts / "answers.jsonl").open("a") as file:
        fifth = next(row for row in lines(whole) if row["id"] == "5")
        file.write(json.dumps(fifth) + '\n{"id": "5", "samp')

    run("parts")
    assert "going on: 3 of 6 questions are answered" in capsys.readouterr().out
    assert (parts / "answers.jsonl").read_bytes() == (whole / "answers.jsonl").read_bytes()
    timed = ("seconds", "tokens_per_second")
    of_parts, of_whole = ({k: v for k, v in result(f).items() if k not in timed}
                          for f in (parts, whole))  # fmt: skip
    assert of_parts == of_whole


def test_what_is_complete_needs_no_model(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run("a")
    before = (folder / "answers.jsonl").read_bytes()
    (folder / "result.json").unlink()

    def refuse(*_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("evenflow.evaluation.benchmarks.evaluate.loaded", refuse)
    run("a")
    assert (folder / "answers.jsonl").read_bytes() == before
    assert result(folder)["questions"] == 6


def test_a_folder_without_answers_takes_other_options(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def too_much(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patch:
        patch.setattr("evenflow.evaluation.benchmarks.sampling.sample", too_much)
        run("a", status=2)
    assert "max_batch: memory ran out with 8 answers at once" in capsys.readouterr().err
    assert len(lines(run("a", "max_batch=4"))) == 24


def test_questions_that_changed_are_not_gone_on_with(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "math.jsonl"
    data.write_text('{"id": "a", "prompt": "1+1", "answer": "2"}\n')
    folder = run("a", f"benchmark={data}")
    before = (folder / "answers.jsonl").read_bytes()
    for text in (
        '{"id": "a", "prompt": "1+2", "answer": "2"}\n',
        '{"prompt": "1+1", "answer": "2"}',
    ):
        data.write_text(text)
        run("a", f"benchmark={data}", status=2)
        assert f"{data} since its answers were sampled" in capsys.readouterr().err
        assert (folder / "answers.jsonl").read_bytes() == before


def test_folders_of_something_else(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").write_text("algorithm: tba\n")
    run("a", status=2)
    assert (tmp_path / "a" / "config.yaml").read_text() == "algorithm: tba\n"


def test_other_options_are_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("a")
    run("a", "top_p=0.5", status=2)
    assert "top_p: is 0.5, and the answers saved there were made with 0.95" in (
        capsys.readouterr().err
    )
    run("a", "grader=programs", status=2)
    run("a", "device=cpu")


MATH = [
    {"id": "half", "problem": "Half?", "answer": "1/2"},
    {"id": "three", "problem": "Three?", "answer": "3"},
    {"id": "lost", "problem": "?", "answer": " "},
]
SAID = {
    "half": ["\\boxed{0.5}", "Answer: 1/2", "\\boxed{0.25}"],
    "three": ["\\boxed{4}", "I do not know", "Answer: 3"],
    "lost": ["\\boxed{1}"] * 3,
}


@pytest.fixture
def saved(tmp_path: Path, tiny_model: Path) -> Path:
    """A folder with answers to three questions, as if a model had given them."""
    data, folder = tmp_path / "math.jsonl", tmp_path / "saved"
    data.write_text("".join(json.dumps(row) + "\n" for row in MATH))
    folder.mkdir()
    (folder / "answers.jsonl").write_text(
        "".join(
            json.dumps(
                {"id": row["id"], "sample": i, "prompt": row["problem"], "gold": row["answer"],
                 "response": text, "tokens": 5, "finished": True, "verdict": "unknown",
                 "reason": "not graded yet", "class": None}
            ) + "\n"
            for row in MATH for i, text in enumerate(SAID[row["id"]])
        )
    )  # fmt: skip
    from evenflow.config import BenchmarkConfig, load
    from evenflow.evaluation.benchmarks.answers import save_config

    overrides = [f"model.path={tiny_model}", "benchmark=math500", f"data={data}"]
    save_config(folder, load(BenchmarkConfig, None, [*overrides, "num_generations=3"]))
    return folder


def test_grading_again(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--regrade", str(saved)]) == 0
    ours = result(saved)
    assert [row["verdict"] for row in lines(saved)] == [
        *("right", "right", "wrong"),
        *("wrong", "wrong", "right"),
        *("unknown", "unknown", "unknown"),
    ]
    assert ours["grader"] == "math"
    assert ours["avg@k"]["value"] == pytest.approx((2 / 3 + 1 / 3) / 2)  # the lost one is apart
    assert ours["unknown"] == pytest.approx(1 / 3)
    reason = lines(saved)[-1]["reason"]
    assert f"unknown: 3 × {reason}\n" in capsys.readouterr().out
    # 0.5 and 1/2 vote together against 0.25; 4 and 3 tie, and one does not vote.
    assert ours["maj@k"]["3"]["value"] == pytest.approx((1 + 1 / 2) / 2)

    assert main(["eval", "--regrade", str(saved), "grader=dapo"]) == 0
    assert [row["verdict"] for row in lines(saved)][:6] == [
        *("wrong", "right", "wrong"),
        *("wrong", "wrong", "right"),
    ]
    assert result(saved)["grader"] == "dapo"
    assert main(["eval", "--regrade", str(saved), "grader=null"]) == 0
    assert result(saved) == ours
    capsys.readouterr()
    assert main(["eval", "--regrade", str(saved), "temperature=1"]) == 2
    assert "temperature: is 1" in capsys.readouterr().err
    assert result(saved) == ours


def test_grading_again_knows_of_thoughts_that_the_prompt_opened(saved: Path) -> None:
    rows = [row | {"opened_thought": "<think>"} for row in lines(saved)]
    rows[0]["response"] = "Hm.</think> \\boxed{0.5}"
    (saved / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for grader in ("math", "boxed-strict", "dapo", "evenflow.rewards.math:gsm8k"):
        assert main(["eval", "--regrade", str(saved), f"grader={grader}"]) == 0
        right = [row["verdict"] == "right" for row in lines(saved)]
        assert right == [grader in ("math", "evenflow.rewards.math:gsm8k"), *[False] * 8]
        assert not any(row["class"] for row in lines(saved)[1:])  # a draft does not vote


def test_grading_again_with_other_golds(saved: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(row | {"answer": "4"}) + "\n" for row in MATH))
    assert main(["eval", "--regrade", str(saved), f"data={other}"]) == 0
    assert [row["gold"] for row in lines(saved)] == ["4"] * 9
    assert [row["verdict"] for row in lines(saved)].count("right") == 1
    fewer = tmp_path / "fewer.jsonl"
    fewer.write_text(json.dumps(MATH[0]) + "\n")
    assert main(["eval", "--regrade", str(saved), f"data={fewer}"]) == 2
    assert [row["gold"] for row in lines(saved)] == ["4"] * 9


def fails_at_three(prompts: list, **_: object) -> list[float]:
    assert "Three?" not in prompts
    return [1.0] * len(prompts)


@pytest.mark.parametrize("grader", ["code", f"{__name__}:fails_at_three"])
def test_a_grader_that_fails_leaves_the_old_verdicts(
    grader: str, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "--regrade", str(saved)]) == 0
    before = (saved / "answers.jsonl").read_bytes(), (saved / "config.yaml").read_bytes()
    assert main(["eval", "--regrade", str(saved), f"grader={grader}"]) == 2
    said = capsys.readouterr().err
    assert "question half: there are no `tests`" in said or "raised AssertionError" in said
    assert ((saved / "answers.jsonl").read_bytes(), (saved / "config.yaml").read_bytes()) == before


def test_a_rating_from_files(
    run: Run, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {
        "id": "1/A", "contest_id": "1", "index": "A", "title": "Up", "description": "Add one.",
        "official_tests": [{"input": "1\n", "output": "2\n"}],
    }  # fmt: skip
    data = tmp_path / "cf.jsonl"
    data.write_text(json.dumps(row) + "\n")
    folder = run("cf", "benchmark=codeforces", f"data={data}", "prompt_template={contest_id}:")
    assert "rating" not in result(folder)
    assert "no rating: it needs past contests' standings" in capsys.readouterr().out
    path = folder / "answers.jsonl"
    tries = lines(folder)
    for line, text in zip(tries, ["print(3)", "print(2)", "x", "print(2)"], strict=True):
        line["response"] = text
    path.write_text("".join(json.dumps(line) + "\n" for line in tries))
    people = [{"rating": 1400, "points": 440}, {"rating": 1600, "points": 500}]
    contests, users = tmp_path / "contests.json", tmp_path / "users.json"
    contests.write_text(json.dumps({"1": {"problems": {"A": 500}, "participants": people}}))
    users.write_text("[1000, 2000, 3000, 1499]")
    files = [f"contest_ratings={contests}", f"user_ratings={users}"]
    assert main(["eval", "--regrade", str(folder), *files]) == 0
    # Right at the second try: 450 points, behind one of two.
    assert result(folder)["rating"] == {
        "rating": pytest.approx(1500),
        "contests": 1,
        "problems": 1,
        "problems_tried": 1,
        "problems_unknown": 0,
        "tries": 4,
        "percentile": 50.0,
    }
    assert "4 tries a problem" in capsys.readouterr().out
    assert main(["eval", "--regrade", str(saved), f"contest_ratings={contests}"]) == 2
    # A file that is called so has no contests.
    mine = tmp_path / "codeforces.jsonl"
    mine.write_text('{"prompt": "1+1", "answer": "2"}\n')
    capsys.readouterr()
    run("mine", f"benchmark={mine}", *files, status=2)
    assert "are for benchmark=codeforces" in capsys.readouterr().err
    run("mine", f"benchmark={mine}")
    assert "no rating" not in capsys.readouterr().out


@pytest.fixture
def chat_model(tiny_model: Path, tmp_path: Path) -> Path:
    from evenflow.policy.loading import load_model, load_tokenizer

    model = tmp_path / "chat"
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}>"
    tokenizer.save_pretrained(model)
    load_model(str(tiny_model), torch.float32).save_pretrained(model)  # pyright: ignore
    return model


def test_a_chat_template_is_used_where_there_is_one(
    run: Run, chat_model: Path, tmp_path: Path
) -> None:
    data = tmp_path / "math.jsonl"
    data.write_text(json.dumps({"prompt": "1+1", "answer": "2"}) + "\n")
    asked = [f"model.path={chat_model}", f"benchmark={data}"]
    found = result(run("a", *asked))
    assert found["prompt_format"] == "chat template of the tokenizer\n{prompt}"
    assert (found["benchmark"], found["source"], found["grader"]) == ("math", str(data), "math")
    plain = run("b", *asked, "chat=false", "prompt_template={prompt}=")
    assert result(plain)["prompt_format"] == "plain text\n{prompt}="
    run("c", *asked, "chat=false", "prompt_template={prompt}>")
    said = [[line["response"] for line in lines(tmp_path / name)] for name in "abc"]
    assert said[0] == said[2] != said[1]


def test_answers_that_are_begun_are_said(
    run: Run, chat_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in data for fine-tuning, whose last message is the right answer."""
    asked = {"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}
    rows = [{"prompt": list(asked), "answer": "2"}, {"prompt": [asked[0]], "answer": "2"}]
    data = tmp_path / "math.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run("a", f"model.path={chat_model}", f"benchmark={data}")
    assert "take care: 1 of 2 questions end with the assistant's words" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "eval needs a recipe, or model.path=… benchmark=…"),
        (["benchmark=aime24"], "model.path=… is missing"),
        (["model.path=x"], "benchmark=… is missing"),
        (["model.path=x", "benchmark=aime"], "did you mean aime2"),
        (["model.path=x", "benchmark=aime24", "topp=1"], "did you mean top_p?"),
        (["model.path=x", "benchmark=aime24", "grader=nope"], "nor built in"),
        (["--regrade", "nowhere"], "not the folder of an evaluation"),
    ],
)
def test_mistakes_are_sentences(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_answers_that_do_not_fit_the_model(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run("a", "max_completion_length=64", status=2)
    assert "the model reads 64" in capsys.readouterr().err
    assert not folder.exists()
    folder = run("b", "max_completion_length=null", "questions=1")
    assert result(folder)["max_completion_length"] == 64 - len(lines(folder)[0]["prompt"])


def test_every_field_is_documented_and_read() -> None:
    from evenflow.config import BenchmarkConfig, fields

    read = {
        node.attr
        for path in Path(evenflow.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    for name, _, _, meaning in fields(BenchmarkConfig):
        assert meaning.endswith((".", ")")), name
        assert name.rpartition(".")[2] in read, name


def test_the_page_has_every_benchmark() -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
    for name, row in BENCHMARKS.items():
        assert f"| `{name}` | `{row.source}` | {row.split} |" in page


def test_fields_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "eval", "grader"]) == 0
    assert "grader: text | null = null" in capsys.readouterr().out


def test_a_runs_answers_end_as_in_its_training(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "trained" / "model"))
    (model.parent / "config.yaml").write_text("data: {task: countdown}\nrollout: {stop: ['4']}\n")
    more = "max_completion_length=40"
    free = run("free", more)
    ended = run("ended", more, f"model.path={model}")
    assert sum("4" in line["response"][:-1] for line in lines(free)) > 3
    assert not any("4" in line["response"][:-1] for line in lines(ended))
    both = run("both", more, f"model.path={model}", "stop=['5']")
    assert not any(set("45") & set(line["response"][:-1]) for line in lines(both))
