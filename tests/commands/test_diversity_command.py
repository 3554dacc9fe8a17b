"""`evenflow diversity` from the command line, the judge at a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.chat_server import KEY, Response, serving

from evenflow.cli import main
from evenflow.commands.diversity import outputs
from evenflow.errors import UserError
from evenflow.installation import how_to_install

ROWS = [
    {"id": str(q), "sample": s, "prompt": f"{q}?", "response": f"way {s % ways} to {q}",
     "verdict": "right" if s else "wrong", "class": str(s % ways)}
    for q, ways in enumerate([1, 2, 4]) for s in range(4)
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def written(path: Path, rows: list) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_table_and_a_file(tmp_path, capsys):
    """1, 2 and 3 classes among the right answers: 2 on average; vectors of 1, 2 and 4 ways."""
    assert main(["diversity", written(tmp_path / "answers.jsonl", ROWS)]) == 0
    said = capsys.readouterr().out
    assert "answers.jsonl" in said
    assert re.search(r"distinct-right.*2\.000 \[1\.000, 3\.000\]", said)
    assert "effective number" in said
    result = json.loads((tmp_path / "diversity.json").read_text())
    assert result["kind"] == "diversity"
    assert result["questions"] == 3
    assert result["scores"]["distinct-right"] == {
        "value": 2.0, "low": 1.0, "high": 3.0, "questions": 3,
    }  # fmt: skip
    assert [row["id"] for row in result["per_question"]] == ["0", "1", "2"]
    assert result["how"]["vectors"].startswith("counts of word")
    assert "judge" not in result["scores"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl", "diversity.json"]


def test_several_files_are_one_table(tmp_path, capsys):
    first = written(tmp_path / "a" / "answers.jsonl", ROWS)
    second = written(tmp_path / "b" / "answers.jsonl", [row for row in ROWS if row["sample"] < 2])
    third = written(tmp_path / "b" / "other[bold].jsonl", ROWS[:8])
    assert main(["diversity", first, second, third]) == 0
    said = capsys.readouterr().out
    assert "a/answers.jsonl" in said
    assert "b/other[bold].jsonl" in said
    assert "different numbers of answers" in said
    assert "different questions" in said
    for place in ("a/diversity.json", "b/diversity.json", "b/other[bold].diversity.json"):
        assert (tmp_path / place).is_file()


def test_right_only_and_a_task(tmp_path, capsys):
    prompt = "9,6,3,9>33:"
    answers = ["3*9=27,27+6=33", "9*3=27,6+27=33", "9-6=3", "no"]
    file = written(tmp_path / "samples.jsonl", [{"step": 0, "prompt": prompt, "answers": answers}])
    out = tmp_path / "out.json"
    arguments = ["diversity", file, "task=countdown", "right_only=true", f"output={out}"]
    assert main(arguments) == 0
    (row,) = json.loads(out.read_text())["per_question"]
    assert (row["answers"], row["right"], row["distinct-right"], row["for-diversity"]) == (
        2, 2, 1, 1,
    )  # fmt: skip
    assert main(["diversity", file, "right_only=true"]) == 2
    assert "no answer is known to be right or wrong" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rewards", "task", "says"),
    [
        ([1, 1, 0, 0], "programs", "calls 2 of 4 answers right, and task=programs finds none"),
        ([0, 0, 1, 1], "countdown", "calls 2 of 4 answers right, and task=countdown finds none"),
        ([1, 0, 0, 0], "countdown", None),
        ([1, 1, 1, 1], "countdown", None),
        ([0, 0, 0, 0], "programs", None),
        ([None] * 4, "programs", None),
    ],
)
def test_a_task_whose_questions_these_are_not(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rewards: list[float | None],
    task: str,
    says: str | None,
) -> None:
    answers = ["3*9=27,27+6=33", "9*3=27,6+27=33", "9-6=3", "no"]
    row = {"prompt": "9,6,3,9>33:", "answers": answers, "rewards": rewards}
    file = written(tmp_path / "samples.jsonl", [row])
    assert main(["diversity", file, f"task={task}"]) == 0
    said = capsys.readouterr().err
    assert (f"take care: {file}: {says}" in said) if says else (said == "")


def test_right_only_leaves_unknown_answers_out_and_says_how_many(tmp_path, capsys):
    """Of question 0 right, right, unknown, wrong; question 1 has no right answer."""
    verdicts = ["right", "right", "unknown", "wrong", "unknown", "wrong"]
    rows = [
        {"id": str(number // 4), "prompt": "?", "response": f"a{number}", "verdict": verdict}
        for number, verdict in enumerate(verdicts)
    ]
    file = written(tmp_path / "answers.jsonl", rows)
    assert main(["diversity", file, "right_only=true"]) == 0
    assert "answers of unknown verdict, left out: 2" in capsys.readouterr().out
    result = json.loads((tmp_path / "diversity.json").read_text())
    assert result["unknown_left_out"] == 2
    assert [(row["id"], row["answers"]) for row in result["per_question"]] == [("0", 2)]
    assert main(["diversity", file]) == 0
    assert "left out" not in capsys.readouterr().out
    result = json.loads((tmp_path / "diversity.json").read_text())
    assert result["unknown_left_out"] == 0
    assert sum(row["answers"] for row in result["per_question"]) == 6


def test_code_and_rewards_have_no_distinct_right(tmp_path, capsys):
    """Two different right answers without a class, and an unsolved question: not 0 of them."""
    rows = [
        {"step": 1, "prompt": "p", "answers": ["a", "b"], "rewards": [1.0, 1.0]},
        {"step": 1, "prompt": "q", "answers": ["c", "d"], "rewards": [0.0, 0.0]},
    ]
    assert main(["diversity", written(tmp_path / "samples.jsonl", rows)]) == 0
    said = capsys.readouterr().out
    assert "distinct-right" not in said
    assert re.search(r"for-diversity.*2\.000", said)
    result = json.loads((tmp_path / "diversity.json").read_text())
    assert result["how"]["distinct-right"] == "left out: 2 of 2 right answers have no class"
    assert [row["distinct-right"] for row in result["per_question"]] == [None, None]


def test_how_says_what_was_asked_for(tmp_path, monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    answers = ["3*9=27,27+6=33", "no"]
    file = written(tmp_path / "samples.jsonl", [{"prompt": "9,6,3,9>33:", "answers": answers}])
    arguments = ["diversity", file, "task=countdown", 'task_options={operators: "+*"}']
    with serving(lambda *_: Response(score=3)) as server:
        judge = ["judge.model=m", f"judge.base_url={server.url}", "judge.max_tokens=77"]
        assert main([*arguments, "right=0.5", *judge]) == 0
    how = json.loads((tmp_path / "diversity.json").read_text())["how"]
    assert (how["task"], how["task_options"]) == ("countdown", {"operators": "+*"})
    assert how["right"] == 0.5
    assert how["distinct-right"] == "solutions of the task"
    assert how["judge"]["max_tokens"] == 77


def test_half_characters_end_to_end(tmp_path, capsys, monkeypatch):
    """Lone surrogates in every text of a file, in a task's option, and in the file's own name (how
    Python spells a byte that is not UTF-8)."""
    pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    rows = [
        {"id": "\ud800", "prompt": "q\ud800", "response": f"\udfff{i}", "verdict": "right",
         "class": "\ud800"} for i in range(2)
    ]  # fmt: skip
    file = written(tmp_path / "\udcff.jsonl", rows)
    with serving(lambda *_: Response(text='{"reason": "\ud800", "score": 2}')) as server:
        url = f"judge.base_url={server.url}"
        assert main(["diversity", file, "judge.model=m", url, "judge.repeats=1"]) == 0
        assert "?.diversity.json" in capsys.readouterr().out
        for words, field in [
            (["judge.model=\udcff", url], "judge.model"),
            (["judge.model=m", url + "\udcff"], "judge.base_url"),
        ]:
            assert main(["diversity", file, *words]) == 2
            assert f"{field}: has a character that no file can hold" in capsys.readouterr().err
    result = json.loads((tmp_path / "\udcff.diversity.json").read_text())
    assert result["answers"].endswith("?.jsonl")
    assert [row["id"] for row in result["per_question"]] == ["?"]
    assert result["per_question"][0]["judge"] == [2]


def test_the_judge_end_to_end(tmp_path, capsys, monkeypatch):
    """Scores, a failure that stays one, agreement, tokens; nothing is asked a second time but the
    failure; the key is nowhere."""
    pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    file = written(tmp_path / "answers.jsonl", ROWS)

    def respond(seen, number):
        if "\n1?\n" in seen.text:
            return Response(status=400, text=f"too long, said {KEY}")
        return Response(score=1 if "\n0?\n" in seen.text else 4)

    with serving(respond) as server:
        arguments = ["diversity", file, "judge.model=m", "judge.repeats=2", "judge.parallel=3"]
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert main(arguments) == 0
        said = capsys.readouterr().out
        assert len(server.requests) == 6
        assert main([*arguments, f"judge.base_url={server.url}"]) == 0
        again = capsys.readouterr().out
        assert len(server.requests) == 8
    assert re.search(r"judge.*2\.500 \[1\.000, 4\.000\]", said)
    assert "4 judgements (0 kept from before), 2 failed" in said
    assert "failed 2×: HTTP 400" in said
    assert "too long, said ***" in said
    assert "400 + 40 tokens in this run" in said
    assert "100% the same, mean difference 0.00, Krippendorff's α 1.00" in said
    assert "4 judgements (4 kept from before), 2 failed" in again
    assert "0 + 0 tokens in this run" in again
    result = json.loads((tmp_path / "diversity.json").read_text())
    assert [row["judge"] for row in result["per_question"]] == [[1, 1], [], [4, 4]]
    assert result["scores"]["judge"]["value"] == 2.5
    assert result["scores"]["judge"]["questions"] == 2
    assert result["how"]["judge"]["model"] == "m"
    everything = said + again + "".join(path.read_text() for path in tmp_path.iterdir())
    assert KEY not in everything


def test_a_judge_that_only_fails(tmp_path, capsys, monkeypatch):
    """The other scores are written, the judge's is null, and the status is 2."""
    pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    file = written(tmp_path / "answers.jsonl", ROWS)
    with serving(lambda *_: Response(text="I cannot say.")) as server:
        arguments = ["diversity", file, "judge.model=m", f"judge.base_url={server.url}"]
        assert main(arguments) == 2
    assert "the judge gave no score at all (no score in the reply)" in capsys.readouterr().err
    judge = json.loads((tmp_path / "diversity.json").read_text())["scores"]["judge"]
    assert judge["value"] is None
    assert judge["failures"]["count"] == 9
    assert judge["distribution"] == dict.fromkeys("12345", 0)


