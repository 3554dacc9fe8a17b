"""The balance family in verl: `trainer.v1.trainer_mode=evenflow` (docs/trainers.md).

verl imports this in each of its processes, by the entry point `verl.plugins` or by
`VERL_USE_EXTERNAL_MODULES`, whether a run asks for us or not: nothing here is slow, and nothing of
ours is imported before verl's trainers are.
"""

# verl has an environment of its own.
# pyright: reportMissingImports=false
from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from types import ModuleType
from typing import Any

from evenflow.errors import UserError

NAME = "evenflow"
"""The trainer's, and that of the section of `algorithm` that it reads."""
TESTED = "0.9.1"
"""The release of verl that this version is tested with."""
TRAINERS = "verl.trainer.ppo.v1"
"""The module whose register a run's trainer is looked up in."""


def require_release() -> None:
    """UserError where verl is of another minor release than the one tested, or older than it."""
    installed = version("verl")
    numbers, tested = (tuple(map(int, re.findall(r"\d+", r)[:3])) for r in (installed, TESTED))
    if numbers[:2] != tested[:2] or numbers < tested:
        minor = ".".join(map(str, tested[:2]))
        raise UserError(
            f"verl {installed}: this version of evenflow is tested with verl {TESTED} and takes "
            f"{minor}.x from there on; pip install verl=={TESTED}"
        )


def register() -> None:
    """Enter our trainer in verl's register, by a stand-in that imports it when it is chosen: what
    is wrong then, with the release or with an import, stops the run that asked for it and no
    other."""
    from verl.trainer.ppo.v1 import PPOTrainer, register_trainer

    class ImportedWhenChosen(PPOTrainer):
        def __new__(cls, config: Any) -> Any:
            require_release()
            from evenflow.plugins.verl.trainer import BalanceTrainer

            return BalanceTrainer(config)

    register_trainer(NAME)(ImportedWhenChosen)


class _OnceImported(MetaPathFinder):
    """Calls `register` as soon as verl's trainers have been imported. They take seconds, and most
    of verl's processes never need them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != TRAINERS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            register()

        spec.loader.exec_module = execute_and_register
        return spec


if TRAINERS in sys.modules:
    register()
elif not any(isinstance(finder, _OnceImported) for finder in sys.meta_path):
    sys.meta_path.insert(0, _OnceImported())
