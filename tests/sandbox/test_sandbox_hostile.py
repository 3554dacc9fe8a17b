"""Programs that try to get out, do harm or go on for ever. What counts is seen from outside."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from evenflow.sandbox import Limits, Result, Sandbox

QUICK = Limits(cpu=2, wall=3.0, memory=256 << 20, files=8, file_size=1 << 20)

# In front of each program: `tried` says what stopped a call, and the program goes on.
HEAD = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)

def tried(function, *arguments):
    try:
        print("GOT OUT", function(*arguments))
    except (OSError, MemoryError, RuntimeError, ValueError) as error:
        print("stopped", type(error).__name__)

def raw(name, *arguments):
    if libc[name](*(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)) == -1:
        raise OSError(ctypes.get_errno(), name)
"""


def attack(sandbox: Sandbox, code: str, limits: Limits = QUICK) -> Result:
    """Run it; whatever it does, it ends in time, and every attempt that it made was stopped."""
    began = time.monotonic()
    result = sandbox.script(HEAD + code, limits=limits)
    assert time.monotonic() - began < limits.wall + 5
    assert result.started
    assert b"GOT OUT" not in result.stdout, result.stdout
    assert_nothing_is_left()
    return result


def assert_nothing_is_left() -> None:
    """No process of ours is alive or a zombie (each test runs one sandbox at a time)."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    if children.exists():
        names = []
        for child in children.read_text().split():
            try:
                names.append(Path(f"/proc/{child}/cmdline").read_bytes())
            except OSError:
                continue
        assert not any(b"launcher.py" in name for name in names)


@pytest.fixture
def victim() -> subprocess.Popen[bytes]:
    """A process of the same user."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process  # type: ignore[misc]
    assert process.poll() is None, "it was killed"
    process.kill()
    process.wait()


# --- processes -------------------------------------------------------------------------------


def test_fork_bomb(sandbox: Sandbox) -> None:
    code = "for _ in range(1000): tried(os.fork); tried(raw, 'vfork')\n"
    result = attack(sandbox, code + "tried(os.posix_spawn, '/bin/true', ['true'], {})")
    assert result.stdout.count(b"stopped PermissionError") == 2001
    assert result.exit == 0


def test_programs_and_shells(sandbox: Sandbox) -> None:
    result = attack(
        sandbox,
        "import subprocess\n"
        "tried(subprocess.run, ['/bin/sh', '-c', 'id'])\n"
        "tried(os.execv, '/bin/sh', ['sh'])\n"
        "print(os.system('id'))\n",
    )
    assert result.stdout.count(b"stopped") == 2
    assert b"uid" not in result.stdout


def test_thread_bomb(sandbox: Sandbox) -> None:
    code = """
import threading
threading.stack_size(64 * 1024)
while True:
    try: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    except RuntimeError: pass
"""
    assert "threads" in attack(sandbox, code, Limits(cpu=5, wall=8.0)).limits_hit


def test_daemonising(sandbox: Sandbox, tmp_path: Path) -> None:
    result = attack(
        sandbox,
        f"tried(os.setsid); tried(os.setpgid, 0, 0); tried(raw, 'daemon', 1, 1)\n"
        f"tried(raw, 'prctl', 1, 0, 0, 0, 0); tried(raw, 'unshare', 0x10000000)\n"
        f"tried(open, {str(tmp_path / 'alive')!r}, 'w')\n",
    )
    assert result.stdout.count(b"stopped") == 6
    assert not list(tmp_path.iterdir())


def test_it_does_not_outlive_its_parent(sandbox: Sandbox, tmp_path: Path) -> None:
    """The process that runs the sandbox is killed without a chance to clean up."""
    code = (
        "import sys, threading\n"
        "from evenflow.sandbox import Sandbox, Limits\n"
        "sandbox = Sandbox()\n"
        "run = lambda: sandbox.script('import time; time.sleep(60)', limits=Limits(wall=60))\n"
        "threading.Thread(target=run).start()\n"
        "print('running', flush=True); sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    parent.stdout.readline()
    found: list[int] = []
    deadline = time.monotonic() + 10
    while not found and time.monotonic() < deadline:
        time.sleep(0.05)
        found = launched_by(parent.pid)
    assert found
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in found) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in found)


