"""A comparison goes on with the files and models that it began with, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evenflow.commands.compare import parse
from evenflow.errors import UserError
from evenflow.studies.compare import plan
from evenflow.studies.compare.plan import build_runs, settle


@pytest.fixture
def words(small: str, tiny_model: Path, tmp_path: Path) -> list[str]:
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text('{"prompt": "1"}\n')
    shutil.copytree(tiny_model, tmp_path / "model")
    return [
        *(small, "algorithms=tba", "seeds=0", "data.task=null", "reward.right=1"),
        *(f"data.{name}={tmp_path / name}.jsonl" for name in ("train", "test")),
        *(f"model.path={tmp_path / 'model'}", f"output={tmp_path / 'cmp'}"),
    ]


def begin(words: list[str]) -> None:
    request = parse(words)
    settle(request, build_runs(request, {}))


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (
            "train.jsonl",
            r"\(data.train is not the file that it was\); give the same words and files",
        ),
        ("test.jsonl", "data.test is not the file that it was"),
        ("model/config.json", "model.path is not the model that it was"),
    ],
)
def test_an_input_that_has_changed_is_named(
    words: list[str], tmp_path: Path, file: str, said: str
) -> None:
    begin(words)
    before = (tmp_path / file).read_text()
    (tmp_path / file).write_text(before + "\n")
    with pytest.raises(UserError, match=said):
        begin(words)
    (tmp_path / file).write_text(before)
    begin(words)


def test_a_plan_without_marks_gets_them(words: list[str], tmp_path: Path) -> None:
    begin(words)
    path = tmp_path / "cmp" / plan.PLAN
    whole = json.loads(path.read_text())
    assert sorted(whole["inputs"]) == ["data.test", "data.train", "model.path"]
    path.write_text(json.dumps({key: whole[key] for key in ("search", "runs")}))
    begin(words)
    assert json.loads(path.read_text()) == whole


def test_what_cannot_be_read_keeps_its_mark(words: list[str], tmp_path: Path) -> None:
    """It is said where it is loaded."""
    begin(words)
    path = tmp_path / "cmp" / plan.PLAN
    whole = json.loads(path.read_text())
    (tmp_path / "test.jsonl").unlink()
    shutil.rmtree(tmp_path / "model")
    begin(words)
    assert json.loads(path.read_text()) == whole


@pytest.mark.parametrize("change", ["contents", "one more", "order"])
def test_the_files_of_a_pattern_are_marked(words: list[str], tmp_path: Path, change: str) -> None:
    parts = [tmp_path / f"p-{i}.jsonl" for i in range(3)]
    for i in (0, 1):
        parts[i].write_text(f'{{"prompt": "{i}"}}\n')
    given = [word for word in words if not word.startswith("data.train=")]
    given.append(f"data.train={tmp_path}/p-*.jsonl")
    begin(given)
    begin(given)
    if change == "contents":
        parts[1].write_text('{"prompt": "7"}\n')
    elif change == "one more":
        parts[2].write_text('{"prompt": "2"}\n')
    else:
        parts[0].rename(parts[2])
    with pytest.raises(UserError, match=r"data\.train is not the file that it was"):
        begin(given)
