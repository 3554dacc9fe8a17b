"""One process at a time in a folder, however the last one ended."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evenflow.errors import UserError
from evenflow.run.lock import no_other, only_one

HOLD = """
import sys, time
from pathlib import Path
from evenflow.run.lock import only_one
with only_one(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "held\n"
            refusal = pytest.raises(
                UserError, match=rf"process {process.pid} on .*since .* is at work there"
            )
            with refusal, only_one(tmp_path):
                raise AssertionError("two hold the folder")
        finally:
            process.kill()
    # What was killed left the file, and holds nothing any more.
    assert (tmp_path / ".lock").exists()
    with only_one(tmp_path):
        pass


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    for error in (None, KeyError("x")):
        try:
            with only_one(tmp_path):
                assert (tmp_path / ".lock").exists()
                if error:
                    raise error
        except KeyError:
            pass
        assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_taken_away_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between opening and locking, who held the folder before may remove the file.
    from evenflow.run import lock

    real, gone = lock.fcntl.flock, []

    def late(handle: int, how: int) -> None:
        if not gone:
            (tmp_path / ".lock").unlink()
            gone.append(time.monotonic())
        real(handle, how)

    monkeypatch.setattr(lock.fcntl, "flock", late)
    with only_one(tmp_path):
        assert (tmp_path / ".lock").exists()
        with pytest.raises(UserError, match="is at work there"), only_one(tmp_path):
            raise AssertionError("two hold the folder")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write there"), only_one(tmp_path / "none"):
        raise AssertionError("held")


def test_a_file_system_without_locks_lets_everybody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evenflow.run import lock

    def none(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", none)
    with only_one(tmp_path), only_one(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_who_holds_it_is_not_known_where_the_file_does_not_say(tmp_path: Path) -> None:
    with only_one(tmp_path):
        (tmp_path / ".lock").write_text("")
        with pytest.raises(UserError, match="another process is at work"), only_one(tmp_path):
            raise AssertionError("two hold the folder")


def test_what_this_process_holds_is_not_asked_for_again(tmp_path: Path) -> None:
    with only_one(tmp_path):
        with no_other(tmp_path / "." / ""):
            pass
        assert (tmp_path / ".lock").is_file()
    with no_other(tmp_path), pytest.raises(UserError, match="at work"), only_one(tmp_path):
        raise AssertionError("two hold the folder")
    assert not (tmp_path / ".lock").exists()


def test_a_trainer_does_not_begin_where_another_process_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evenflow.config import TrainConfig, load
    from evenflow.training.trainer import Trainer

    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    config = load(TrainConfig, "countdown", ["output=run", "train.steps=1"])
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "held\n"
            with pytest.raises(UserError, match="is at work there"):
                Trainer(config)
            assert not (run / "config.yaml").exists()
        finally:
            process.kill()
