"""Real attempts to get out, run inside the sandbox by the probe. Prints a JSON object: name -> how
it went, "" where the attempt failed as it should.

Its first line, put before it, sets `OUTSIDE` (a folder with the file `secret`), `PORT` (where the
parent listens) and `PARENT` (its process number). Nothing here does harm where it succeeds: signals
are number 0, files are made in OUTSIDE only.
"""
# pyright: reportUndefinedVariable=false, reportArgumentType=false
# ruff: noqa: F821, SIM115

import ctypes
import json
import os
import socket

LIBC = ctypes.CDLL(None, use_errno=True)
SIZE = 1 << 40


def libc(name, *arguments):
    result = LIBC[name](*(ctypes.c_long(value) for value in arguments))
    if result == -1:
        raise OSError(ctypes.get_errno(), name)


def read_a_file():
    open(f"{OUTSIDE}/secret").read()


def read_by_a_link():
    os.symlink(f"{OUTSIDE}/secret", "link")
    open("link").read()


def list_a_folder():
    os.listdir(OUTSIDE)


def write_a_file():
    open(f"{OUTSIDE}/written", "w").write("x")


def change_a_mode():
    os.chmod(f"{OUTSIDE}/secret", 0o644)


def read_the_parents_memory():
    open(f"/proc/{PARENT}/mem", "rb")


def read_the_parents_environment():
    open(f"/proc/{PARENT}/environ").read()


def read_the_environment():
    ours = {"PATH", "LANG", "LC_CTYPE", "HOME", "TMPDIR", "PWD", "PYTHONHASHSEED"}
    if set(os.environ) - ours:
        return
    raise PermissionError("nothing of the parent's is there")


def use_an_open_descriptor():
    for fd in range(3, 4096):
        try:
            kind = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if not kind.startswith(("pipe:", "anon_inode:")):
            return
    raise PermissionError("none but the report's pipe")


def connect():
    socket.create_connection(("127.0.0.1", PORT), timeout=1)


def start_a_process():
    if os.fork() == 0:
        os._exit(0)
    os.wait()


def start_a_program():
    try:
        os.execv("/nowhere", ["nowhere"])
    except FileNotFoundError:
        return  # the kernel went and looked for it


def signal_the_parent():
    os.kill(PARENT, 0)


def leave_the_session():
    libc("setpgid", 0, 0)


def trace():
    libc("ptrace", 0, 0, 0, 0)


def read_another_process():
    libc("process_vm_readv", PARENT, 0, 0, 0, 0, 0)


def new_namespace():
    libc("unshare", 0x10000000)


def mount():
    libc("mount", 0, 0, 0, 0, 0)


def change_limits():
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))


def outlive_the_parent():
    libc("prctl", 1, 0, 0, 0, 0)


def memory_without_bound():
    bytearray(SIZE)


def a_file_without_bound():
    with open("large", "wb") as file:
        file.truncate(SIZE)


def descriptors_without_bound():
    for _ in range(256):
        os.dup(0)


ATTEMPTS = [
    memory_without_bound,
    a_file_without_bound,
    read_the_environment,
    use_an_open_descriptor,
    connect,
    start_a_process,
    signal_the_parent,
    leave_the_session,
    trace,
    read_another_process,
    new_namespace,
    mount,
    change_a_mode,
    change_limits,
    outlive_the_parent,
    read_a_file,
    read_by_a_link,
    list_a_folder,
    write_a_file,
    read_the_parents_memory,
    read_the_parents_environment,
    start_a_program,
    descriptors_without_bound,
]


def outcome(attempt):
    try:
        attempt()
    except (OSError, MemoryError, ValueError):  # ValueError: how setrlimit is refused
        return ""
    return "succeeded"


print(json.dumps({attempt.__name__: outcome(attempt) for attempt in ATTEMPTS}), flush=True)
