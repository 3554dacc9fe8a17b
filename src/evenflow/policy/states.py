"""Last-layer hidden states of answers and their prompts, and the way from there to logits.

The G answers of a group have one prompt. It is read once: its keys and values, with their
gradients, are handed to the forward pass of the answers, as they are in sampling.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from evenflow.policy.cacheable import HeldCache, HeldLayer, cache_argument, check_model
from evenflow.policy.logprobs import Projection
from evenflow.policy.tokens import Tokens, collate

TOKEN_KINDS = ("token_type_ids", "mm_token_type_ids")
"""What models call the tensor that tells tokens of text, 0, from marks of images."""
OVERHEAD = defaultdict(lambda: 2048, cpu=64)
"""By device: as many tokens could be read in the time that a pass takes beside them."""
WORTH = 0.1
"""Of all tokens: so many must be saved for prompts to be read apart, in a pass of their own."""


@dataclass(frozen=True)
class States:
    """Of `Tokens`."""

    prompts: Tensor
    """(P, L, H) of each different prompt, anything on padding."""
    before: Tensor
    """(M, H) the state that predicts each token of the U answers, one answer after the other."""


def states_of(trunk: nn.Module, tokens: Tokens, *, shared: bool = False) -> States:
    """The states of a model's trunk; `shared`: each prompt is read once where that is worth it."""
    lengths = tokens.prompt_lengths[tokens.firsts]
    ids = tokens.ids[tokens.firsts, : int(lengths.max())]  # (P, L)
    if shared:
        classes = length_classes(tokens.answer_lengths.tolist(), OVERHEAD[ids.device.type])
        read = ids.numel() + sum(len(rows) * (longest - 1) for rows, longest in classes)
        if read <= (1 - WORTH) * tokens.ids.numel():
            return _read_apart(trunk, tokens, ids, lengths, classes)
    hidden = trunk(**inputs_of(trunk, tokens.ids)).last_hidden_state
    rows, columns = tokens.answer_mask.nonzero(as_tuple=True)
    before = hidden[rows, tokens.prompt_lengths[rows] + columns - 1]
    return States(hidden[tokens.firsts, : ids.shape[1]], before)


