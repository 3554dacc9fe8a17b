"""One run: start the launcher, feed and read it, watch the limits, end and clean up.

The launcher confines itself, so that nothing runs between fork and exec in this process, which may
have threads. The limits that no process can set for itself (wall clock, output, threads, number of
files) are watched from here. The sandboxed process can start no other, so killing it ends the run;
it is also killed when the thread that called `run` ends, however that comes about.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from evenflow.sandbox.limits import TIERS, Limits, Result

LAUNCHER = Path(__file__).with_name("launcher.py")
PYTHON = getattr(sys, "_base_executable", None) or sys.executable
POLL = 0.02  # seconds between looks at threads and files
SLACK = 0.25  # processor seconds between the limit and its signal, and around the code
START = 30.0  # seconds until the code must have begun
READY_LINE = 4096  # bytes; the launcher's own first line is shorter
CHUNK = 1 << 16
TICKS = os.sysconf("SC_CLK_TCK")
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
# A fixed hash seed: the order of a set must not decide whether an answer is right.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}


def run(job: dict[str, Any], tier: str, limits: Limits, stdin: bytes = b"") -> Result:
    """Do a job of harness.py in a new sandbox of a tier, and wait for its end."""
    with ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="evenflow-")
        stack.callback(remove, folder)
        layers = TIERS[: TIERS.index(tier) + 1]
        bubblewrap = "bubblewrap" in layers
        job = {
            **job,
            "layers": layers,
            "parent": 0 if bubblewrap else os.getpid(),
            "writable": limits.files > 0,
            "limits": {
                "cpu": limits.cpu,
                "memory": limits.memory,
                "file_size": limits.file_size,
            },
        }
        job_fd = sealed(stack, json.dumps(job).encode())
        stdin_fd = sealed(stack, stdin)
        report, report_end = os.pipe()
        stack.callback(os.close, report)
        try:
            process = subprocess.Popen(
                [
                    *(wrapping(folder) if bubblewrap else []),
                    *(PYTHON, "-P", "-s", "-S", "-X", "utf8"),
                    *(["-B"] if sys.dont_write_bytecode else []),
                    *(str(LAUNCHER), str(job_fd), str(report_end)),
                ],
                stdin=stdin_fd,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env={**ENVIRONMENT, "HOME": folder, "TMPDIR": folder},
                pass_fds=(job_fd, report_end),
                start_new_session=True,
            )
        finally:
            os.close(report_end)
        stack.callback(end, process)
        watch = Watch(process, report, Path(folder), limits)
        try:
            usage = watch.until_end()
        finally:
            watch.close()
    return watch.result(tier, usage)


def sealed(stack: ExitStack, content: bytes) -> int:
    """A file in memory that nobody can change any more, read from its start."""
    fd = os.memfd_create("evenflow", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    stack.callback(os.close, fd)
    left = memoryview(content)
    while left:
        left = left[os.write(fd, left) :]
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def wrapping(folder: str) -> list[str]:
    """bubblewrap: namespaces of its own for everything, the files read-only, /tmp empty."""
    return [
        *(
            shutil.which("bwrap") or "bwrap",
            "--unshare-all",
            "--die-with-parent",
            "--ro-bind",
            "/",
            "/",
        ),
        *("--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--bind", folder, folder),
        # Where they lie in /tmp themselves:
        *("--ro-bind", sys.base_prefix, sys.base_prefix),
        *("--ro-bind", str(LAUNCHER.parent), str(LAUNCHER.parent)),
        *("--chdir", folder, "--"),
    ]


def remove(folder: str) -> None:
    """Remove a folder that untrusted code could write to; it holds no symbolic links."""
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):  # folders without permissions, or too deep for Python
        for command in (["chmod", "-R", "u+rwx", folder], ["rm", "-rf", folder]):
            subprocess.run(command, check=False, stderr=subprocess.DEVNULL)


def end(process: subprocess.Popen[bytes]) -> None:
    """Whatever happened, leave no process, and none of its pipes."""
    if process.returncode is None:
        process.kill()
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


class Watch:
    """A running sandbox, seen from outside."""

    def __init__(
        self, process: subprocess.Popen[bytes], report: int, folder: Path, limits: Limits
    ) -> None:
        self.process, self.folder, self.limits = process, folder, limits
        assert process.stdout is not None
        assert process.stderr is not None
        self.most = {"stdout": limits.output, "stderr": limits.output, "report": limits.report}
        self.most["report"] += READY_LINE
        self.dropped = ("stdout", "stderr") if limits.talkative else ("stderr",)
        fds = {"stdout": process.stdout.fileno(), "stderr": process.stderr.fileno()}
        self.fds = {**fds, "report": report}
        self.read = {name: bytearray() for name in self.fds}
        self.hit: list[str] = []
        self.starved = False
        self.cpu = 0.0
        self.began = time.monotonic()
        self.started: float | None = None
        self.ended = self.began
        self.selector = selectors.DefaultSelector()
        for name, fd in self.fds.items():
            os.set_blocking(fd, False)
            self.selector.register(fd, selectors.EVENT_READ, name)
        self.pidfd = os.pidfd_open(process.pid)
        self.selector.register(self.pidfd, selectors.EVENT_READ, "end")

    def until_end(self) -> Any:
        """Read and watch until the process has ended; its `struct rusage`."""
        looked = self.began
        while True:
            events = [key.data for key, _ in self.selector.select(POLL)]
            for name in events:
                if name != "end":
                    self.take(name)
            if "end" in events:
                break
            now = time.monotonic()
            if now - looked >= POLL:
                looked = now
                self.look(now)
        self.ended = time.monotonic()
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        for name in self.fds:  # what it wrote last
            while self.take(name):
                pass
        return usage

    def take(self, name: str) -> bool:
        """Read what is there, up to the limit; whether there may be more."""
        try:
            data = os.read(self.fds[name], CHUNK)
        except BlockingIOError:
            return False
        room = self.most[name] - len(self.read[name])
        self.read[name] += data[:room]
        if len(data) > room and name not in self.dropped:
            self.kill("output")
        if self.started is None and b"\n" in self.read["report"]:
            self.started = time.monotonic()
        if not data and self.process.returncode is None:
            self.selector.unregister(self.fds[name])  # closed by the code, which goes on
        return 0 < len(data) <= room

    def look(self, now: float) -> None:
        """The limits that are watched from outside."""
        if self.started is None:
            if now - self.began > START:
                self.kill("start")
            return
        pids = tree(self.process.pid)
        if now - self.started > self.limits.wall:
            self.starved = sum(map(waited, pids)) > (now - self.began) / 2
            self.kill("wall")
        seen = [stat(pid) for pid in pids]
        self.cpu = max(self.cpu, sum(cpu for _, cpu in seen))
        if sum(count for count, _ in seen) > self.limits.threads:
            self.kill("threads")
        if self.limits.files and more_than(self.limits.files, self.folder):
            self.kill("files")

    def kill(self, reason: str) -> None:
        """End it, for this reason."""
        if reason not in self.hit:
            self.hit.append(reason)
        if self.process.returncode is None:  # not reaped yet, so the number is still its own
            os.kill(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Leave no descriptor of its own."""
        self.selector.close()
        os.close(self.pidfd)

    def result(self, tier: str, usage: Any) -> Result:
        """Everything about the run."""
        code = self.process.returncode
        if tier == "bubblewrap" and code > 128:  # how bubblewrap passes a signal on
            code = 128 - code
        # The sum over waited-for processes lacks what ran behind bubblewrap's first.
        cpu = max(self.cpu, usage.ru_utime + usage.ru_stime)
        ready, _, report = bytes(self.read["report"]).partition(b"\n")
        hit = [*self.hit, *named_limits(report)]
        if (
            code == -signal.SIGXCPU
            or (code == -signal.SIGKILL and cpu >= self.limits.cpu)
            or cpu > self.limits.cpu + SLACK  # the signal was ignored
        ):
            hit.append("cpu")
        return Result(
            tier=tier,
            started=self.started is not None and bool(ready),
            exit=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            stdout=bytes(self.read["stdout"]),
            stderr=bytes(self.read["stderr"]),
            report=report,
            limits_hit=tuple(hit),
            starved=self.starved,
            wall=self.ended - (self.started or self.began),
            cpu=cpu,
        )


