"""Attention for answers that share a prompt: its keys are read once for all of them.

Decoding is bound by reading keys and values. The G answers to a prompt attend to the same ones, so
their queries are multiplied with the prompt's keys together (a matrix product in place of G
matrix-vector products) and each with its own answer's; one softmax joins the two parts.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._pytree import tree_map_only

# Torch multiplies a batch of matrices of fewer products than this one by one on the CPU, several
# times slower than their products summed.
SLOW_PRODUCT = 400


class Slots:
    """Which prompt each slot of the batch has an answer to: at first one to each."""

    def __init__(self, prompts: int, capacity: int, device: torch.device):
        self.prompts, self.capacity = prompts, capacity
        self.prompt = torch.arange(prompts, device=device)
        self._number()

    @property
    def live(self) -> int:
        """How many slots there are."""
        return len(self.prompt)

    def part(self, source: Tensor) -> None:
        """Let one slot more for each ``source`` follow the live ones."""
        self.prompt = torch.cat([self.prompt, self.prompt[source]])
        self._number()

    def move(self, source: Tensor, target: Tensor, live: int) -> Tensor | None:
        """Put ``source`` in the place of ``target``, and forget all slots from ``live`` on.

        Once half of the prompts have no slot left, the others are numbered anew: returns the old
        numbers of those that stay, else None.
        """
        self.prompt[target] = self.prompt[source]
        self.prompt = self.prompt[:live]
        kept, renumbered = self.prompt.unique(return_inverse=True)
        few = len(kept) <= self.prompts // 2
        if few:
            self.prompts, self.prompt = len(kept), renumbered
        self._number()
        return kept if few else None

    def _number(self) -> None:
        """Number the answers to each prompt: slot s has answer ``copy[s]`` to ``prompt[s]``."""
        order = self.prompt.argsort(stable=True)
        counts = torch.bincount(self.prompt, minlength=self.prompts)
        starts = counts.cumsum(0) - counts
        self.copy = torch.empty_like(order)
        self.copy[order] = torch.arange(self.live, device=order.device)
        self.copy -= starts[self.prompt]
        self.copies = int(counts.max())
        self.places: dict[int, tuple[Tensor, Tensor]] = {}

    def group(self, rows: Tensor) -> Tensor:
        """``(live, H, r, E)`` → ``(prompts, H, copies · r, E)``, arbitrary where no slot is."""
        heads, size = rows.shape[1], rows.shape[3]
        grouped = rows.flatten(0, 1).index_select(0, self._places(heads)[0])
        return grouped.view(self.prompts, heads, -1, size)

    def ungroup(self, grouped: Tensor) -> Tensor:
        """The inverse of `group`."""
        heads, size = grouped.shape[1], grouped.shape[3]
        rows = grouped.reshape(self.prompts * heads * self.copies, -1, size)
        return rows.index_select(0, self._places(heads)[1]).unflatten(0, (-1, heads))

    def _places(self, heads: int) -> tuple[Tensor, Tensor]:
        """Of (prompt, head, copy) among (slot, head), and back, both flat.

        Flat, because whole rows picked by one index are copied several times faster than by two.
        """
        if heads not in self.places:
            head = torch.arange(heads, device=self.prompt.device)
            back = (self.prompt[:, None] * heads + head) * self.copies + self.copy[:, None]
            back = back.flatten()
            there = back.new_zeros(self.prompts * heads * self.copies)
            there[back] = torch.arange(len(back), device=back.device)
            self.places[heads] = there, back
        return self.places[heads]


class SharedPrefix(Tensor):
    """Keys or values ``(live, H, L + t, D)``, held as the prompts' and the answers' part.

    ``prefix`` is ``(prompts, H, L, D)``, ``suffix`` ``(live, H, t, D)``. Torch's attention function
    takes the short way, `attend`; any other function (of a model with an attention of its own) sees
    the tensor written out in full.
    """

    prefix: Tensor
    suffix: Tensor
    slots: Slots

    @staticmethod
    def __new__(cls, prefix: Tensor, suffix: Tensor, slots: Slots) -> SharedPrefix:
        rows, heads, length, size = suffix.shape
        self = torch.Tensor._make_wrapper_subclass(
            cls,
            (rows, heads, prefix.shape[2] + length, size),
            dtype=suffix.dtype,
            device=suffix.device,
        )
        self.prefix, self.suffix, self.slots = prefix, suffix, slots
        return self

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        held = [*args[1:3], *map((kwargs or {}).get, ("key", "value"))]
        if func is scaled_dot_product_attention and sum(isinstance(x, cls) for x in held) == 2:
            return attend(*args, **(kwargs or {}))
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        return func(*tree_map_only(cls, cls.materialize, args), **(kwargs or {}))

    def materialize(self) -> Tensor:
        """The plain tensor."""
        return torch.cat([self.prefix[self.slots.prompt], self.suffix], dim=2)


def attend(
    query: Tensor,
    key: SharedPrefix,
    value: SharedPrefix,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`scaled_dot_product_attention` of one new position, ``query`` ``(live, Hq, 1, D)``.

    Query heads that share a key head (``enable_gqa``) are further rows of its product, as the
    queries of a group's answers are.
    """
    assert not is_causal, "one new position sees all before it"
    assert not dropout_p, "sampling is done in evaluation mode"
    slots, heads = key.slots, key.prefix.shape[1]
    rows, length = query.shape[0], key.prefix.shape[2]
    q = query.reshape(rows, heads, -1, query.shape[-1])
    q = q * (scale or 1 / math.sqrt(query.shape[-1]))
    scores = torch.cat(
        [
            slots.ungroup(slots.group(q) @ key.prefix.transpose(2, 3)),
            q @ key.suffix.transpose(2, 3),
        ],
        dim=-1,
    )
    if attn_mask is not None:
        mask = attn_mask
        if mask.shape[1] > 1:  # one for each query head
            mask = mask.reshape(mask.shape[0], heads, -1, mask.shape[-1])
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    probs = scores.softmax(dim=-1, dtype=torch.float32).to(value.suffix.dtype)
    output = slots.ungroup(slots.group(probs[..., :length]) @ value.prefix)
    output = output + _weighted_sum(probs[..., length:], value.suffix)
    return output.reshape(*query.shape[:-1], -1)


def _weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    """``weights @ values``: ``(n, H, r, t)``, ``(n, H, t, D)`` → ``(n, H, r, D)``."""
    if weights.shape[2] == 1 and weights.shape[3] * values.shape[3] < SLOW_PRODUCT:
        return (weights.transpose(2, 3) * values).sum(dim=2, keepdim=True)
    return weights @ values
