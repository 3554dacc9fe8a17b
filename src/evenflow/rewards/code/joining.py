"""An answer's code after what its tests put before it."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from textwrap import dedent

from evenflow.rewards.code.bodies import as_body
from evenflow.rewards.code.names import (
    THERE,
    defined,
    definitions,
    masked,
    mentioned,
    statements,
    used,
    without_stubs,
)

FUTURE = re.compile(
    r"^from[ \t]+__future__[ \t]+import[ \t]+(?:\([^)]*\)|[^\n;#(]*)[ \t]*;?[ \t]*(?:#[^\n]*)?\n?",
    re.MULTILINE,
)
STUB_ENDS = re.compile(
    r"^(?P<indent>[ \t]*)\S[^\n]*:[ \t]*(?:#[^\n]*)?\n?(?:\s*#[^\n]*)*\s*\Z", re.M
)
IMPORT = re.compile(r"import[ \t]++(?P<modules>[\w., \t]++)\s*")
FROM = re.compile(
    r"from[ \t]+(?P<module>\w+)[\w.]*[ \t]+import(?:[ \t]++[\w, \t]++|[ \t]*\([\w,\s]+\))\s*"
)


def joined(setup: str, code: str) -> str:
    """The code after its setup: one that is the body of its last function continues it, any other
    one stands on its own.

    Imports from `__future__` come first, as Python wants them. Stubs of what the setup defines go,
    and imports of what is not there, if nothing needs them.
    """
    future = [line if line.endswith("\n") else f"{line}\n" for line in _future(setup, code)]
    setup, code = FUTURE.sub("", setup), FUTURE.sub("", code)
    code = as_body(setup, _without_absent(without_stubs(code, [setup]), setup))
    lines = (line for line in code.splitlines() if line.strip())
    continues = next(lines, "").startswith((" ", "\t"))
    stub = setup.rstrip().rpartition("\n")[2].startswith((" ", "\t")) or STUB_ENDS.search(setup)
    if continues and not stub:  # imports, or nothing: there is no body to go on with
        code, continues = dedent(code), False
    if not setup.strip():
        return "".join(future) + code
    if not continues:
        if stub := STUB_ENDS.search(setup):  # without as much as a docstring
            setup = f"{setup.rstrip()}\n{stub['indent']}    pass"
        setup += "\n\n"
    last = masked(setup).rpartition("\n")[2].rstrip()
    if not last or last.endswith(":"):  # nothing, or the indentation of the first line to come
        setup = setup.rstrip(" \t") + "\n"
    return "".join(future) + setup + code


def _future(*parts: str) -> Sequence[str]:
    return [found[0] for part in parts for found in FUTURE.finditer(part)]


def _without_absent(code: str, setup: str) -> str:
    """The code without its imports of modules outside the standard library, which is all there is.

    What such an import binds is then unbound, so whatever runs and needs it fails all the same. An
    import stays, and fails, where its name would mean something else without it: a builtin, or
    what the code or the setup binds, too.
    """
    parts = statements(code)
    kept = {at: left for at, part in enumerate(parts) if (left := _present(part)) is not None}
    if not kept:
        return code
    rest = "".join(part for at, part in enumerate(parts) if at not in kept)
    rest += "".join(kept.values())
    free = used(rest) - definitions(rest) - definitions(setup) - THERE
    needed = mentioned(rest) - free
    return "".join(
        kept[at] if at in kept and not (defined(part) - defined(kept[at])) & needed else part
        for at, part in enumerate(parts)
    )


def _present(statement: str) -> str | None:
    """What is left of an import without the modules that are not there; None if they all are, or
    it is none."""
    plain = masked(statement)
    if found := IMPORT.fullmatch(plain):
        modules = [each.strip() for each in found["modules"].split(",")]
        there = [each for each in modules if _is_there(re.split(r"[ \t.]", each)[0])]
        if len(there) == len(modules):
            return None
        return f"import {', '.join(there)}\n" if there else "\n"
    found = FROM.fullmatch(plain)
    return "\n" if found and not _is_there(found["module"]) else None


def _is_there(module: str) -> bool:
    return module in sys.stdlib_module_names or module.startswith("__")