ENDED_BY = {
    b"!MemoryError": "memory",
    b"!OSError:27": "file_size",  # EFBIG
    b"!OSError:24": "descriptors",  # EMFILE
}


def named_limits(report: bytes) -> list[str]:
    """The limit that the code's last exception speaks of, by the report's last line."""
    last = report.rstrip(b"\n").rpartition(b"\n")[2]
    return [ENDED_BY[last]] if last in ENDED_BY else []


def tree(pid: int) -> list[int]:
    """A process and its descendants (there are some only within bubblewrap)."""
    found = [pid]
    for process in found:
        try:
            children = Path(f"/proc/{process}/task/{process}/children").read_text()
        except OSError:
            continue
        found += map(int, children.split())
    return found


def stat(pid: int) -> tuple[int, float]:
    """How many threads a process has, and its processor seconds; zeros if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, 0.0
    return int(fields[17]), (int(fields[11]) + int(fields[12])) / TICKS


def waited(pid: int) -> float:
    """Seconds for which that thread of a process which waited longest was ready to run and did not;
    0 where Linux does not say."""
    try:
        threads = Path(f"/proc/{pid}/task").iterdir()
        return max(int((each / "schedstat").read_text().split()[1]) for each in threads) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def more_than(count: int, folder: Path) -> bool:
    """Whether a folder holds more entries, at any depth."""
    pending, found = [folder], 0
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    found += 1
                    if found > count:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(Path(entry.path))
        except PermissionError:
            continue
        except OSError:  # a path longer than Linux takes: folders in folders in folders
            return True
    return False
