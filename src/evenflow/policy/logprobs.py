"""Per-token log-probs without ever holding (tokens × vocabulary) logits, unless they fit easily."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

LEAST_LOG_PROB = -1e4
OF_CPU = 4 << 20
"""Bytes of logits that are kept for backward on a CPU: what stays in its caches."""
OF_FREE = 0.5
"""Of a GPU's free memory, that logits kept for backward may take."""


@dataclass(frozen=True)
class Projection:
    """The map from last-layer hidden states (…, H) to float32 logits (…, V)."""

    output: nn.Module
    scale: float = 1.0
    cap: float | None = None

    def __call__(self, states: Tensor) -> Tensor:
        return finished(self.output(states), self.scale, self.cap)


def finished(logits: Tensor, scale: float, cap: float | None) -> Tensor:
    """Products of the output layer as logits: in float32, scaled or capped."""
    logits = logits.float()
    if scale != 1.0:
        logits = logits * scale
    return torch.tanh(logits / cap) * cap if cap else logits


def scores_of(logits: Tensor, targets: Tensor, *, entropy: bool) -> Tensor:
    """(m, V) float32 logits and (m,) targets → (m, 1) log-probs, with `entropy` (m, 2)."""
    # The fused kernel holds one (m, V) less in backward than gather − logsumexp.
    columns = [-cross_entropy(logits, targets, reduction="none")]
    if entropy:
        table = logits.log_softmax(-1)
        # 0·log 0 = 0 in the gradient too, where p underflows or a logit is −∞.
        columns.append(-(table.exp() * table.clamp(min=LEAST_LOG_PROB)).sum(-1))
    return torch.stack(columns, -1)


def linear_scores(
    states: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    scale: float,
    cap: float | None,
    temperature: float,
    entropy: bool,
) -> Tensor:
    """`scores_of` where the output layer is linear: a function of tensors alone, to be compiled
    once for every chunk."""
    logits = finished(linear(states, weight, bias), scale, cap) / temperature
    return scores_of(logits, targets, entropy=entropy)


def token_logprobs(
    hidden: Tensor,
    targets: Tensor,
    project: Projection,
    *,
    temperature: float = 1.0,
    chunk: int = 4096,
    entropy: bool = False,
    compiled: Callable[..., Tensor] | None = None,
) -> Tensor:
    """log softmax(project(h)/T)[target] for each of M tokens, `chunk` tokens at a time; with
    `entropy` also −Σ_v p_v·log p_v of the distribution that each token was drawn from.

    With gradients the logits of a chunk are computed again in backward, so that one chunk's
    logits are all that is held: chunk × vocabulary × 4 bytes (a few times, in backward). Where
    those of all chunks fit easily they are kept instead; nothing else changes. The gradient of the
    output layer is added up over chunks in float32, whatever its own type: in bfloat16 small
    contributions would vanish beside the sum so far, and always in the same direction.

    Shapes: hidden (M, H), targets (M,) → (M, 1) float32, in nats, or (M, 2) with the entropy.
    `compiled`: `linear_scores`, compiled.
    """
    output = project.output

    def one_chunk(states: Tensor, ids: Tensor) -> Tensor:
        # A subclass, or an adapter around it, computes something else.
        if compiled is not None and type(output) is nn.Linear:
            constants = (project.scale, project.cap, temperature, entropy)
            return compiled(states, output.weight, output.bias, ids, *constants)
        logits = project(states)
        if temperature != 1:  # dividing by 1 would be a pass over all logits, and hold them twice
            logits = logits / temperature
        return scores_of(logits, ids, entropy=entropy)

    if not torch.is_grad_enabled():
        pieces = zip(hidden.split(chunk), targets.split(chunk), strict=True)
        return torch.cat([one_chunk(*piece) for piece in pieces])
    trained = [p for p in output.parameters() if p.requires_grad]
    vocabulary = max((p.shape[0] for p in output.parameters()), default=0)
    tables = 4 if entropy else 1  # for the entropy, p, log p and their product, too
    keep = fits(tables * len(targets) * vocabulary, hidden.device)
    return cast(Tensor, _Chunks.apply(one_chunk, chunk, keep, targets, hidden, *trained))


