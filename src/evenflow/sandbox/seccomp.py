"""Which system calls sandboxed code may make, as a seccomp filter (classic BPF, seccomp(2)).

An allow-list: what a Python interpreter needs to compute, read, print and start threads. Sockets,
processes, exec, ptrace, mounts, keys, bpf, io_uring, other processes' memory and whatever a later
kernel adds are absent, so they fail with EPERM (ENOSYS for the calls numbered alike on all
architectures, because the C library falls back to older ones on that). Calls that change a file by
its path without opening it (chmod, chown, utime, setxattr, truncate) are absent too: Landlock does
not see them.

Runs inside the sandboxed process: the standard library only.
"""

from __future__ import annotations

import errno
import struct

X86_64, AARCH64 = "x86_64", "aarch64"
AUDIT_ARCH = {X86_64: 0xC000003E, AARCH64: 0xC00000B7}

# Numbers of <asm/unistd_64.h> and <asm-generic/unistd.h>; None where the architecture lacks it.
ALLOWED: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "preadv": (295, 69),
    "pwritev": (296, 70),
    "lseek": (8, 62),
    "close": (3, 57),
    "close_range": (436, 436),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "pipe": (22, None),
    "pipe2": (293, 59),
    "fstat": (5, 80),
    "newfstatat": (262, 79),
    "stat": (4, None),
    "lstat": (6, None),
    "statx": (332, 291),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getdents64": (217, 61),
    "getcwd": (79, 17),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "ftruncate": (77, 46),
    "umask": (95, 166),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rmdir": (84, None),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_pwait": (281, 22),
    "epoll_wait": (232, None),
    "eventfd2": (290, 19),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    "rseq": (334, 293),
    "membarrier": (324, 283),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getcpu": (309, 168),
    "arch_prctl": (158, None),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigtimedwait": (128, 137),
    "rt_sigsuspend": (130, 133),
    "rt_sigpending": (127, 136),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "pause": (34, None),
    "alarm": (37, None),
    "setitimer": (38, 103),
    "getitimer": (36, 102),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "wait4": (61, 260),
    "waitid": (247, 95),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getgroups": (115, 158),
    "getresuid": (118, 148),
    "getresgid": (120, 150),
    "getpgrp": (111, None),
    "getpgid": (121, 155),
    "getsid": (124, 156),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "times": (100, 153),
    "uname": (63, 160),
    "sysinfo": (99, 179),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "getrandom": (318, 278),
}

# Allowed for some arguments only; see `filter_program`.
CONDITIONAL: dict[str, tuple[int | None, int | None]] = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "kill": (62, 129),
    "tgkill": (234, 131),
    "fcntl": (72, 25),
    "ioctl": (16, 29),
    "open": (2, None),
    "openat": (257, 56),
    "prlimit64": (302, 261),
}

CLONE_THREAD = 0x00010000
# NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
CLONE_NAMESPACES = 0x7E020080
# DUPFD, GETFD, SETFD, GETFL, SETFL, GETLK, SETLK, SETLKW, DUPFD_CLOEXEC, GETPIPE_SZ. Not SETOWN or
# SETSIG, with which the kernel would signal another process on the caller's behalf.
FCNTL_COMMANDS = (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1032)
# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX.
IOCTL_COMMANDS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
O_ACCMODE, O_TRUNC, O_TMPFILE = 0o3, 0o1000, 0o20000000
RLIMIT_STACK = 3
FIRST_UNIFIED = 424  # from here on the numbers are the same on all architectures

ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
REFUSE = 0x00050000 | errno.EPERM
MISSING = 0x00050000 | errno.ENOSYS

LOAD, AND, RETURN = 0x20, 0x54, 0x06
EQUAL, AT_LEAST, ANY_BIT = 0x15, 0x35, 0x45

Instruction = tuple[int, int, int, int]
"""(code, jump if true, jump if false, constant): `struct sock_filter`."""


def argument(index: int, high: bool = False) -> Instruction:
    """Load half of a system call's argument (`struct seccomp_data`, little-endian)."""
    return (LOAD, 0, 0, 16 + 8 * index + 4 * high)


def answer(action: int) -> Instruction:
    """End with an action."""
    return (RETURN, 0, 0, action)


def one_of(values: tuple[int, ...]) -> list[Instruction]:
    """Allow if the loaded value is one of these, else refuse."""
    rows: list[Instruction] = []
    for value in values:
        rows += [(EQUAL, 0, 1, value), answer(ALLOW)]
    return [*rows, answer(REFUSE)]


def opening(flags: int) -> list[Instruction]:
    """Refuse to truncate what is not opened for writing, and files without a name.

    Before Linux 6.2 Landlock does not check O_TRUNC, and the access modes 0 and 3 need no right to
    write there; a file without a name would escape the count of files.
    """
    return [
        argument(flags),
        (ANY_BIT, 0, 1, O_TMPFILE),
        answer(REFUSE),
        (AND, 0, 0, O_ACCMODE | O_TRUNC),
        (EQUAL, 0, 1, O_TRUNC),
        answer(REFUSE),
        (EQUAL, 0, 1, O_TRUNC | O_ACCMODE),
        answer(REFUSE),
        answer(ALLOW),
    ]


def filter_program(machine: str, pid: int) -> list[Instruction]:
    """The filter for an architecture; the process `pid` may signal itself and nobody else.

    Raises KeyError for an architecture without a table.
    """
    column = (X86_64, AARCH64).index(machine) if machine in AUDIT_ARCH else -1
    if column < 0:
        raise KeyError(f"no system call table for {machine}")
    conditions = {
        # A thread of this process; a new process has no CLONE_THREAD.
        "clone": [
            argument(0),
            (AND, 0, 0, CLONE_THREAD | CLONE_NAMESPACES),
            *one_of((CLONE_THREAD,)),
        ],
        "clone3": [answer(MISSING)],  # its flags are behind a pointer; libc falls back to clone
        "kill": [argument(0), *one_of((pid,))],
        "tgkill": [argument(0), *one_of((pid,))],
        "fcntl": [argument(1), *one_of(FCNTL_COMMANDS)],
        "ioctl": [argument(1), *one_of(IOCTL_COMMANDS)],
        "open": opening(1),
        "openat": opening(2),
        # Reading limits, not setting them (the new limit is a null pointer), but for the size of
        # one's own stack, which memory bounds anyway and deeply recursive programs set.
        "prlimit64": [
            argument(1),
            (EQUAL, 0, 3, RLIMIT_STACK),
            argument(0),
            (EQUAL, 0, 1, 0),
            answer(ALLOW),
            argument(2),
            (EQUAL, 1, 0, 0),
            answer(REFUSE),
            argument(2, high=True),
            *one_of((0,)),
        ],
    }
    program: list[Instruction] = [
        (LOAD, 0, 0, 4),
        (EQUAL, 1, 0, AUDIT_ARCH[machine]),
        answer(KILL_PROCESS),
        (LOAD, 0, 0, 0),  # x32 numbers have bit 30 set, so none of them is equal to one below
    ]
    for numbers in ALLOWED.values():
        if (number := numbers[column]) is not None:
            program += [(EQUAL, 0, 1, number), answer(ALLOW)]
    for name, numbers in CONDITIONAL.items():
        if (number := numbers[column]) is not None:
            program += [(EQUAL, 0, len(conditions[name]), number), *conditions[name]]
    return [*program, (AT_LEAST, 0, 1, FIRST_UNIFIED), answer(MISSING), answer(REFUSE)]


def packed(program: list[Instruction]) -> bytes:
    """The program as the kernel reads it."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
