"""`evenflow config`: every field with its type, default and meaning."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from evenflow.errors import UserError

HELP = "every setting of a command with its meaning"
KINDS = {
    "train": "TrainConfig",
    "pretrain": "PretrainConfig",
    "eval": "BenchmarkConfig",
    "compare": "CompareConfig",
    "exact": "ExactConfig",
    "diversity": "DiversityConfig",
}
"""The commands that take settings, and the class of evenflow.config that holds them."""


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow config` takes."""
    parser.add_argument(
        "kind", nargs="?", choices=KINDS, default="train", help="a command (default train)"
    )
    parser.add_argument("search", nargs="?", help="only fields whose name contains this")


def run(options: Namespace) -> None:
    """Print every field with its type, default and meaning."""
    import json
    import textwrap

    from evenflow import config
    from evenflow.objectives import PRESETS

    parts = {getattr(config, KINDS[options.kind]): ("", "")}
    if options.kind == "train":
        families: dict[type, list[str]] = {}
        for name, row in PRESETS.items():
            families.setdefault(type(row.objective), []).append(name)
        for family, names in families.items():
            parts[family] = ("objective.", f"objective of {', '.join(names)}")
    found = False
    for part, (prefix, title) in parts.items():
        rows = [row for row in config.fields(part, prefix) if (options.search or "") in row[0]]
        if rows and title:
            print(f"\n# {title}\n")
        for name, kind, default, meaning in rows:
            shown = json.dumps(default, ensure_ascii=False, default=lambda _: "???")  # no default
            print(f"{name}: {kind} = {shown}")
            print(textwrap.indent(textwrap.fill(meaning, 92), "    "))
            found = True
    if not found:
        raise UserError(f"no field of {options.kind} has {options.search!r} in its name")
