"""FlowRL with noise in place of Zφ, as the authors of GFlowRL (arXiv 2607.13394) tried it."""

from __future__ import annotations

from typing import Literal

import torch

from evenflow.objectives import Answers
from evenflow.objectives.balance import Balance


class Noise(Balance):
    """δ with log Z ~ N(0, 1), drawn anew for each question and rollout; FlowRL's choices else."""

    log_z: Literal["none"] = "none"

    def prepare(self, answers: Answers) -> Answers:
        """r̃ − z/β, so that −β·r̃ has the noise z."""
        answers = super().prepare(answers)
        if answers.signal is None:
            raise ValueError("prepare fills `signal`")
        of_group, row = answers.groups.unique(return_inverse=True)
        noise = torch.randn(len(of_group)).to(answers.signal)[row]
        return answers.replace(signal=answers.signal - noise / self.inverse_temperature)
