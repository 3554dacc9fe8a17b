"""What holds on this machine: escapes are tried for real, once a process."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from evenflow.sandbox.limits import TIERS, Limits, Result
from evenflow.sandbox.process import run

ESCAPES = Path(__file__).with_name("escapes.py")

FROM = {
    # attempt: the first tier in which it must fail
    "memory_without_bound": "rlimits",
    "a_file_without_bound": "rlimits",
    "descriptors_without_bound": "rlimits",
    "read_the_environment": "rlimits",
    "use_an_open_descriptor": "rlimits",
    "connect": "seccomp",
    "start_a_process": "seccomp",
    "start_a_program": "seccomp",
    "signal_the_parent": "seccomp",
    "leave_the_session": "seccomp",
    "trace": "seccomp",
    "read_another_process": "seccomp",
    "new_namespace": "seccomp",
    "mount": "seccomp",
    "change_a_mode": "seccomp",
    "change_limits": "seccomp",
    "outlive_the_parent": "seccomp",
    "read_a_file": "landlock",
    "read_by_a_link": "landlock",
    "list_a_folder": "landlock",
    "write_a_file": "landlock",
    "read_the_parents_memory": "landlock",
    "read_the_parents_environment": "landlock",
}
LIMITS = Limits(files=16, cpu=10, wall=20.0)


@dataclass(frozen=True)
class Probe:
    """What was found."""

    tier: str | None
    """The strongest in which every attempt that it must stop was stopped; None if there is none."""
    attempts: dict[str, bool]
    """Whether each attempt was stopped, in that tier (in the weakest, if there is none)."""
    weaker: dict[str, str]
    """Why each stronger tier does not hold here."""


LOCK = threading.Lock()
FOUND: list[Probe] = []


def probe() -> Probe:
    """Try the tiers from the strongest down; the answer is kept."""
    with LOCK:
        if not FOUND:
            FOUND.append(examine())
        return FOUND[0]


def examine() -> Probe:
    """Try the tiers from the strongest down."""
    weaker: dict[str, str] = {}
    attempts: dict[str, bool] = {}
    for tier in reversed(TIERS):
        if tier == "bubblewrap" and not shutil.which("bwrap"):
            weaker[tier] = "there is no bwrap"
            continue
        attempts, trouble = attack(tier)
        due = [name for name in FROM if TIERS.index(FROM[name]) <= TIERS.index(tier)]
        out = [name.replace("_", " ") for name in due if not attempts.get(name)]
        if not trouble and not out:
            return Probe(tier, attempts, weaker)
        weaker[tier] = trouble or f"not stopped: {', '.join(out)}"
    return Probe(None, attempts, weaker)


def attack(tier: str) -> tuple[dict[str, bool], str]:
    """Whether each attempt is stopped in a tier; and why it could not be tried, if so."""
    with tempfile.TemporaryDirectory(prefix="evenflow-") as outside, socket.socket() as listener:
        secret = Path(outside, "secret")
        secret.write_text("secret")
        secret.chmod(0o600)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        known = {"OUTSIDE": outside, "PORT": listener.getsockname()[1], "PARENT": os.getpid()}
        lines = [f"{name} = {value!r}" for name, value in known.items()]
        code = ";".join(lines) + "\n" + ESCAPES.read_text()
        try:
            result = run({"mode": "script", "code": code}, tier, LIMITS)
        except OSError as error:
            return {}, str(error)
        try:
            answers = json.loads(result.stdout)
        except ValueError:
            return {}, silence(result)
        stopped = {name: answers.get(name) == "" for name in FROM}
        # What can be seen from here is not left to the other side's word.
        stopped["connect"] &= not reached(listener)
        stopped["write_a_file"] &= os.listdir(outside) == ["secret"]
        stopped["change_a_mode"] &= secret.stat().st_mode & 0o777 == 0o600
        return stopped, ""


def silence(result: Result) -> str:
    """Why a run gave no answer."""
    said = result.stderr.decode(errors="replace").strip().splitlines()
    return said[-1] if said else f"the trial ended with status {result.exit or result.signal}"


def reached(listener: socket.socket) -> bool:
    """Whether somebody has connected."""
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True
