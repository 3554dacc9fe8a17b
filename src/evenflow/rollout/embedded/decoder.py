"""A batch of answers in the making: one prefill, then one forward pass a token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from evenflow.policy.cacheable import cache_argument, taken
from evenflow.rollout.embedded.cache import RolloutCache


class Decoder:
    """``copies`` answers to each of some prompts, in slots ``0 … live − 1``, prompt by prompt.

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
        self.model, self.copies = model, copies
        self.device = model.device
        accepted = taken(model)
        self.last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self.positioned = "position_ids" in accepted
        self.cache_argument = cast(str, cache_argument(model))  # `check_model` has asked
        # The last token of an answer is never read, so it needs no room.
        self.cache = RolloutCache(len(prompts), copies, max_tokens - 1, self.device)
        longest = max(map(len, prompts))
        padding = [longest - len(prompt) for prompt in prompts]
        self.ids = torch.tensor(
            [[pad_id] * pad + list(prompt) for pad, prompt in zip(padding, prompts, strict=True)],
            device=self.device,
        )
        self.padding = torch.tensor(padding, device=self.device) if any(padding) else None

    def prefill(self) -> Tensor:
        """Logits of the first token: ``(prompts · copies, V)``."""
        logits = self._forward(self.ids)
        if self.cache.get_seq_length() != self.ids.shape[1]:
            raise ValueError(f"{type(self.model).__name__} did not fill the key/value cache")
        if self.padding is not None:
            self.padding = self.padding.repeat_interleave(self.copies)
        return logits.repeat_interleave(self.copies, dim=0)

    def step(self, token: Tensor) -> Tensor:
        """Append ``token`` ``(live,)``; logits of the next one: ``(live, V)``."""
        return self._forward(token[:, None])

    def retire(self, done: Tensor, *slotted: Tensor) -> list[Tensor]:
        """Free the slots where ``done`` ``(live,)``, and return each of ``slotted`` without them.

        The last of those that stay move into the gaps, so that a slot is copied at most once for
        each that is freed, and the cache stays in place.
        """
        live = len(done) - int(done.sum())
        target = done[:live].nonzero()[:, 0]
        source = (~done[live:]).nonzero()[:, 0] + live
        self.cache.move(source, target, live)

        def closed_up(tensor: Tensor) -> Tensor:
            tensor[target] = tensor[source]
            return tensor[:live]

        if self.padding is not None:
            self.padding = closed_up(self.padding)
        return [closed_up(tensor) for tensor in slotted]

    def _forward(self, ids: Tensor) -> Tensor:
        inputs: dict[str, Any] = {self.cache_argument: self.cache, **self.last_only}
        if self.padding is not None:
            past = self.cache.get_seq_length()
            columns = torch.arange(past + ids.shape[1], device=self.device) - self.padding[:, None]
            inputs["attention_mask"] = columns >= 0
            if self.positioned:
                inputs["position_ids"] = columns[:, past:].clamp(min=0)
        output = self.model(input_ids=ids, use_cache=True, **inputs)
        return output.logits[:, -1]