def test_the_judge_is_asked_before_vectors_are_made(tmp_path, capsys, monkeypatch):
    """A server that is not there is a sentence before any model is loaded."""

    def loaded(*_given):
        raise AssertionError("measured before the judge was asked")

    monkeypatch.setattr("evenflow.commands.diversity.measured", loaded)
    file = written(tmp_path / "answers.jsonl", ROWS)
    url = "judge.base_url=http://127.0.0.1:1/v1"
    assert main(["diversity", file, "judge.model=m", url, "judge.retries=0"]) == 2
    assert "127.0.0.1:1" in capsys.readouterr().err


def test_ctrl_c_keeps_what_was_judged(tmp_path):
    """A process interrupted while the third request hangs ends with 130 and two judgements."""
    pytest.importorskip("openai")
    file = written(tmp_path / "answers.jsonl", ROWS)
    with serving(lambda _, number: Response(score=3, wait=90 if number >= 2 else 0)) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "evenflow", "diversity", file, "judge.model=m",
             f"judge.base_url={server.url}", "judge.parallel=1"],
            env=os.environ | {"OPENAI_API_KEY": KEY},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while len(server.requests) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "judge.jsonl keeps what was judged; the same command goes on" in out
    assert error.strip() == "interrupted"
    assert len((tmp_path / "judge.jsonl").read_text().splitlines()) == 2


