"""`evenflow grade`: every line comes back with a verdict, bad input is a sentence."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from evenflow.cli import main
from evenflow.rewards import math

DATA = Path(__file__).parents[3] / "shared" / "data"
ROWS = [
    {"id": 7, "response": "so \\boxed{1/2}", "gold": "0.5", "level": [1]},
    {"response": [{"role": "assistant", "content": "Answer: π"}], "gold": "3", "verdict": "old"},
    {"response": "5", "gold": ""},
    {"response": "#### 4", "gold": 4},
]


def written(path: Path, rows: list) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def graded(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def test_lines_come_back_with_verdicts(tmp_path, capsys):
    out = tmp_path / "deep" / "out.jsonl"
    file = written(tmp_path / "in.jsonl", ROWS)
    assert main(["grade", file, "--kind", "math", "--out", str(out)]) == 0
    rows = graded(out)
    assert [row["verdict"] for row in rows] == ["right", "wrong", "unknown", "right"]
    for before, after in zip(ROWS, rows, strict=True):
        assert after.pop("reason")
        assert after | {"verdict": before.get("verdict")} == before | {
            "verdict": before.get("verdict")
        }
    said = capsys.readouterr().out
    assert "4 responses: right 2 (50.0%), wrong 1 (25.0%), unknown 1 (25.0%)" in said
    assert [path.name for path in out.parent.iterdir()] == ["out.jsonl"]


def test_presets(tmp_path):
    out = tmp_path / "out.jsonl"
    file = written(tmp_path / "in.jsonl", ROWS)
    arguments = ["grade", file, "--kind", "math", "--out", str(out), "--preset", "boxed-strict"]
    assert main(arguments) == 0
    assert Counter(row["verdict"] for row in graded(out)) == {"wrong": 3, "unknown": 1}


def test_what_comes_back_is_json(tmp_path: Path) -> None:
    """Python reads NaN and 1e400 and would write them as no other program reads them."""
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    golds = ("1e400", "NaN", '"5", "x": [NaN, {"a": -1e400}]')
    file.write_text("".join(f'{{"response": "5", "gold": {gold}}}\n' for gold in golds))
    assert main(["grade", str(file), "--kind", "math", "--out", str(out)]) == 0
    text = out.read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert [row["verdict"] for row in graded(out)] == ["unknown", "unknown", "right"]
    assert graded(out)[2]["x"] == [None, {"a": None}]


def test_progress_on_long_files(tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    file = written(tmp_path / "in.jsonl", [{"response": str(i), "gold": "3"} for i in range(1500)])
    assert main(["grade", file, "--kind", "math", "--out", str(out)]) == 0
    assert "step 1500/1500  right 1  wrong 1499  unknown 0" in capsys.readouterr().out
    assert len(graded(out)) == 1500


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"response": "5", "gold": "5"}\n\n{"response": "5"}\n',
         "line 3: has no field 'gold'; it has: response"),
        ('{"gold": "5"}\n', "line 1: has no field 'response'"),
        ('{"response": "5", "gold": "5"}\nnothing\n', "line 2: is not JSON"),
        ("[1]\n", "line 1: is list, not an object"),
        ('{"response": 5, "gold": "5"}\n', "line 1: response must be text or chat messages"),
        ('{"response": [], "gold": "5"}\n', "line 1: response must be text or chat messages"),
        ("", "there are no lines"),
    ],
)  # fmt: skip
def test_bad_input_is_a_sentence_and_leaves_nothing(tmp_path, capsys, text, says):
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_text(text)
    assert main(["grade", str(file), "--kind", "math", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {file}")
    assert says in said
    assert said.count("\n") == 1
    assert not out.exists()


def test_more_bad_input(tmp_path, capsys):
    file = written(tmp_path / "in.jsonl", ROWS)
    for arguments, says in [
        (["none.jsonl", "--kind", "math", "--out", str(tmp_path / "out")], "none.jsonl: cannot be"),
        ([file, "--kind", "math", "--out", file], "is the input"),
        ([file, "--kind", "math", "--out", file + "/out"], "is a file, not a folder"),
        ([file, "--kind", "math", "--out", str(tmp_path)], "is a folder; name a file in it"),
        ([file, "--kind", "math", "--out", str(tmp_path / "o"), "--preset", "x"], "no preset 'x'"),
        ([file, "--kind", "code", "--out", str(tmp_path / "o"), "--preset", "dapo"], "for --kind"),
    ]:
        assert main(["grade", *arguments]) == 2
        assert says in capsys.readouterr().err
    assert graded(tmp_path / "in.jsonl") == ROWS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl"]


@pytest.mark.skipif(not DATA.exists(), reason="the data files are not at hand")
def test_gold_against_itself(tmp_path):
    out = tmp_path / "out.jsonl"
    rows = [json.loads(line) for line in (DATA / "math500.jsonl").open()]
    rows = [row | {"response": row["solution"], "gold": row["answer"]} for row in rows]
    file = written(tmp_path / "in.jsonl", rows)
    assert main(["grade", file, "--kind", "math", "--out", str(out)]) == 0
    wrong = [(row["gold"], row["reason"]) for row in graded(out) if row["verdict"] != "right"]
    assert wrong == []


@pytest.mark.parametrize("name", ["pipe", "to_null", "folder"])
def test_what_is_no_file_is_not_replaced(name, tmp_path, capsys):
    file = written(tmp_path / "f.jsonl", ROWS)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_null").symlink_to("/dev/null")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.iterdir())
    assert main(["grade", file, "--kind", "math", "--out", str(tmp_path / name)]) == 2
    refused = "is a folder" if name == "folder" else "is not a regular file"
    assert f"{refused}; name " in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "to_null").is_symlink()


@pytest.mark.parametrize("mark", [7, "<hm>"])
def test_a_mark_that_opens_no_thought_names_its_line(
    mark: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"response": "1", "gold": "1"}, {"response": "1", "gold": "1", "opened_thought": mark}]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["grade", str(file), "--kind", "math", "--out", str(tmp_path / "out.jsonl")]) == 2
    assert f"rows.jsonl, line 2: opened_thought: {mark!r} opens no" in capsys.readouterr().err


def test_a_file_that_grows_meanwhile_is_graded_as_far_as_it_was_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = Path(written(tmp_path / "in.jsonl", ROWS)), tmp_path / "out.jsonl"

    def far_ahead(rows):
        """Reads all before it grades, and before that another line comes."""
        with file.open("a") as more:
            more.write(json.dumps(ROWS[0]) + "\n")
        yield from [("right", str(row["gold"])) for row in rows]

    monkeypatch.setattr("evenflow.rewards.math.grade_rows", far_ahead)
    assert main(["grade", str(file), "--kind", "math", "--out", str(out)]) == 0
    assert "4 responses" in capsys.readouterr().out
    assert [row["reason"] for row in graded(out)] == [str(row["gold"]) for row in ROWS]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_it_leaves_nothing_behind(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ctrl-C does: what cleans up, of this command and of all others, has its turn."""
    out = tmp_path / "out" / "out.jsonl"
    seen = []

    def grade_rows(rows: Iterable[dict]) -> Iterator[tuple[str, str]]:
        yield from (("right", "") for _ in islice(rows, 2))
        seen.extend(path.name for path in out.parent.iterdir())
        os.kill(os.getpid(), number)
        yield from (("right", "") for _ in rows)

    monkeypatch.setattr(math, "grade_rows", grade_rows)
    before = signal.getsignal(number)
    file = written(tmp_path / "in.jsonl", ROWS)
    with pytest.raises(SystemExit) as ended:
        main(["grade", file, "--kind", "math", "--out", str(out)])
    assert ended.value.code == 128 + number
    assert seen == [".out.jsonl.tmp"]
    assert not list(out.parent.iterdir())
    assert signal.getsignal(number) == before
