"""`evenflow sandbox`: what holds on this machine; one file run inside."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from evenflow.errors import UserError
from evenflow.inputs import expanded, opened, read_text
from evenflow.sandbox.limits import MIB, TIERS, Limits, Result

HELP = "what holds untrusted code here; run a file in it"


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow sandbox` takes."""
    usual = Limits()
    parser.add_argument("action", nargs="?", choices=["run"], help="default: say what holds here")
    parser.add_argument("file", nargs="?", type=expanded, metavar="FILE.py", help="what to run")
    parser.add_argument("--stdin", type=expanded, metavar="FILE", help="its standard input")
    parser.add_argument(
        "--require", choices=TIERS, default="landlock", help="refuse weaker (default landlock)"
    )
    parser.add_argument(
        "--cpu", type=int, default=usual.cpu, help=f"seconds of processor time ({usual.cpu})"
    )
    parser.add_argument(
        "--wall", type=float, default=usual.wall, help=f"seconds by the clock ({usual.wall:g})"
    )
    parser.add_argument(
        "--memory", type=int, default=usual.memory // MIB, help=f"MiB ({usual.memory // MIB})"
    )
    parser.add_argument(
        "--output", type=int, default=usual.output // MIB, help=f"MiB ({usual.output // MIB})"
    )
    parser.add_argument(
        "--files",
        type=int,
        default=usual.files,
        help="files that it may make in its working directory, removed afterwards (default 0)",
    )


def run(options: Namespace) -> None:
    """Say what holds, or run a file and print what came of it as JSON."""
    if options.action is None:
        show()
        return
    if options.file is None:
        raise UserError("sandbox run needs a file, e.g. evenflow sandbox run program.py")
    from evenflow.bounds import MANY
    from evenflow.sandbox.sandbox import Sandbox

    for name in ("cpu", "wall", "memory", "output"):
        if not 0 < getattr(options, name) <= MANY:
            value = getattr(options, name)
            raise UserError(f"--{name}: must be above 0 and at most {MANY:,}, not {value}")
    if not 0 <= options.files <= MANY:
        raise UserError(f"--files: must be from 0 to {MANY:,}, not {options.files}")
    code, stdin = read_text(options.file), b""
    if options.stdin is not None:
        with opened(options.stdin) as file:
            stdin = file.read()
    limits = Limits(
        cpu=options.cpu,
        wall=options.wall,
        memory=options.memory * MIB,
        output=options.output * MIB,
        files=options.files,
    )
    print(json.dumps(record(Sandbox(options.require).script(code, stdin, limits)), indent=1))


def record(result: Result) -> dict[str, object]:
    """A result as JSON data."""
    return {
        "tier": result.tier,
        "started": result.started,
        "exit": result.exit,
        "signal": result.signal,
        "limits_hit": list(result.limits_hit),
        "stdout": result.stdout.decode(errors="replace"),
        "stderr": result.stderr.decode(errors="replace"),
        "seconds": round(result.wall, 3),
        "cpu_seconds": round(result.cpu, 3),
    }


def show() -> None:
    """The tier, each attempt, and why nothing stronger holds."""
    from evenflow.sandbox.probing import FROM, probe

    found = probe()
    print(f"tier: {found.tier or 'none: untrusted code is not run here'}")
    for tier, reason in found.weaker.items():
        print(f"  not {tier}: {reason}")
    for name, stopped in found.attempts.items():
        print(f"  {'stopped' if stopped else 'GOT OUT':8} {name.replace('_', ' ')} ({FROM[name]})")
