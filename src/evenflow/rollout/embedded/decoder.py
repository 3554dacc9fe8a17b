"""A batch of answers in the making: one prefill, then one forward pass a token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from evenflow.policy.cacheable import cache_argument, taken
from evenflow.policy.policy import evaluating
from evenflow.policy.stops import vocabulary
from evenflow.rollout.embedded.cache import RolloutCache

PREFILLED = 32768
"""Tokens of prompts, padding included, that are read together, unless one alone has more: beyond,
activations take memory, and no time is saved."""


class Decoder:
    """Answers to some prompts, at most ``copies`` to each, in slots ``0 … live − 1``.

    A slot is for all answers that have its tokens so far: at first one a prompt, and one more
    wherever answers part.

    Prompts of different lengths are padded on the left, under a mask; where they do not differ no
    mask is made at all, which leaves attention its fastest path.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        copies: int,
        max_tokens: int,
        pad_id: int,
    ):
        self.model, self.words = model, vocabulary(model)
        self.device = model.device
        accepted = taken(model)
        self.last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self.positioned = "position_ids" in accepted
        self.cache_argument = cast(str, cache_argument(model))  # `check_model` has asked
        # The last token of an answer is never read, so it needs no room.
        self.cache = RolloutCache(len(prompts), copies, max_tokens - 1, self.device)
        self.tokens = torch.empty(0)  # the last of each slot
        longest = max(map(len, prompts))
        padding = [longest - len(prompt) for prompt in prompts]
        self.ids = torch.tensor(
            [[pad_id] * pad + list(prompt) for pad, prompt in zip(padding, prompts, strict=True)],
            device=self.device,
        )
        self.padding = torch.tensor(padding, device=self.device) if any(padding) else None

    def prefill(self) -> Tensor:
        """Logits of the first token: ``(prompts, V)``."""
        rows = max(1, PREFILLED // self.ids.shape[1])
        parts = self.ids.split(rows)
        paddings = [None] * len(parts) if self.padding is None else self.padding.split(rows)
        logits = torch.cat([self._forward(*part) for part in zip(parts, paddings, strict=True)])
        if self.cache.get_seq_length() != self.ids.shape[1]:
            raise ValueError(f"{type(self.model).__name__} did not fill the key/value cache")
        return logits

    def step(self) -> Tensor:
        """Logits of what follows the tokens that `append` was given: ``(live, V)``."""
        return self._forward(self.tokens[:, None], self.padding)

    def append(self, slot: Tensor, token: Tensor) -> Tensor:
        """Append a token to each answer that is not over, ``(n,)``, in its slot; the slots in which
        the answers are then, ``(n,)``.

        Answers that go on alike keep their slot, others get one that is free, and slots without an
        answer are free.
        """
        live = self.cache.slots.live
        different, inverse = (slot * self.words + token).unique(return_inverse=True)
        parent = different // self.words  # in rising order
        first = torch.ones_like(parent, dtype=torch.bool)
        first[1:] = parent[1:] != parent[:-1]
        staying, parting = parent[first], parent[~first]
        place = self._close_up(staying, live)  # of each old slot
        if len(parting):
            self.cache.part(place[parting])
            if self.padding is not None:
                self.padding = torch.cat([self.padding, self.padding[place[parting]]])
        found = torch.empty_like(parent)
        found[first] = place[staying]
        found[~first] = torch.arange(len(staying), len(parent), device=self.device)
        self.tokens = torch.empty_like(parent)
        self.tokens[found] = different % self.words
        return found[inverse]

    def _close_up(self, staying: Tensor, live: int) -> Tensor:
        """Free all slots but those that stay; where each is then, ``(live,)``.

        The last of those that stay move into the gaps, so that a slot is copied at most once for
        each that is freed, and the cache stays in place.
        """
        place = torch.arange(live, device=self.device)
        left = len(staying)
        if left == live:
            return place
        stays = torch.zeros(live, dtype=torch.bool, device=self.device)
        stays[staying] = True
        target = (~stays[:left]).nonzero()[:, 0]
        source = stays[left:].nonzero()[:, 0] + left
        self.cache.move(source, target, left)
        if self.padding is not None:
            self.padding[target] = self.padding[source]
            self.padding = self.padding[:left]
        place[source] = target
        return place

    def _forward(self, ids: Tensor, padding: Tensor | None) -> Tensor:
        inputs: dict[str, Any] = {self.cache_argument: self.cache, **self.last_only}
        if padding is not None:
            past = self.cache.get_seq_length()
            columns = torch.arange(past + ids.shape[1], device=self.device) - padding[:, None]
            inputs["attention_mask"] = columns >= 0
            if self.positioned:
                inputs["position_ids"] = columns[:, past:].clamp(min=0)
        output = self.model(input_ids=ids, use_cache=True, **inputs)
        return output.logits[:, -1]


@torch.no_grad()
def check_positions(model: PreTrainedModel) -> None:
    """Raise ``ValueError`` for a model that does not count its positions from 0, tried out: RoBERTa
    and its like count the tokens that are not padding, from behind the padding token's id. Told
    positions from 0, as behind padding, they would be another model."""
    if "position_ids" not in taken(model):
        return
    ids = torch.arange(1, 7, device=model.device)[None] % vocabulary(model)
    with evaluating(model):
        own = model(input_ids=ids, use_cache=False).logits.float()
        try:
            places = torch.arange(6, device=model.device)[None]
            told = model(input_ids=ids, position_ids=places, use_cache=False).logits.float()
        except (ValueError, TypeError, RuntimeError, IndexError):
            return  # in a shape of its own
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.05
    if (told - own).abs().mean() > tolerance * own.std():
        raise ValueError(
            f"{type(model).__name__} does not count the positions of its tokens from 0 (as models "
            "of RoBERTa's family do not): its answers would have wrong log-probs; use another model"
        )


def pads_unseen(model: PreTrainedModel) -> bool:
    """Whether padding on the left, under a mask, changes nothing for the model: so it is where
    positions can be told to it, and where it has none but distances (ALiBi), which is tried out."""
    if "position_ids" in taken(model):
        return True
    ids = torch.arange(1, 7, device=model.device)[None] % vocabulary(model)
    mask = torch.arange(9, device=model.device)[None] >= 3
    alone = model(input_ids=ids, use_cache=False).logits[0]
    padded = torch.cat([torch.zeros_like(ids[:, :3]), ids], dim=1)
    behind = model(input_ids=padded, attention_mask=mask, use_cache=False).logits[0, 3:]
    tolerance = 1e-3 if alone.dtype == torch.float32 else 0.05
    return bool((behind.float() - alone.float()).abs().mean() <= tolerance * alone.float().std())
