"""The distribution of a policy over every answer, from one forward pass over the tree of prefixes.

The answers share their prefixes: V^{L−1} sequences of L − 1 letters hold the conditional
distribution after every prefix, and each answer's log-prob is a sum of L numbers picked from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from evenflow.policy.policy import evaluating
from evenflow.policy.states import hidden_states

if TYPE_CHECKING:
    from evenflow.studies.exact.problems import Problem

CHUNK = 65536  # tokens in one forward pass


@dataclass(frozen=True)
class Listing:
    """Where each answer's conditionals stand in the tree of a problem's prefixes."""

    paths: Tensor
    """(R, L − 1) all strings of L − 1 letters."""
    row: Tensor
    """(N, L) a path that starts with the answer's first t letters; 0 past its end."""
    token: Tensor
    """(N, L) the answer's t-th token; 0 past its end."""
    mask: Tensor
    """(N, L) True on the answer's tokens."""
    prompts: Tensor
    """(Q, P)."""

    @classmethod
    def of(cls, problem: Problem) -> Listing:
        tokens = problem.tokens  # (N, L)
        mask = tokens >= 0
        places = problem.letters ** torch.arange(problem.limit - 1, -1, -1)
        # The number of a path in base V; letters from t on count 0.
        digits = (tokens - problem.first).clamp(min=0) * places // problem.letters
        row = digits.cumsum(1).roll(1, 1)
        row[:, 0] = 0
        letters = range(problem.first, problem.vocabulary)
        paths = torch.tensor(list(product(letters, repeat=problem.limit - 1)))
        return cls(
            paths,
            row.masked_fill(~mask, 0),
            tokens.clamp(min=0),
            mask,
            torch.tensor(problem.prompts),
        )

    def logprobs(self, model: nn.Module) -> Tensor:
        """(Q, N) log π(y|x), summed in float64: Σ_y π(y|x) is 1 to 1e-12."""
        return self.token_logprobs(model).sum(-1)

    @torch.no_grad()
    def token_logprobs(self, model: nn.Module) -> Tensor:
        """(Q, N, L) log π of each token, float64; 0 past an answer's end."""
        with evaluating(model):
            return torch.stack([self._question(model, prompt) for prompt in self.prompts])

    def _question(self, model: nn.Module, prompt: Tensor) -> Tensor:
        ids = torch.cat([prompt.expand(len(self.paths), -1), self.paths], 1)  # (R, P + L − 1)
        conditionals = []
        for rows in ids.split(max(1, CHUNK // ids.shape[1])):
            hidden, project = hidden_states(model, rows)
            logits = project(hidden[:, len(prompt) - 1 :])  # (r, L, V)
            conditionals.append(logits.double().log_softmax(-1))
        table = torch.cat(conditionals)
        steps = torch.arange(self.token.shape[1])
        return table[self.row, steps, self.token].masked_fill(~self.mask, 0.0)
