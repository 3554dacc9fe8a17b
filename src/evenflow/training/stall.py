"""Steps in a row that taught nothing end a run, with a sentence on what to change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenflow.errors import UserError
from evenflow.run.console import console

PATIENCE = 3

NOT_FINITE = (
    "the loss or its gradient was not finite",
    "lower train.learning_rate or objective.inverse_temperature",
)
NOTHING_KEPT = (
    "no question was answered both right and wrong",
    "look at reward/mean and at reward.right, from which on an answer is right; ask other "
    "questions, raise rollout.num_generations or rollout.max_rounds, or switch "
    "rollout.dynamic_sampling off",
)

NONE_KNOWN = (
    "the reward of every answer was unknown",
    "a function of reward.functions took longer than reward.timeout or gave NaN, see the warnings",
)


@dataclass
class Patience:
    """Counts fruitless steps of the run in `folder`."""

    folder: Path
    fruitless: int = 0
    problem: tuple[str, str] | None = None

    def note(self, step: int, problem: tuple[str, str] | None) -> None:
        """A step (from 1) went well (None), or had this problem and this remedy."""
        count = self.fruitless + 1 if problem == self.problem else 1
        if problem is not None:
            what, remedy = problem
            console.print(f"[yellow]step {step}: {what}; weights left as they were[/yellow]")
            if count >= PATIENCE:  # not counted: the step will be taken again
                raise UserError(
                    f"{what} in {PATIENCE} steps in a row (last: step {step}); {remedy}; a new run "
                    f"can start from this one's last checkpoint with model.path={self.folder}"
                )
        self.fruitless, self.problem = count, problem

    @property
    def ended(self) -> bool:
        """Whether one more such step ends the run, or has ended it."""
        return self.problem is not None and self.fruitless == PATIENCE - 1

    def ending(self, updates: int) -> str | None:
        """What is said at the end of a run of so many updates of the weights; None where there was
        one."""
        if updates or self.problem is None:
            return None
        what, remedy = self.problem
        return f"nothing was learned: no step changed the weights; in the last {what}; {remedy}"

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"fruitless": self.fruitless, "problem": self.problem}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        for name, value in state.items():
            setattr(self, name, value)
