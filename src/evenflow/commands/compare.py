"""`evenflow compare`: from the words on the command line to the table."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenflow.commands.words import add_words, file_and_settings
from evenflow.errors import UserError
from evenflow.inputs import expanded

if TYPE_CHECKING:
    from evenflow.studies.compare.plan import Request

HELP = "algorithms × seeds with an equal budget of answers, as one table"
EPILOG = """\
settings that are none of `evenflow config compare` change the recipe of every run

examples:
  evenflow compare countdown algorithms=tba,flowrl,grpo train.answers=10240
  evenflow compare countdown algorithms=flowrl,flowrl:log_z=group seeds=0
  evenflow compare countdown algorithms=tba,grpo search=train.learning_rate=1e-4,2e-4
  evenflow compare study.yaml jobs=2
"""


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow compare` takes."""
    add_words(parser, "a study or a training recipe (YAML file)", "compare")
    parser.formatter_class, parser.epilog = RawDescriptionHelpFormatter, EPILOG


def parse(words: Sequence[str]) -> Request:
    """The study that a file and settings describe; a training recipe stands for one of that recipe.

    Settings that are none of a study's fields change the recipe.
    """
    file, settings = file_and_settings(words)
    from evenflow.config import CompareConfig, TrainConfig, apply, check, parse_setting, read_yaml
    from evenflow.config.explain import fields, no_field
    from evenflow.studies.compare.plan import Request

    own, of_recipe = CompareConfig.model_fields, TrainConfig.model_fields
    values: dict[str, Any] = {} if file is None else read_yaml(Path(file))
    if file is not None and not values.keys() & (own.keys() - of_recipe.keys()):
        values = {"recipe": file}
    said: dict[str, Any] = {}
    changes: dict[str, Any] = {}
    for setting in settings:
        key, value = parse_setting(setting, CompareConfig, TrainConfig)
        name = key.partition(".")[0]
        if name not in own:
            if name not in of_recipe:
                everywhere = [field for field, *_ in fields(TrainConfig)]
                raise UserError(no_field("", name, [*own, *of_recipe], everywhere))
            changes.pop(key, None)  # the last of equals counts, and comes where it stands
            changes[key] = value
        elif key not in said:
            said[key] = value
        elif key == "search" and isinstance(value, str) and isinstance(said[key], str):
            said[key] += f":{value}"
        else:
            raise UserError(f"{key}=: stands there twice")
    apply(values, said.items())
    overrides = values.get("overrides", {})
    if isinstance(overrides, dict):
        kept = {key: value for key, value in overrides.items() if key not in changes}
        values |= {"overrides": kept | changes}
    study = check(CompareConfig, values)
    folder = study.output or f"runs/compare-{Path(file or study.recipe).stem}"
    return Request(study, shlex.join(["evenflow", "compare", *words]), expanded(folder))


def run(options: Namespace) -> None:
    """Check everything, run what is left, write the tables."""
    request = parse(options.words)
    from evenflow.studies.compare.comparison import Comparison

    Comparison(request).run()
