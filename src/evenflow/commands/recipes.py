"""`evenflow recipes`: what is shipped, and copies of it to change."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from evenflow.errors import UserError
from evenflow.inputs import expanded

HELP = "the recipes that are shipped, by name; copies of them"
EPILOG = """\
A recipe's name stands for its file in every command; a file of that name in the current folder
comes first. Paths in a recipe are relative to the folder in which the command is given.

examples:
  evenflow recipes
  evenflow recipes copy gsm8k            # to gsm8k.yaml
  evenflow recipes copy gsm8k mine.yaml
  evenflow train countdown seed=1
"""


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow recipes` takes."""
    parser.epilog, parser.formatter_class = EPILOG, RawDescriptionHelpFormatter
    actions = parser.add_subparsers(dest="action", metavar="copy")
    copy = actions.add_parser("copy", help="write a copy to change")
    copy.add_argument("name", help="a recipe's name")
    copy.add_argument("to", nargs="?", type=expanded, help="a file or folder (default: NAME.yaml)")


def run(options: Namespace) -> None:
    """List the recipes, or copy one."""
    from evenflow.installation import description, recipes

    if options.action == "copy":
        print(f"recipe: {copy_recipe(options.name, options.to or Path())}")
        return
    width = max(len(name) for name in recipes())
    for name, path in recipes().items():
        what, needs = description(path)
        print(f"{name:<{width}}  {what}")
        print(f"{'':<{width}}  needs {needs}")


def copy_recipe(name: str, to: Path) -> Path:
    """Copy a shipped recipe to a file that is not there, or into a folder; gives the new file."""
    from evenflow.installation import no_such_recipe, recipes
    from evenflow.run.files import writing

    source = recipes().get(name)
    if source is None:
        raise no_such_recipe(name)
    target = to / source.name if to.is_dir() else to
    with writing(target):
        if target.exists():
            raise UserError(f"{target}: exists already; name a new file")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    return target
