"""`evenflow pretrain`: a small base model from a task's demonstrations."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

HELP = "train a small base model on demonstrations"


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow pretrain` takes."""
    parser.add_argument("recipe", help="YAML file, e.g. recipes/countdown_base.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value")


def run(options: Namespace) -> None:
    """Train a base model."""
    from evenflow.config import PretrainConfig, load
    from evenflow.training.pretrain import pretrain

    config = load(PretrainConfig, options.recipe, options.overrides)
    pretrain(config, Path(options.recipe).stem)
