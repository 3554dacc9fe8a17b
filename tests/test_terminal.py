"""The terminal: nothing commands it, and no stream of it brings a traceback."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from evenflow import commands, releases
from evenflow.cli import main
from evenflow.errors import CannotLoad
from evenflow.run.console import Terminal, console, show_rows
from evenflow.terminal import counted, printable


def test_control_characters_are_spelled_out() -> None:
    assert printable("a\x1b[31m\tb\n\r\x07\x9b\u202e\udcffβ") == (
        "a\\x1b[31m\tb\n\\r\\x07\\x9b\\u202e\\udcffβ"
    )


def test_things_are_counted_as_people_do() -> None:
    assert [counted(n, "step") for n in (0, 1, 2, 1200)] == [
        "0 steps", "1 step", "2 steps", "1,200 steps",
    ]  # fmt: skip


def test_the_console_prints_no_command_of_the_data() -> None:
    file = io.StringIO()
    console = Terminal(file=file, width=80)
    table = Table("a\x1b[1m")
    table.add_row("b\x1b[2J")
    console.print(table)
    console.print("answer \x1b]0;title\x07", markup=False)
    assert "\x1b" not in file.getvalue()
    assert "answer \\x1b]0;title\\x07" in file.getvalue()


def test_no_text_becomes_a_picture(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("x:m:")
    table.add_row("y:a:")
    shown = ["s[0:100:2] {1:a:2}", "runs/10:100:30", table]
    for each in shown:
        console.print(each, markup=False)
    show_rows("at :100:", [(":b:", "1:o:2")])
    said = capsys.readouterr().out
    for text in (*shown[:2], "x:m:", "y:a:", "at :100:", ":b:", "1:o:2"):
        assert text in said


def test_a_title_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows("[/b]", [("a", "[/c]")])
    assert capsys.readouterr().out == "[/b]\n  a  [/c]\n"


def test_errors_and_wrong_arguments_are_quoted_without_commands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "none\x1b[31m"]) == 2
    with pytest.raises(SystemExit):
        main(["none\x1b[31m"])
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert said.count("\\x1b[31m") == 2


def run(words: list[str], redirect: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command with its streams as a shell redirects them."""
    line = f'"{sys.executable}" -m evenflow {" ".join(words)} {redirect}'
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        errors="replace",
    )


@pytest.mark.parametrize("redirect", [">&-", "2>&- >&- <&-"])
def test_streams_that_are_closed(redirect: str) -> None:
    done = run(["--help"], redirect)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_behind_the_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch, open("/dev/full", "w") as full:
        patch.setattr(sys, "stdout", full)
        assert main(["config"]) == 2  # and what is left of the output goes nowhere at exit
    assert "No space left on device" in capsys.readouterr().err


def test_an_encoding_without_greek(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", printed)
    assert main(["config", "train", "objective.inverse"]) == 0
    assert b"\\u03b2: how much a unit" in printed.buffer.getvalue()  # pyright: ignore


def test_what_the_system_refuses_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["report", str(tmp_path / ("a" * 300))]) == 2
    assert "File name too long" in capsys.readouterr().err
    monkeypatch.setattr(commands.config, "run", lambda _: bytearray(2**62))
    assert main(["config"]) == 2
    assert capsys.readouterr().err.startswith("error: out of memory")


def test_newer_releases_are_named_after_what_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(releases, "TESTED", {"torch": "1.9", "transformers": "99.0", "none": "1"})
    (note,) = releases.newer_than_tested()
    assert note.startswith("note: torch ")
    assert note.endswith("is newer than the newest release tested with this version (1.9)")

    def cannot(_: object) -> None:
        raise CannotLoad("model.path: cannot load it")

    monkeypatch.setattr(commands.config, "run", cannot)
    assert main(["config"]) == 2
    assert capsys.readouterr().err == f"error: model.path: cannot load it\n{note}\n"

    def broken(_: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(commands.config, "run", broken)
    with pytest.raises(RuntimeError) as caught:
        main(["config"])
    assert caught.value.__notes__ == [note]


def test_patch_releases_are_not_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "version", lambda _: "2.13.4+cpu")
    monkeypatch.setattr(releases, "TESTED", {"torch": "2.13"})
    assert releases.newer_than_tested() == []
