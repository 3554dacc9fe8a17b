"""Files are whole or not there, and every refusal is a sentence."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path

import pytest

from flowbalance.errors import UserError
from flowbalance.report.files import finite, keep_steps, read_jsonl, write_atomic, writing


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


def test_rows_with_unicode_line_ends_and_a_cut_last_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"step": 1, "text": "a\u2028b\x85c"}, {"step": 2, "text": "d"}]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + '\n{"step": 3, "te', encoding="utf-8")
    assert read_jsonl(path) == rows
    keep_steps(path, 1)
    assert read_jsonl(path) == rows[:1]
    keep_steps(path, 0)
    assert path.read_text() == ""
    assert read_jsonl(tmp_path / "none.jsonl") == []


def test_only_a_cut_last_line_is_let_go_where_all_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n{"a": "\xc3')
    assert read_jsonl(path, strict=True) == read_jsonl(path) == [{"a": 1}, {"a": 2}]
    for bad in (b'{"a": ', b"", b"\xff", b"\0\0\0"):
        path.write_bytes(b'{"a": 1}\n' + bad + b'\n{"a": 3}\n')
        assert read_jsonl(path) == [{"a": 1}]
        with pytest.raises(UserError, match=r"rows\.jsonl, line 2: is not "):
            read_jsonl(path, strict=True)
    path.write_bytes(b'{"a": 1}\n{"a": \n')  # the line has its end: nothing cut it
    with pytest.raises(UserError, match="line 2"):
        read_jsonl(path, strict=True)


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
