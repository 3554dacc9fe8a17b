"""What a process does to itself before it runs untrusted code; none of it can be undone.

Parent-death signal, resource limits, no capabilities, no_new_privs, Landlock (files; TCP and
signals where the kernel has them), seccomp (system calls). Landlock: Documentation/userspace-api/
landlock.rst of Linux; ABI 1 is Linux 5.13. Any step that fails raises OSError: nothing weaker than
asked ever runs.

Runs inside the sandboxed process: the standard library only.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import signal
import struct
from typing import Any

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on all architectures
CAPABILITY_VERSION = 0x20080522

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << n for n in range(6))
MAKE_DIR, MAKE_REG = 1 << 7, 1 << 8
TRUNCATE = 1 << 14
# All rights over files that an ABI knows: those of ABI 1, then REFER, TRUNCATE, IOCTL_DEV.
FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
BIND_CONNECT_TCP = 0b11  # from ABI 4
SCOPED = 0b11  # from ABI 6: abstract unix sockets, signals

READ = READ_FILE | READ_DIR
# No symbolic links, devices, sockets or fifos. No removal of files: one that is removed while it
# is open takes up space that nobody can count.
WRITE = READ | WRITE_FILE | TRUNCATE | MAKE_DIR | MAKE_REG | REMOVE_DIR
OF_FILES = READ_FILE | WRITE_FILE | TRUNCATE
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
LIBRARIES += ("/usr/share/zoneinfo",)
DEVICES = {"/dev/null": READ_FILE | WRITE_FILE | TRUNCATE, "/dev/zero": READ_FILE}
DEVICES |= {"/dev/random": READ_FILE, "/dev/urandom": READ_FILE}

LIBC = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> int:
    """A function of the C library with long arguments; OSError if it returns -1."""
    words = [a if isinstance(a, ctypes.c_char_p) else ctypes.c_long(a) for a in arguments]
    result = LIBC[name](*words)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments[:2]}: {os.strerror(number)}")
    return result


def die_with(parent: int) -> None:
    """Be killed when the parent ends; it may have ended already."""
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise OSError(f"the parent {parent} is gone")


def limit_resources(limits: dict[str, int]) -> None:
    """CPU seconds, bytes of address space, bytes a file, descriptors; no core file.

    The stack may grow as far as memory goes: deep recursion is no crash at 8 MiB, as on judges.
    """
    values = {
        resource.RLIMIT_STACK: (limits["memory"], resource.getrlimit(resource.RLIMIT_STACK)[1]),
        # SIGXCPU at the limit, which code may ignore, SIGKILL a second later.
        resource.RLIMIT_CPU: (limits["cpu"], limits["cpu"] + 1),
        resource.RLIMIT_AS: (limits["memory"], limits["memory"]),
        resource.RLIMIT_FSIZE: (limits["file_size"], limits["file_size"]),
        resource.RLIMIT_NOFILE: (64, 64),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_MEMLOCK: (0, 0),
        resource.RLIMIT_MSGQUEUE: (0, 0),
    }
    for kind, (soft, hard) in values.items():
        ceiling = resource.getrlimit(kind)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(kind, (soft, hard))


def drop_capabilities() -> None:
    """Even root keeps no privilege but that of owning its files."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITY_VERSION, 0))
    nothing = ctypes.create_string_buffer(24)
    if LIBC.capset(header, nothing) == -1:
        raise OSError(ctypes.get_errno(), "capset failed")


def landlock_abi() -> int:
    """The kernel's Landlock version; OSError where it has none or it is turned off."""
    return call("syscall", CREATE_RULESET, 0, 0, 1)


def rights_of(abi: int) -> tuple[int, bytes]:
    """The rights over files that an ABI knows, and its `struct landlock_ruleset_attr`."""
    files = FILE_RIGHTS[max(version for version in FILE_RIGHTS if version <= abi)]
    words = [files, *([BIND_CONNECT_TCP] if abi >= 4 else []), *([SCOPED] if abi >= 6 else [])]
    return files, struct.pack(f"={len(words)}Q", *words)


def limit_files(readable: list[str], writable: list[str]) -> int:
    """Landlock: nothing but these folders and a few devices can be opened. Returns the ABI."""
    abi = landlock_abi()
    known, attributes = rights_of(abi)
    ruleset = call("syscall", CREATE_RULESET, ctypes.c_char_p(attributes), len(attributes), 0)
    grants = {**dict.fromkeys(LIBRARIES, READ), **DEVICES}
    grants |= dict.fromkeys(readable, READ) | dict.fromkeys(writable, WRITE)
    for path, rights in grants.items():
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        rights &= known if os.path.isdir(path) else known & OF_FILES
        rule = ctypes.c_char_p(struct.pack("=Qi", rights, place))
        call("syscall", ADD_RULE, ruleset, 1, rule, 0)
        os.close(place)
    call("syscall", RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    return abi


def library() -> list[str]:
    """The interpreter's own folders: the standard library, and what its extensions link to."""
    standard = os.path.dirname(os.path.abspath(os.__file__))
    above = os.path.dirname(standard)
    return [standard, above] if os.path.basename(above) in ("lib", "lib64") else [standard]


def limit_calls() -> None:
    """Seccomp: the system calls of the table, nothing else."""
    seccomp = importlib.import_module("seccomp")  # a neighbour; see launcher.py
    program = seccomp.packed(seccomp.filter_program(os.uname().machine, os.getpid()))
    rows = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(rows))
    call("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(header), 0, 0)


def confine(job: dict[str, Any]) -> dict[str, Any]:
    """Apply what the job asks for; returns what was applied, for the record."""
    applied: dict[str, Any] = {}
    drop_capabilities()
    # Within bubblewrap the parent is bubblewrap, which sees to it (--die-with-parent).
    if job["parent"]:
        die_with(job["parent"])
    limit_resources(job["limits"])
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if "landlock" in job["layers"]:
        cwd = os.getcwd()
        applied["landlock"] = limit_files([*library(), cwd], [cwd] if job["writable"] else [])
    if "seccomp" in job["layers"]:
        limit_calls()
    return applied
