"""`evenflow config`: every field with its type, default and meaning."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from evenflow.errors import UserError

HELP = "every field of a recipe with its meaning"


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow config` takes."""
    parser.add_argument(
        "kind", nargs="?", choices=["train", "pretrain", "eval", "diversity"], default="train"
    )
    parser.add_argument("search", nargs="?", help="only fields whose name contains this")


def run(options: Namespace) -> None:
    """Print every field with its type, default and meaning."""
    import json
    import textwrap

    from evenflow.config import (
        BenchmarkConfig,
        DiversityConfig,
        PretrainConfig,
        TrainConfig,
        fields,
    )
    from evenflow.objectives import PRESETS, Balance, Surrogate

    kind = {"eval": BenchmarkConfig, "diversity": DiversityConfig}.get(options.kind, PretrainConfig)
    parts: list[tuple[Any, str, str]] = [(kind, "", "")]
    if options.kind == "train":
        parts = [(TrainConfig, "", "")]
        for family in (Balance, Surrogate):
            names = [name for name, row in PRESETS.items() if isinstance(row.objective, family)]
            parts.append((family, "objective.", f"objective of {', '.join(names)}"))
    found = False
    for part, prefix, title in parts:
        rows = [row for row in fields(part, prefix) if (options.search or "") in row[0]]
        if rows and title:
            print(f"\n# {title}\n")
        for name, kind, default, meaning in rows:
            shown = json.dumps(default, ensure_ascii=False, default=lambda _: "???")  # no default
            print(f"{name}: {kind} = {shown}")
            print(textwrap.indent(textwrap.fill(meaning, 92), "    "))
            found = True
    if not found:
        raise UserError(f"no field of a {options.kind} recipe has {options.search!r} in its name")
