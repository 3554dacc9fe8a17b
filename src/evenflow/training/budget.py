"""What a run has used up, and what of its budget is left."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from evenflow.config import TrainConfig


@dataclass
class Spent:
    """Counts over the whole run, earlier parts of a resumed one included."""

    questions: int = 0
    """Places of the run's order of questions."""
    answers: int = 0
    """Sampled, those included that dynamic sampling dropped or the reference gave."""
    tokens: int = 0
    """Of these answers."""
    optimizer_steps: int = 0
    cpu_seconds: float = 0.0
    """Of training steps, evaluation and saving left out."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return asdict(self)

    def summary(self) -> dict[str, float]:
        """Under the names of summary.json."""
        return {
            "answers": self.answers,
            "sampled_tokens": self.tokens,
            "optimizer_steps": self.optimizer_steps,
            "cpu_seconds": self.cpu_seconds,
        }

    def left(self, config: TrainConfig) -> int | None:
        """Answers that may still be sampled; None: any number."""
        return None if config.train.answers is None else config.train.answers - self.answers

    def exhausted(self, config: TrainConfig, *, with_reference: bool) -> bool:
        """Whether a step's answers, and with an offline log Z as many of the reference's, would
        exceed the budget."""
        batch = config.rollout.questions * config.rollout.num_generations
        left = self.left(config)
        return left is not None and left < batch * (2 if with_reference else 1)

    def progress(self, config: TrainConfig, step: int) -> float:
        """Steps taken, or the same share of the answers if that is more."""
        train = config.train
        used = self.answers / train.answers if train.answers else 0.0
        return max(step, used * train.steps)
