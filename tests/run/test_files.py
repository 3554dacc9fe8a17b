"""Files are whole or not there, and every refusal is a sentence."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path

import pytest

from evenflow.errors import UserError
from evenflow.run.files import (
    file_at,
    finite,
    keep_rows,
    read_jsonl,
    system_errors,
    write_atomic,
    writing,
)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EFBIG, "the disk is full"),
        (errno.EACCES, r"cannot write there \(Permission denied\)"),
        (errno.EROFS, r"cannot write there \(Read-only file system\)"),
        (errno.EIO, r"cannot write there \(Input/output error\)"),
    ],
)
def test_refusals_are_sentences(tmp_path: Path, number: int, says: str) -> None:
    with pytest.raises(UserError, match=f"^{tmp_path}: {says}; .*output=…"), writing(tmp_path):
        raise OSError(number, os.strerror(number))


def test_wrapped_refusals_are_recognised(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the disk is full"), writing(tmp_path):
        raise OSError("Error while serializing: I/O error: No space left on device (os error 28)")


def test_a_failed_write_leaves_the_old_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.json"
    write_atomic(path, "old: é")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"summary\.json: the disk is full"):
        write_atomic(path, "new")
    assert path.read_text(encoding="utf-8") == "old: é"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_a_file_stays_one(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    link, there = tmp_path / "link.json", tmp_path / "deep" / "there.json"
    for before in (None, "old"):
        if before is not None:
            there.write_text(before)
        link.unlink(missing_ok=True)
        link.symlink_to("deep/there.json")
        write_atomic(link, "new")
        assert link.is_symlink()
        assert there.read_text() == "new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "link.json", "there.json"]


def test_what_is_no_file_is_refused_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    os.mkfifo("pipe")
    for name, target in {
        "to_pipe": "pipe", "to_folder": "folder", "to_null": "/dev/null", "loop": "loop",
        "to_descriptor": "/proc/self/fd/0", "to_stdout": "/dev/stdout", "twice": "to_stdout",
    }.items():  # fmt: skip
        Path(name).symlink_to(target)
    names = sorted(path.name for path in tmp_path.iterdir())
    for name in [*names, "-", "/dev/stdout", "/dev/fd/1"]:
        with pytest.raises(UserError, match=r"is (not a regular file|a folder); name "):
            write_atomic(Path(name), "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert Path("pipe").is_fifo()
    assert file_at(Path("/dev/shm/x")) == Path("/dev/shm/x")


def test_rows_with_unicode_line_ends_and_a_cut_last_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"step": 1, "text": "a\u2028b\x85c"}, {"step": 2, "text": "d"}]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + '\n{"step": 3, "te', encoding="utf-8")
    assert read_jsonl(path) == rows
    assert keep_rows(path, lambda row: row["step"] <= 1) == rows[:1] == read_jsonl(path)
    assert keep_rows(path, lambda row: False) == []
    assert path.read_text() == ""
    keep_rows(tmp_path / "none.jsonl", lambda row: True)
    assert read_jsonl(tmp_path / "none.jsonl") == []


def test_only_a_cut_last_line_is_let_go_where_all_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n{"a": "\xc3')
    assert read_jsonl(path, strict=True) == read_jsonl(path) == [{"a": 1}, {"a": 2}]
    for bad in (b'{"a": ', b"\xff", b"\0\0\0"):
        path.write_bytes(b'{"a": 1}\n' + bad + b'\n{"a": 3}\n')
        assert read_jsonl(path) == [{"a": 1}, {"a": 3}]
        with pytest.raises(UserError, match=r"rows\.jsonl, line 2: is not "):
            read_jsonl(path, strict=True)
    path.write_bytes(b'{"a": 1}\n{"a": \n')  # the line has its end: nothing cut it
    with pytest.raises(UserError, match="line 2"):
        read_jsonl(path, strict=True)


@pytest.mark.parametrize("bad", [b'{"step": 2, "lo', b"\0\0\0\0", b"2", b"null", b'{"loss": 1}',
                                 b'{"step": "2"}', b"[" * 100_000])  # fmt: skip
def test_damage_in_the_middle_costs_its_own_line_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: bytes
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"step": 1}\n' + bad + b'\n\n{"step": 3}\n' + bad + b'\n{"step": 4}\n{"st')
    kept = keep_rows(path, lambda row: True)
    assert kept == [{"step": 1}, {"step": 3}, {"step": 4}]
    (said,) = caplog.messages
    assert said.startswith(f"{path}: 2 damaged lines are left out, the first: {path}, line 2: ")
    assert keep_rows(path, lambda row: True) == kept  # and said once
    assert len(caplog.messages) == 1


def test_finite() -> None:
    nested = {"a": 1.5, "b": {"c": math.nan, "d": "text"}, "e": -math.inf}
    assert finite(nested) == {"a": 1.5, "b": {"c": None, "d": "text"}, "e": None}


def test_json_has_no_nan_wherever_it_stands() -> None:
    nan, rows = float("nan"), [{"a": [1.0, float("inf")]}, 2]
    assert finite({"x": nan, "rows": rows, "y": "nan"}) == {
        "x": None,
        "rows": [{"a": [1.0, None]}, 2],
        "y": "nan",
    }


def test_a_full_disk_in_the_words_of_pytorch(tmp_path: Path) -> None:
    said = "[enforce fail at inline_container.cc:672] . unexpected pos 236160 vs 236052"
    with pytest.raises(UserError, match="the disk is full"), writing(tmp_path), system_errors():
        raise RuntimeError(said)
