"""Whether sampler and trainer compute one policy: asked before anything is learned from a batch."""

from __future__ import annotations

import math

from torch.nn.functional import pad

from evenflow.errors import UserError
from evenflow.objectives.answers import Answers
from evenflow.policy.policy import Policy
from evenflow.training.scoring import Rows

PROBED = 16
"""Answers that are scored where log-probs of all of them are not known anyhow."""
CAUSES = (
    "weights that the engine has not taken over, all or in part (an adapter, a head tied to the "
    "embeddings), another model behind the same name, another temperature, filtered sampling, or "
    "quantised weights"
)


def require_small_gap(
    rows: Rows, policy: Policy, version: int, largest: float, budget: int, said: str
) -> tuple[float, float] | None:
    """The gap (`gap_of`); UserError, where log-probs as sampled by the policy of `version` and as
    it computes them now differ by more than `largest` nats a token on average.

    Answers of other versions tell nothing; None where there are no others. Where the rows were
    scored all are compared, else a few, spread over the batch, which are scored for it at most
    `budget` tokens at a time. `said` stands at the sentence's start: whose answers they are.
    """
    own = (rows.versions == version).nonzero()[:, 0].tolist()
    if not own:
        return None
    if not rows.scored:
        own = own[:: math.ceil(len(own) / PROBED)]
    some = rows[own]
    answers = some.answers
    if not rows.scored:
        found = policy.score(some.prompt_ids, some.answer_ids, budget=budget)
        width = answers.mask.shape[1]
        answers = answers.replace(old_logprobs=pad(found, (0, width - found.shape[1])))
    mean, most = gap_of(answers)
    if mean > largest:
        raise UserError(
            f"{said}: log-probs as sampled and as the trainer computes them for the same weights "
            f"differ by {mean:.3g} nats a token on average, at most {most:.3g} (in {len(own)} "
            f"answers), more than rollout.largest_gap, {largest:g}; nothing was learned from them. "
            f"Likely causes: {CAUSES}; docs/offpolicy.md tells them apart, and "
            "rollout.largest_gap=null goes on all the same"
        )
    return mean, most


def gap_of(answers: Answers) -> tuple[float, float]:
    """Mean over tokens, and largest, absolute difference of old and sampled log-probs."""
    assert answers.sampled_logprobs is not None
    mask = answers.mask.bool()
    gap = (answers.old_logprobs - answers.sampled_logprobs)[mask].abs()
    return gap.mean().item(), gap.max().item()