def launched_by(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_signals(sandbox: Sandbox, victim: subprocess.Popen[bytes]) -> None:
    pids = [victim.pid, os.getpid(), os.getppid(), 0, -1, -os.getpgid(0)]
    result = attack(
        sandbox,
        f"for pid in {pids}: tried(os.kill, pid, 15)\n"
        f"tried(raw, 'tgkill', {victim.pid}, {victim.pid}, 15)\n"
        f"tried(raw, 'sigqueue', {victim.pid}, 15, 0)\n"
        f"import fcntl; tried(fcntl.fcntl, 0, fcntl.F_SETOWN, {victim.pid})\n"
        "tried(os.pidfd_open, os.getppid())\n",
    )
    assert result.stdout.count(b"stopped") == 10


def test_tracing(sandbox: Sandbox, victim: subprocess.Popen[bytes]) -> None:
    pid = victim.pid
    result = attack(
        sandbox,
        f"tried(raw, 'ptrace', 16, {pid}, 0, 0); tried(raw, 'ptrace', 0, 0, 0, 0)\n"
        f"tried(raw, 'process_vm_readv', {pid}, 0, 0, 0, 0, 0)\n"
        f"tried(open, '/proc/{pid}/mem', 'r+b'); tried(open, '/proc/self/mem', 'r+b')\n",
    )
    assert result.stdout.count(b"stopped") == 5


# --- files, environment, network ------------------------------------------------------------


def test_files_and_environment(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "tok-1234")
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    result = attack(
        sandbox,
        f"for path in ({str(secret)!r}, '/etc/passwd', '/proc/self/environ', '/dev/mem',"
        f" '/proc/{os.getpid()}/environ', {__file__!r}): tried(open, path)\n"
        f"tried(os.listdir, {str(tmp_path)!r}); tried(os.listdir, '/'); tried(os.listdir, '/tmp')\n"
        f"tried(os.remove, {str(secret)!r}); tried(os.rename, {str(secret)!r}, 'x')\n"
        f"tried(os.truncate, {str(secret)!r}, 0); tried(os.chmod, {str(secret)!r}, 0o777)\n"
        f"tried(os.utime, {str(secret)!r}); tried(os.open, {str(secret)!r}, os.O_TRUNC)\n"
        f"tried(os.mkdir, {str(tmp_path / 'new')!r}); tried(os.chroot, '.')\n"
        f"tried(raw, 'mount', 0, 0, 0, 0, 0); print(dict(os.environ))\n",
    )
    assert result.stdout.count(b"stopped") == 18
    assert b"tok-1234" not in result.stdout
    assert secret.read_text() == "s3cret"
    assert list(tmp_path.iterdir()) == [secret]


def test_links(sandbox: Sandbox, tmp_path: Path) -> None:
    """Neither a link to a file outside, nor one that the cleaning up would follow."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    result = attack(
        sandbox,
        f"tried(os.symlink, {str(tmp_path)!r}, 'a'); tried(os.link, {str(secret)!r}, 'b')\n"
        "tried(os.mkfifo, 'c'); tried(os.mknod, 'd'); tried(open, 'a/secret')\n"
        "os.mkdir('down'); os.chdir('down'); tried(open, '../' * 20 + 'etc/passwd')\n",
    )
    assert result.stdout.count(b"stopped") >= 5
    assert secret.read_text() == "s3cret"


def test_open_descriptors(sandbox: Sandbox, tmp_path: Path) -> None:
    with open(tmp_path / "mine", "w+") as file:
        os.set_inheritable(file.fileno(), True)
        code = "for fd in range(256):\n try: os.write(fd, b'forged')\n except OSError: pass\n"
        attack(sandbox, code)
        assert (tmp_path / "mine").read_text() == ""


def test_network(sandbox: Sandbox, tmp_path: Path) -> None:
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / "unix"))
        for listener in (tcp, unix):
            listener.listen()
            listener.setblocking(False)
        result = attack(
            sandbox,
            "import socket\n"
            f"tried(socket.create_connection, ('127.0.0.1', {tcp.getsockname()[1]}))\n"
            "for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, 16, 17, 38, 40):\n"
            "    for kind in (1, 2, 3): tried(socket.socket, family, kind)\n"
            "tried(socket.socketpair); tried(socket.getaddrinfo, 'localhost', 80)\n",
        )
        assert result.stdout.count(b"stopped") >= 23
        for listener in (tcp, unix):
            with pytest.raises(BlockingIOError):
                listener.accept()


# --- too much of everything -----------------------------------------------------------------


def test_memory(sandbox: Sandbox) -> None:
    result = attack(
        sandbox,
        "x = []\ntry:\n    while True: x.append(bytearray(1 << 20))\n"
        "except MemoryError: print(len(x)); raise\n",
    )
    assert result.limits_hit == ("memory",)
    assert result.exit == 1
    assert 128 < int(result.stdout) < 256
    outside = "tried(raw, 'memfd_create', 0, 0); tried(raw, 'shmget', 0, 1 << 30, 0o1600)\n"
    assert attack(sandbox, outside).stdout.count(b"stopped") == 2


def test_processor(sandbox: Sandbox) -> None:
    result = attack(sandbox, "while True: pass", Limits(cpu=1, wall=10.0))
    assert (result.limits_hit, result.signal) == (("cpu",), signal.SIGXCPU)
    stubborn = "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    result = attack(sandbox, stubborn, Limits(cpu=1, wall=20.0))
    assert (result.limits_hit, result.signal) == (("cpu",), signal.SIGKILL)


def test_sleep(sandbox: Sandbox) -> None:
    deaf = "import signal\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\n"
    result = attack(sandbox, deaf + "time.sleep(60)", Limits(wall=0.5))
    assert (result.limits_hit, result.signal, result.starved) == (("wall",), signal.SIGKILL, False)
    stopped = attack(sandbox, "os.kill(os.getpid(), 19)", Limits(wall=0.5))
    assert stopped.limits_hit == ("wall",)


def test_output_flood(sandbox: Sandbox) -> None:
    result = attack(sandbox, "while True: os.write(1, b'x' * 65536)")
    assert result.limits_hit == ("output",)
    assert len(result.stdout) == QUICK.output


@pytest.mark.parametrize(("fd", "talkative"), [(2, False), (1, True)])
def test_what_nobody_reads_may_be_long(sandbox: Sandbox, fd: int, talkative: bool) -> None:
    limits = Limits(cpu=5, output=1 << 16, talkative=talkative)
    result = attack(sandbox, f"for _ in range(64): os.write({fd}, b'x' * 65536)", limits)
    assert (result.limits_hit, result.exit) == ((), 0)
    assert len((result.stdout, result.stderr)[fd - 1]) == limits.output
    endless = Limits(cpu=1, output=1 << 16, talkative=talkative)
    result = attack(sandbox, f"while True: os.write({fd}, b'x' * 65536)", endless)
    assert result.limits_hit == ("cpu",)
    assert len((result.stdout, result.stderr)[fd - 1]) == limits.output


def test_report_flood(sandbox: Sandbox) -> None:
    limits = Limits(report=1 << 20)
    result = attack(
        sandbox,
        "for fd in range(3, 4096):\n"
        "    try:\n        while True: os.write(fd, b'[[' * 32768)\n"
        "    except OSError: pass\n",
        limits,
    )
    assert result.limits_hit == ("output",)
    assert len(result.report) <= 2 << 20


def test_disk(sandbox: Sandbox) -> None:
    result = attack(sandbox, "open('x', 'wb').write(b'x' * (1 << 22))")
    assert result.limits_hit == ("file_size",)
    code = "for n in range(10**6): open(str(n), 'w').close()"
    assert attack(sandbox, code).limits_hit == ("files",)
    deep = "while True: os.mkdir('d' * 200); os.chdir('d' * 200)"
    assert attack(sandbox, deep).limits_hit == ("files",)
    hidden = "f = open('x', 'wb'); tried(os.remove, 'x'); tried(os.open, '.', 0o20200002)"
    assert attack(sandbox, hidden).stdout.count(b"stopped") == 2


def test_nothing_is_written_unless_it_may(sandbox: Sandbox) -> None:
    code = "tried(open, 'x', 'w'); tried(os.mkdir, 'd'); open(os.devnull, 'w').write('x')"
    assert attack(sandbox, code, Limits()).stdout.count(b"stopped") == 2


def test_the_folder_is_removed(sandbox: Sandbox) -> None:
    code = "os.umask(0o777); os.mkdir('a'); print(os.getcwd())"
    folder = attack(sandbox, code).stdout.decode().strip()
    assert "evenflow-" in folder
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    "function", ["os.pidfd_open", "os.set_blocking", "selectors.DefaultSelector"]
)
def test_a_run_that_cannot_be_watched_leaves_no_process(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(function, refuse)
        with pytest.raises(OSError, match="Too many open files"):
            sandbox.script("import time; time.sleep(60)")
    assert_nothing_is_left()


def test_many_at_once_from_threads(sandbox: Sandbox) -> None:
    """Each thread gets its own answer, and no run holds another's pipes open."""
    found: dict[int, bytes] = {}

    def work(n: int) -> None:
        found[n] = sandbox.script(f"print({n})").stdout

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: f"{n}\n".encode() for n in range(8)}