def test_bad_input_is_a_sentence(tmp_path, capsys, monkeypatch):
    file = written(tmp_path / "f.jsonl", ROWS)
    blind = written(tmp_path / "g.jsonl", [{"id": 1, "response": "a"}, {"id": 1, "response": "b"}])
    url = "judge.base_url=http://127.0.0.1:1/v1"
    for arguments, says in [
        ([str(tmp_path / "none")], "none: cannot be read"),
        ([file, file], "two results"),
        ([file, f"output={file}"], "two results, or a result and an answer file"),
        ([file, blind, f"output={tmp_path / 'x'}"], "output: is for one file"),
        ([file, f"output={tmp_path}"], "is a folder"),
        ([file, "task=chess"], "chess tells no solutions apart"),
        ([file, "task=countdown"], "'0?' is not a question of countdown"),
        ([file, "task=countdown", "task_options=[]"], "task_options: must be a valid dictionary"),
        ([file, "threshold=1"], "threshold: there is no such field; there are: output"),
        (["right_only=true"], "diversity needs a file of answers"),
        ([file, "judge.repeats=2"], "judge: model names who judges"),
        ([blind, "task=countdown"], "question '1' has no prompt"),
        ([file, "judge.model=m"], "name a server with judge.base_url=…, or set OPENAI_API_KEY"),
        ([file, "judge.model=m", "judge.base_url=localhost:8000"], "as http://127.0.0.1:8000/v1"),
        ([file, "judge.model=m", "judge.base_url=http://[::1/v1"], "is no URL of a server"),
        ([blind, "judge.model=m", url], "has no prompt, and the judge must see the question"),
    ]:
        assert main(["diversity", *arguments]) == 2, arguments
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.jsonl", "g.jsonl"]


