"""A policy whose answers can all be listed, in float64.

Tokens are 0, 1 and end; an answer ends with the end token or is cut off after two tokens. That
makes seven answers of two lengths from three states (the empty prefix, "0", "1"), and every
distribution over the seven is one choice of the conditionals.
"""

from collections import Counter
from itertools import combinations_with_replacement, product
from math import factorial, prod

import torch
from torch import Tensor

ANSWERS = ["e", "0e", "1e", "00", "01", "10", "11"]
REWARDS = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.5, 0.0, 1.0], dtype=torch.float64)
MASK = torch.tensor([[1, len(a) - 1] for a in ANSWERS], dtype=torch.bool)  # (7, 2)
LENGTHS = MASK.sum(-1).double()
STATE = {"": 0, "0": 1, "1": 2}


def random_logits(seed: int, scale: float = 1.0) -> Tensor:
    """(3 states, 3 tokens)."""
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(3, 3, generator=generator, dtype=torch.float64)


def token_logprobs(logits: Tensor) -> Tensor:
    """(7, 2) log π of each token of each answer; 0 past the end."""
    table = logits.log_softmax(-1)
    rows = []
    for answer in ANSWERS:
        steps = [table[STATE[answer[:t]], "01e".index(answer[t])] for t in range(len(answer))]
        rows.append(torch.stack([*steps, *[steps[0] * 0] * (2 - len(steps))]))
    return torch.stack(rows)


def log_prob(logits: Tensor) -> Tensor:
    """(7,) log π(y)."""
    return token_logprobs(logits).sum(-1)


def logits_of(distribution: Tensor) -> Tensor:
    """The policy with π(y) = distribution (7,)."""
    p = dict(zip(ANSWERS, distribution, strict=True))
    first = [p["0e"] + p["00"] + p["01"], p["1e"] + p["10"] + p["11"], p["e"]]
    rows = [first, [p["00"], p["01"], p["0e"]], [p["10"], p["11"], p["1e"]]]
    return torch.stack([torch.stack(row) for row in rows]).log()


def every_group(size: int) -> list[list[int]]:
    """All ordered groups of `size` answers."""
    return [list(group) for group in product(range(len(ANSWERS)), repeat=size)]


def every_unordered_group(size: int) -> list[tuple[list[int], int]]:
    """All groups of `size` answers but for their order, each with the number of its orders."""
    groups = [list(group) for group in combinations_with_replacement(range(len(ANSWERS)), size)]
    return [
        (group, factorial(size) // prod(map(factorial, Counter(group).values())))
        for group in groups
    ]


def gradient(value: Tensor, logits: Tensor) -> Tensor:
    """∇ of a scalar, flat (9,)."""
    return torch.autograd.grad(value, logits, retain_graph=True)[0].flatten()
