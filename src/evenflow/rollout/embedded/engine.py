"""The engine that needs nothing but PyTorch: it samples with the very model that is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from evenflow.data import Prompt
from evenflow.policy.cacheable import check_model
from evenflow.policy.policy import Policy
from evenflow.policy.reach import reach, remark
from evenflow.policy.stops import vocabulary
from evenflow.rollout.decoding import texts_of
from evenflow.rollout.embedded.decoder import check_positions
from evenflow.rollout.embedded.generate import generate
from evenflow.rollout.embedded.refill import TOKEN_BYTES
from evenflow.rollout.embedded.static import StaticDecoding
from evenflow.rollout.engine import Limits
from evenflow.rollout.group import Group
from evenflow.rollout.sampling import Sampling


def is_static(decoding: str, *, gpu: bool) -> bool:
    """Whether answers are decoded with static shapes, by `rollout.decoding` and the device."""
    return decoding == "static" or (decoding == "auto" and gpu)


class EmbeddedEngine:
    """Samples from the policy's own weights, in this process and on the policy's device."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None,
        max_batch: int,
        decoding: str = "auto",
    ) -> None:
        """Without a tokenizer the answers' texts are empty. ``decoding``: `rollout.decoding`."""
        self.tokenizer, self.max_batch, self.decoding = tokenizer, max_batch, decoding
        self.static = StaticDecoding()
        self.policy: Policy | None = None
        self.tried: type[PreTrainedModel] | None = None
        self.version = 0

    def update(self, policy: Policy, version: int) -> None:
        """Sample from this policy: its weights are read where they are."""
        self.policy, self.version = policy, version

    def limits(self, prompts: Sequence[Prompt]) -> Limits:
        """The model's positions and vocabulary. ValueError for a model whose state the key/value
        cache cannot hold, or whose positions do not begin at 0."""
        model = self._model
        check_model(model)
        if self.tried is not type(model):  # once, and so before anything samples beside
            with cast(Policy, self.policy).autocast():
                check_positions(model)
            self.tried = type(model)
        limit = reach(model, [len(prompt.ids) for prompt in prompts]) if prompts else None
        return Limits(
            positions=limit,
            remark="" if limit is None else remark(model, limit),
            vocabulary=vocabulary(model),
            token_bytes=TOKEN_BYTES,
            exact=cast(Policy, self.policy).compute_dtype == torch.float32,
            beside=model.device.type == "cpu",
        )

    def groups(
        self,
        prompts: Sequence[Prompt],
        count: int,
        sampling: Sampling,
        *,
        seed: int | Sequence[int],
    ) -> Iterator[Group]:
        """See `generate`."""
        model, version, tokenizer = self._model, self.version, self.tokenizer
        static = is_static(self.decoding, gpu=model.device.type == "cuda")
        for ended in generate(
            model,
            [prompt.ids for prompt in prompts],
            count,
            sampling,
            seed=seed,
            max_batch=self.max_batch,
            autocast=cast(Policy, self.policy).autocast,
            static=self.static if static else None,
        ):
            prompt = prompts[ended.prompt]
            yield Group(
                place=ended.prompt,
                prompt=prompt,
                answers=ended.answers,
                logprobs=ended.logprobs,
                texts=texts_of(tokenizer, prompt.ids, ended.answers, ended.finished),
                finished=ended.finished,
                version=version,
            )

    @property
    def _model(self) -> PreTrainedModel:
        if self.policy is None:
            raise ValueError("the engine has no policy yet: call update(policy, version) first")
        return cast(Any, self.policy.model)
