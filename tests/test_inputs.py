"""Files from outside: each kind of damage is one sentence, wherever the file is read."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest

from evenflow.errors import UserError
from evenflow.inputs import DEEPEST, json_rows, parse_json, read_json, read_text, server_url
from evenflow.machine import bounded
from evenflow.run.files import json_line

WHOLE = gzip.compress(b'{"a": 1}\n' * 100, mtime=0)


def test_rows_with_a_byte_order_mark_packed_and_joined(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl.gz"
    path.write_bytes(gzip.compress(b'\xef\xbb\xbf{"a": 1}\n\n') + gzip.compress(b'{"b": 2}'))
    assert list(json_rows(path)) == [(f"{path}, line 1", {"a": 1}), (f"{path}, line 3", {"b": 2})]


@pytest.mark.parametrize(
    "data",
    [
        *(
            WHOLE[:9],
            WHOLE[:-5],
            WHOLE + b"junk",
            b"\x1f\x8b\x08\0",
            b"{}",
            b"\x1f\x8c" + WHOLE[2:],
        ),
        WHOLE[:12] + b"\xff" * 9 + WHOLE[21:],
    ],
)
def test_damaged_gzip(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "f.jsonl.gz"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"f\.jsonl\.gz: cannot be read: "):
        list(json_rows(path))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 100_000, "[" * (DEEPEST + 2) + "]" * (DEEPEST + 2), "9" * 5000, "\x00", "nul"],
)
def test_what_is_no_json_that_can_be_read(text: str) -> None:
    with pytest.raises(UserError, match="here: is not JSON"):
        parse_json(text, "here")


def test_names_that_no_file_has(tmp_path: Path) -> None:
    for path in (
        tmp_path,
        tmp_path / "none",
        tmp_path / ("a" * 300),
        Path("/dev/zero"),
        Path("\0"),
    ):
        with pytest.raises(UserError, match="cannot be read"):
            read_json(path)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes("β".encode("utf-16"))
    with pytest.raises(UserError, match="is not UTF-8 text"):
        read_text(tmp_path / "f")


def test_half_a_character_comes_back_as_it_came() -> None:
    line = json_line({"a": "β\ud83d"})
    line.encode()
    assert parse_json(line, "here") == {"a": "β\ud83d"}
    assert json_line({"a": "β"}) == '{"a": "β"}\n'


def test_code_that_is_not_ours_is_bounded() -> None:
    with pytest.raises(TimeoutError, match="not done within"), bounded(0.05, 2**30):
        all(time.monotonic() for _ in iter(int, 1))  # without end
    with pytest.raises(MemoryError), bounded(5, 2**28):
        bytearray(2**30)
    bytearray(2**29)  # the limit has gone with it


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000", "HTTPS://a.b.:443/v1", "http://[::1]:1/", "http://müller.de"]
)
def test_urls_of_servers(url: str) -> None:
    assert server_url(url, "server", "http://here").scheme in ("http", "https")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", "''"),
        ("here:8000", "'here:8000'"),
        ("http://a..b", "'http://a..b'"),
        (f"http://{'a' * 64}", f"'http://{'a' * 64}'"),
        ("http://a\u2100b", "'http://a℀b'"),
        ("http://a\0b", "'http://a\\x00b'"),
        ("http://h\udcff", "'http://h\\udcff'"),
        ("http://me:se/cret@h", "'http://…@h'"),
        ("http://me:secret@h:x/v1?key=secret#secret", "'http://…@h:x/v1'"),
    ],
)
def test_what_is_no_url_of_a_server_is_shown_without_secrets(url: str, shown: str) -> None:
    with pytest.raises(UserError) as error:
        server_url(url, "server", "http://here")
    assert str(error.value).startswith(
        f"server: {shown} is no URL of a server; write it as http://"
    )
