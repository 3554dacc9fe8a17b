"""`evenflow sandbox`, and what each tier is found to hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evenflow.cli import main
from evenflow.sandbox import Sandbox, probe
from evenflow.sandbox.probing import FROM, attack, examine


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    capsys.readouterr()
    assert main(["sandbox", "run", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_what_holds_here(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sandbox"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"tier: {sandbox.tier}\n")
    assert said.count("  stopped  ") == len(FROM)
    assert "GOT OUT" not in said
    assert probe() is probe()


def test_run_a_file(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program, given = tmp_path / "program.py", tmp_path / "given"
    program.write_text("import sys\nprint(sys.stdin.read()[::-1], __name__)\nsys.exit(3)\n")
    given.write_text("abc")
    found = ran(capsys, str(program), "--stdin", str(given))
    assert found["tier"] == sandbox.tier
    assert (found["exit"], found["signal"], found["limits_hit"]) == (3, None, [])
    assert (found["stdout"], found["stderr"]) == ("cba __main__\n", "")
    program.write_text("import time\nprint('on', flush=True)\ntime.sleep(60)\n")
    found = ran(capsys, str(program), "--wall", "0.3")
    assert (found["limits_hit"], found["signal"], found["stdout"]) == (["wall"], 9, "on\n")
    program.write_text("open('x', 'w').write('y')\nprint(open('x').read())\n")
    assert ran(capsys, str(program), "--files", "1")["stdout"] == "y\n"
    refused = ran(capsys, str(program))
    assert refused["exit"] == 1
    assert "PermissionError" in refused["stderr"]
    assert "harness.py" not in refused["stderr"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run"], "sandbox run needs a file"),
        (["run", "nowhere.py"], "nowhere.py: cannot be read: "),
        (["run", __file__, "--cpu", "0"], "--cpu: must be above 0 and at most 10,000,000, not 0"),
        (["run", __file__, "--files", "-1"], "--files: must be from 0 to 10,000,000, not -1"),
    ],
)
def test_refusals(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sandbox", *arguments]) == 2
    assert f"error: {says}" in capsys.readouterr().err


def test_the_attempts_do_get_out_of_weaker_tiers(sandbox: Sandbox) -> None:
    """Otherwise their failing in the strong one would say nothing."""
    without_seccomp, _ = attack("rlimits")
    out = {name for name, stopped in without_seccomp.items() if not stopped}
    assert out >= {"connect", "start_a_process", "start_a_program", "signal_the_parent"}
    assert out >= {"read_a_file", "read_by_a_link", "write_a_file", "change_a_mode"}
    without_landlock, _ = attack("seccomp")
    out = {name for name, stopped in without_landlock.items() if not stopped}
    assert out == {"read_a_file", "list_a_folder", "write_a_file"} or out == {
        *("read_a_file", "list_a_folder", "write_a_file"),
        *("read_the_parents_memory", "read_the_parents_environment"),
    }


def test_the_tier_is_the_strongest_that_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without Landlock, where one attempt gets out of every other tier as well."""

    def attacked(tier: str) -> tuple[dict[str, bool], str]:
        if tier == "landlock":
            return {}, "the kernel has no Landlock"
        return {name: name != "connect" or tier == "bubblewrap" for name in FROM}, ""

    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("evenflow.sandbox.probing.attack", attacked)
    found = examine()
    assert found.tier == "rlimits"
    assert found.weaker == {
        "bubblewrap": "there is no bwrap",
        "landlock": "the kernel has no Landlock",
        "seccomp": "not stopped: connect",
    }
