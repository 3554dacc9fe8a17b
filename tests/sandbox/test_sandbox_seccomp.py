"""The seccomp filter on both architectures, run by a small interpreter of classic BPF."""

from __future__ import annotations

import errno
import struct

import pytest

from evenflow.sandbox.seccomp import (
    ALLOW,
    ALLOWED,
    AUDIT_ARCH,
    CONDITIONAL,
    KILL_PROCESS,
    filter_program,
    packed,
)

MACHINES = list(AUDIT_ARCH)
PID = 4242
EPERM, ENOSYS = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS


def decide(machine: str, number: int, *arguments: int, arch: int | None = None) -> int:
    """What the kernel would do: `struct seccomp_data` through the program."""
    words = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<iIQ6Q", number, arch or AUDIT_ARCH[machine], 0, *words)
    program = list(struct.iter_unpack("=HBBI", packed(filter_program(machine, PID))))
    at, accumulator = 0, 0
    while True:
        code, yes, no, k = program[at]
        at += 1
        if code == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif code == 0x54:  # BPF_ALU | BPF_AND | BPF_K
            accumulator &= k
        elif code == 0x06:  # BPF_RET | BPF_K
            return k
        else:
            holds = {
                0x15: accumulator == k,
                0x35: accumulator >= k,
                0x45: bool(accumulator & k),
            }[code]
            at += yes if holds else no


def number(machine: str, name: str) -> int:
    found = {**ALLOWED, **CONDITIONAL}[name][MACHINES.index(machine)]
    assert found is not None
    return found


@pytest.mark.parametrize("machine", MACHINES)
def test_every_number_is_decided_as_the_table_says(machine: str) -> None:
    column = MACHINES.index(machine)
    allowed = {row[column] for row in ALLOWED.values()} - {None}
    conditional = {row[column] for row in CONDITIONAL.values()} - {None}
    assert len(allowed) > 80
    assert not allowed & conditional
    for n in range(600):
        if n not in conditional:
            expected = ALLOW if n in allowed else ENOSYS if n >= 424 else EPERM
            assert decide(machine, n) == expected, n


# (x86-64, aarch64) of what must never pass, from <asm/unistd_64.h> and <asm-generic/unistd.h>.
NEVER = {
    "socket": (41, 198),
    "connect": (42, 203),
    "socketpair": (53, 199),
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "mount": (165, 40),
    "unshare": (272, 97),
    "setns": (308, 268),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "prctl": (157, 167),
    "seccomp": (317, 277),
    "setrlimit": (160, 164),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "pidfd_send_signal": (424, 424),
    "io_uring_setup": (425, 425),
    "openat2": (437, 437),
    "memfd_create": (319, 279),
    "userfaultfd": (323, 282),
    "chmod": (90, None),
    "fchmodat": (268, 53),
    "fchownat": (260, 54),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "truncate": (76, 45),
    "symlinkat": (266, 36),
    "linkat": (265, 37),
    "mknodat": (259, 33),
    "shmget": (29, 194),
    "mq_open": (240, 180),
    "name_to_handle_at": (303, 264),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_what_must_never_pass(machine: str) -> None:
    for name, numbers in NEVER.items():
        n = numbers[MACHINES.index(machine)]
        if n is not None:
            assert decide(machine, n) in (EPERM, ENOSYS), name


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "arguments", "action"),
    [
        ("clone", (0x3D0F00,), ALLOW),  # pthread_create's flags, CLONE_THREAD among them
        ("clone", (0x1200011,), EPERM),  # fork's
        ("clone", (0x3D0F00 | 0x10000000,), EPERM),  # a thread in a new user namespace
        ("clone", (0x3D0F00 | 0x80,), EPERM),  # a new time namespace
        ("clone3", (0x7FFF0000,), ENOSYS),
        ("kill", (PID, 9), ALLOW),
        ("kill", (1, 9), EPERM),
        ("kill", (2**64 - 1, 9), EPERM),  # everybody
        ("kill", (0, 9), EPERM),  # the group
        ("tgkill", (PID, PID + 1, 2), ALLOW),
        ("tgkill", (1, 1, 2), EPERM),
        ("fcntl", (0, 3), ALLOW),  # F_GETFL
        ("fcntl", (0, 8, 1), EPERM),  # F_SETOWN
        ("fcntl", (0, 10, 9), EPERM),  # F_SETSIG
        ("fcntl", (0, 15), EPERM),  # F_SETOWN_EX
        ("ioctl", (0, 0x5401), ALLOW),  # isatty
        ("ioctl", (0, 0x5412), EPERM),  # TIOCSTI
        ("ioctl", (0, 0x8901), EPERM),  # FIOSETOWN
        ("ioctl", (0, 0x40086602), EPERM),  # FS_IOC_SETFLAGS
        ("openat", (0, 0, 0), ALLOW),
        ("openat", (0, 0, 0o1101), ALLOW),  # O_WRONLY | O_CREAT | O_TRUNC
        ("openat", (0, 0, 0o1002), ALLOW),
        ("openat", (0, 0, 0o1000), EPERM),  # O_RDONLY | O_TRUNC
        ("openat", (0, 0, 0o1003), EPERM),
        ("openat", (0, 0, 0o20200002), EPERM),  # O_TMPFILE
        ("prlimit64", (0, 7, 0, 1), ALLOW),
        ("prlimit64", (0, 7, 1, 0), EPERM),
        ("prlimit64", (0, 7, 1 << 32, 0), EPERM),  # a pointer with an empty lower half
        ("prlimit64", (0, 3, 1, 0), ALLOW),  # one's own stack
        ("prlimit64", (1, 3, 1, 0), EPERM),  # somebody else's
        ("prlimit64", (1, 3, 0, 1), ALLOW),
    ],
)
def test_arguments_decide(machine: str, name: str, arguments: tuple[int, ...], action: int) -> None:
    assert decide(machine, number(machine, name), *arguments) == action


def test_another_architecture_is_killed() -> None:
    i386, x32 = 0x40000003, 0x40000000
    assert decide("x86_64", 1, arch=i386) == KILL_PROCESS
    assert decide("x86_64", 1) == ALLOW
    assert decide("x86_64", x32 | 1) in (EPERM, ENOSYS)
    with pytest.raises(KeyError, match="no system call table for riscv64"):
        filter_program("riscv64", PID)
