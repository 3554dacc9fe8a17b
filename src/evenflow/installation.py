"""What was installed: the recipes that are shipped, by name, and how to add an extra.

Imports nothing that is slow: a name that there is not is said at once.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

from evenflow.errors import UserError, did_you_mean

PACKAGE = Path(__file__).parent
CLONE = PACKAGE.parents[1] if (PACKAGE.parents[1] / "pyproject.toml").is_file() else None
"""The root of the repository that the package is imported from; None: it was installed whole."""
RECIPES = PACKAGE / "assets" / "recipes" if CLONE is None else CLONE / "recipes"
"""The wheel holds a copy of the repository's folder."""


def recipes() -> dict[str, Path]:
    """The shipped recipes by name."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}


def recipe_file(name: str | Path) -> Path:
    """The file of that name, or else the shipped recipe; UserError where there is neither."""
    path, shipped = Path(name), recipes()
    if os.path.exists(path) and not (path.is_dir() and str(name) in shipped):
        return path
    if str(name) in shipped:
        return shipped[str(name)]
    raise no_such_recipe(name)


def no_such_recipe(name: str | Path) -> UserError:
    """What to say of a name that no shipped recipe has."""
    hint = did_you_mean(Path(name).stem, recipes())
    return UserError(
        f"{name}: there is no such recipe; {hint}`evenflow recipes` lists those that are shipped"
    )


def description(recipe: Path) -> tuple[str, str]:
    """What a shipped recipe is, and what it needs: its comment up to the first stop or colon, and
    the line that begins with "Needs:"."""
    comment = []
    for line in recipe.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comment.append(line[1:].strip())
    needs = next((line for line in comment if line.startswith("Needs: ")), "")
    what = re.split(r"[.:] ", " ".join(comment))[0].removesuffix(".")
    return what, needs.removeprefix("Needs: ")


def how_to_install(extra: str) -> str:
    """The command that adds an extra to what is installed."""
    if CLONE is None:
        return f"pip install 'evenflow[{extra}]'"
    here = "." if Path.cwd() == CLONE else str(CLONE)
    return f"pip install -e '{here}[{extra}]'"


def is_installed(module: str) -> bool:
    """Whether a module is there to be imported; only packages above it are."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
