"""`evenflow pretrain`: a small base model from a task's demonstrations."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from evenflow.commands.words import add_words, file_and_settings
from evenflow.errors import UserError

HELP = "train a small base model on demonstrations"


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow pretrain` takes."""
    add_words(
        parser,
        "a recipe (a YAML file, or a name that `evenflow recipes` lists)",
        "pretrain",
    )


def run(options: Namespace) -> None:
    """Train a base model."""
    recipe, settings = file_and_settings(options.words)
    if recipe is None:
        raise UserError("pretrain needs a recipe, e.g. countdown_base")
    from evenflow.config import PretrainConfig, load

    config = load(PretrainConfig, recipe, settings)
    from evenflow.training.pretrain import pretrain  # seconds, which a wrong key is spared

    pretrain(config, Path(recipe).stem)