def fits(logits: int, device: torch.device) -> bool:
    """Whether so many logits may be kept for backward, in float32."""
    if device.type != "cuda":
        return 4 * logits <= OF_CPU
    held_back = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return 4 * logits <= OF_FREE * (torch.cuda.mem_get_info(device)[0] + held_back)


def autocast_of(device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """Enters the precision that holds here once more: backward is outside of it."""
    kind = device.type
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return lambda: torch.autocast(kind, dtype=dtype, enabled=enabled)


@contextmanager
def drawing_again(device: torch.device, of_cpu: Tensor, of_gpu: Tensor | None) -> Iterator[None]:
    """With the random numbers that were drawn after these states: an adapter's dropout."""
    with torch.random.fork_rng(devices=[] if of_gpu is None else [device]):
        torch.set_rng_state(of_cpu)
        if of_gpu is not None:
            torch.cuda.set_rng_state(of_gpu, device)
        yield


def random_states(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Of the generators of the CPU and of the device."""
    on_gpu = device.type == "cuda"
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if on_gpu else None


class _Chunks(torch.autograd.Function):
    """A function of rows, chunk by chunk: each is a graph of its own, kept for backward or made
    again there."""

    @staticmethod
    def forward(
        ctx: Any,
        one_chunk: Callable[[Tensor, Tensor], Tensor],
        chunk: int,
        keep: bool,
        targets: Tensor,
        hidden: Tensor,
        *trained: nn.Parameter,
    ) -> Tensor:
        ctx.one_chunk, ctx.chunk, ctx.trained = one_chunk, chunk, trained
        ctx.cast = autocast_of(hidden.device)
        ctx.save_for_backward(targets, hidden)
        ctx.kept, ctx.drawn = [], []
        pieces = []
        for states, ids in zip(hidden.split(chunk), targets.split(chunk), strict=True):
            if not keep:
                ctx.drawn.append(random_states(hidden.device))
            with torch.enable_grad():
                states = states.detach().requires_grad_(hidden.requires_grad)
                piece = one_chunk(states, ids)
            pieces.append(piece.detach())
            if keep:
                ctx.kept.append((states, piece))
        return torch.cat(pieces)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        targets, hidden = ctx.saved_tensors
        sums: dict[nn.Parameter, Tensor] = {}
        found: list[Tensor] = []
        parts = [each.split(ctx.chunk) for each in (targets, hidden, outputs[0])]
        # Last chunk first, as autograd itself would add them up.
        for ids, states, gradient in reversed(list(zip(*parts, strict=True))):
            if ctx.kept:
                states, piece = ctx.kept.pop()
            else:
                with (
                    torch.enable_grad(),
                    ctx.cast(),
                    drawing_again(hidden.device, *ctx.drawn.pop()),
                ):
                    states = states.detach().requires_grad_(hidden.requires_grad)
                    piece = ctx.one_chunk(states, ids)
            inputs = [*([states] if hidden.requires_grad else []), *ctx.trained]
            gradients = list(torch.autograd.grad(piece, inputs, gradient, allow_unused=True))
            if hidden.requires_grad:
                found.append(gradients.pop(0))
            for parameter, part in zip(ctx.trained, gradients, strict=True):
                if part is None:  # of an adapter that is switched off
                    continue
                if parameter in sums:
                    sums[parameter] += part
                else:
                    sums[parameter] = part.float() if len(parts[0]) > 1 else part
        of_hidden = torch.cat(found[::-1]) if found else None
        of_trained = [sums[p].to(p.dtype) if p in sums else None for p in ctx.trained]
        return (None, None, None, None, of_hidden, *of_trained)