def length_classes(lengths: Sequence[int], overhead: int) -> list[tuple[list[int], int]]:
    """Rows in classes of like length, and the longest of each, so that all classes padded, and
    `overhead` tokens for each class, are fewest.

    best[n], for the n longest rows, is the least over the last class's first row: O(different
    lengths²).
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    starts = [n for n in range(len(order)) if not n or lengths[order[n]] < lengths[order[n - 1]]]
    best: dict[int, tuple[int, int]] = {0: (0, 0)}
    for end in [*starts[1:], len(order)]:
        best[end] = min(
            (best[start][0] + overhead + (end - start) * lengths[order[start]], start)
            for start in starts
            if start < end
        )
    classes, end = [], len(order)
    while end:
        start = best[end][1]
        classes.append((order[start:end], lengths[order[start]]))
        end = start
    return classes[::-1]


def _read_apart(
    trunk: nn.Module,
    tokens: Tokens,
    ids: Tensor,
    lengths: Tensor,
    classes: list[tuple[list[int], int]],
) -> States:
    """Prompts padded on the right first, under no mask, then answers, class by class, after keys
    and values that are padded on the left: no position sees padding alone, and distances are
    true."""
    device, longest = ids.device, ids.shape[1]
    cache = PromptCache(lengths)
    past = {cast(str, cache_argument(trunk)): cache, "use_cache": True}
    positioned = "position_ids" in inspect.signature(trunk.forward).parameters
    padded = cache.padded
    prompts = trunk(**inputs_of(trunk, ids) | past).last_hidden_state
    ends = torch.arange(len(lengths), device=device) * longest + lengths - 1
    found = [prompts.flatten(0, 1)]
    # places[u, t]: where, among all states found, that before token t of answer u is.
    places = ends[tokens.prompts][:, None].repeat(1, tokens.answer_mask.shape[1])  # (U, T)
    taken = found[0].shape[0]
    for members, reach in classes:
        if reach == 1:
            continue  # nothing is predicted from an answer's last token
        rows = torch.tensor(members, device=device)
        columns = torch.arange(reach - 1, device=device)
        before = tokens.prompt_lengths[rows, None]  # (u, 1)
        cache.answer(tokens.prompts[rows])
        at = (before + columns).clamp(max=tokens.ids.shape[1] - 1)
        inputs = inputs_of(trunk, tokens.ids[rows].gather(1, at)) | past
        if positioned:
            inputs["position_ids"] = before + columns
        if padded:
            inputs["attention_mask"] = (
                torch.arange(longest + reach - 1, device=device) >= longest - before
            )
        found.append(trunk(**inputs).last_hidden_state.flatten(0, 1))
        numbers = torch.arange(len(members) * (reach - 1), device=device).view(len(members), -1)
        places[rows, 1:reach] = taken + numbers
        taken += numbers.numel()
    return States(prompts, torch.cat(found).index_select(0, places[tokens.answer_mask]))


class PromptLayer(HeldLayer):
    """Keys and values of one layer: of the prompts, then of each answer behind its prompt's."""

    def __init__(self, lengths: Tensor, *, padded: bool) -> None:
        super().__init__()
        self.lengths, self.padded = lengths, padded
        self.answered: Tensor | None = None
        self.held: list[Tensor] = []

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.held = [self._ended_alike(states) for states in (key_states, value_states)]
        self.is_initialized = True

    def _ended_alike(self, states: Tensor) -> Tensor:
        """(P, heads, L, D) padded on the left in place of the right."""
        longest = states.shape[2]
        if not self.padded:
            return states
        columns = torch.arange(longest, device=states.device)
        places = (columns - longest + self.lengths[:, None]).clamp(min=0)  # (P, L)
        return states.gather(2, places[:, None, :, None].expand_as(states))

    def update(
        self, key_states: Tensor, value_states: Tensor, *args, **kwargs
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            return key_states, value_states
        keys, values = (
            torch.cat([held.index_select(0, cast(Tensor, self.answered)), new], dim=2)
            for held, new in zip(self.held, (key_states, value_states), strict=True)
        )
        return keys, values

    def get_seq_length(self) -> int:
        return self.held[0].shape[2] if self.held else 0


class PromptCache(HeldCache[PromptLayer]):
    """A `PromptLayer` a layer of the model. `lengths` (P,) of the prompts."""

    def __init__(self, lengths: Tensor) -> None:
        self.padded = int(lengths.min()) < int(lengths.max())
        super().__init__(lambda: PromptLayer(lengths, padded=self.padded))

    def answer(self, prompts: Tensor) -> None:
        """The next pass is of answers to these prompts (u,)."""
        for layer in self.held:
            layer.answered = prompts


@torch.no_grad()
def can_share(model: nn.Module) -> bool:
    """Whether the states of answers are the same where their prompts are read once, tried out; but
    for rounding, which in bfloat16 is coarse, and a wrong mask is coarser."""
    trunk = trunk_of(model)
    if cache_argument(trunk) is None:
        return False
    rows = cast(Any, model).get_input_embeddings().weight.shape[0]
    short, long = [1 % rows, 2 % rows], [3 % rows, 2 % rows, 4 % rows, 1 % rows]
    answers = [[5 % rows], [6 % rows, 1 % rows], [2 % rows, 7 % rows, 3 % rows], [4 % rows] * 2]
    device = next(model.parameters()).device
    tokens = collate([short, short, long, long] * 2, [*answers, *answers[::-1]], device=device)
    try:
        check_model(cast(Any, model))
        apart, whole = (states_of(trunk, tokens, shared=shared) for shared in (True, False))
    except (ValueError, TypeError, AttributeError, RuntimeError, NotImplementedError, IndexError):
        return False  # however a model fails at what it was not written for, it is read whole
    true = whole.before.float()
    gaps = (apart.before.float() - true).abs().mean(-1)
    half = whole.before.dtype != torch.float32
    return bool((gaps <= (0.05 if half else 1e-4) * true.abs().mean()).all())


def hidden_states(model: nn.Module, ids: Tensor) -> tuple[Tensor, Projection]:
    """Last-layer hidden states (B, S, H), and the map from them to float32 logits (…, V)."""
    trunk = trunk_of(model)
    return trunk(**inputs_of(trunk, ids)).last_hidden_state, projection(model)


def trunk_of(model: nn.Module) -> nn.Module:
    """The model without its output layer."""
    inner = language_model(model)
    return inner.model if inner.base_model is inner else inner.base_model


def language_model(model: nn.Module) -> Any:
    """The model itself, beneath a PEFT wrapper: its layers are adapted in place."""
    return getattr(model, "get_base_model", lambda: model)()


def projection(model: nn.Module) -> Projection:
    """The map from last-layer hidden states (…, H) to float32 logits (…, V)."""
    inner = language_model(model)
    config = inner.config.get_text_config()
    # Three families scale or cap their logits after the projection (Cohere, Granite, Gemma 2).
    scale = getattr(config, "logit_scale", None) or 1.0
    scale /= getattr(config, "logits_scaling", None) or 1.0
    cap = getattr(config, "final_logit_softcapping", None)
    return Projection(inner.get_output_embeddings(), scale, cap or None)


def inputs_of(trunk: nn.Module, ids: Tensor) -> dict[str, Any]:
    """What the forward pass of a model's trunk asks for; one that reads images, too, may ask in
    training which tokens are marks of one: none."""
    inputs: dict[str, Any] = {"input_ids": ids, "use_cache": False}
    config = cast(Any, trunk).config
    if config.get_text_config() is not config:
        taken = inspect.signature(trunk.forward).parameters
        inputs |= {name: torch.zeros_like(ids) for name in TOKEN_KINDS if name in taken}
    return inputs