@pytest.mark.parametrize(
    ("module", "field", "extra"),
    [("openai", "judge.model", "judge"), ("sentence_transformers", "embed", "diversity")],
)
def test_a_missing_package_is_named(tmp_path, capsys, monkeypatch, module, field, extra):
    monkeypatch.setitem(sys.modules, module, None)
    file = written(tmp_path / "f.jsonl", ROWS)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert main(["diversity", file, f"{field}=m"]) == 2
    assert f"needs a package: {how_to_install(extra)}" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["sk-a\nb", "sk-ü"])
def test_a_key_that_is_none_is_not_spelled_out(tmp_path, capsys, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert main(["diversity", written(tmp_path / "f.jsonl", ROWS), "judge.model=m"]) == 2
    error = capsys.readouterr().err
    assert "OPENAI_API_KEY: has characters" in error
    assert "sk-" not in error


@pytest.mark.parametrize("value", ["0", "-1", "x"])
def test_bad_numbers(tmp_path, capsys, value):
    file = written(tmp_path / "f.jsonl", ROWS)
    for field in ("judge.repeats", "judge.parallel", "judge.timeout", "judge.max_tokens"):
        assert main(["diversity", file, f"{field}={value}"]) == 2
        assert f"{field}: must be " in capsys.readouterr().err


def test_a_file_whose_name_looks_like_a_setting(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "a=b.jsonl", ROWS)
    assert main(["diversity", "a=b.jsonl"]) == 2
    assert "diversity needs a file" in capsys.readouterr().err
    assert main(["diversity", "./a=b.jsonl", "right_only=true"]) == 0
    assert (tmp_path / "a=b.diversity.json").is_file()


def test_every_field_is_listed(capsys):
    assert main(["config", "diversity", "judge"]) == 0
    said = capsys.readouterr().out
    assert "judge.timeout: number = 300.0" in said
    assert "right_only" not in said


def test_results_take_the_place_of_files_alone(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: is not a regular file"):
        outputs([Path("a/x.jsonl")], tmp_path / "pipe")


def test_where_results_go():
    assert outputs([Path("a/answers.jsonl")], None) == [Path("a/diversity.json")]
    assert outputs([Path("a/samples.jsonl")], None) == [Path("a/diversity.json")]
    assert outputs([Path("a/x.jsonl")], None) == [Path("a/x.diversity.json")]
    assert outputs([Path("a/x.jsonl")], Path("y")) == [Path("y")]
