"""An objective of one's own: REINFORCE, each answer compared with the others to its question.

cd examples
evenflow train ../recipes/countdown.yaml algorithm=objective:LeaveOneOut objective.lead=0.1
"""

from pydantic import Field
from torch import Tensor

from evenflow.objectives import Answers, Choices, Needs, Scores, normalise_rewards


class LeaveOneOut(Choices):
    """−(r − mean of the others' r − lead)·log π(y), averaged over answers."""

    lead: float = Field(default=0.0, ge=0)
    """By how much a reward must exceed the others' mean to be reinforced."""

    @property
    def needs(self) -> Needs:
        """At least two answers to each question."""
        return Needs(groups_of_two=True)

    def prepare(self, answers: Answers) -> Answers:
        """Advantages, (N, T), while every group is whole."""
        answers = super().prepare(answers)
        lead = normalise_rewards(answers.rewards, answers.groups, "leave-one-out") - self.lead
        return answers.replace(advantages=lead[:, None].expand_as(answers.old_logprobs))

    def loss(
        self, scores: Scores, answers: Answers, total: Tensor | float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A micro-batch's part of the loss; `total` is how many answers the mini-batch has."""
        advantage = answers.token_mean(answers.advantages)  # (B,)
        loss = -(advantage * answers.token_sum(scores.logprobs)).sum() / total
        return loss, {"advantage": advantage}

    def summarise(self, metrics: dict[str, Tensor]) -> dict[str, float]:
        """A column of metrics.jsonl."""
        return {"advantage/positive": (metrics["advantage"] > 0).float().mean().item()}
