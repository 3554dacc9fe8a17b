"""Float32 masters of weights that are held in bfloat16: what the optimiser moves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Masters:
    """The float32 values of parameters that every forward pass takes rounded.

    Without them a step smaller than half of bfloat16's resolution, 1/256 of a weight, would be
    lost. Each parameter's gradient is added to its master's in float32 as soon as a backward pass
    has it, and freed, so that micro-batches are summed in float32 and one rounded gradient is held
    at a time. Parameters without a master are in float32 and stay as they are.
    """

    def __init__(self, pairs: Iterable[tuple[nn.Module, nn.Module]] = ()) -> None:
        """Pairs of a module and its copy in float32, whose memory the masters keep. Rounds what
        the module has in another type; its device is theirs."""
        self.values: dict[nn.Parameter, nn.Parameter] = {}
        for module, exact in pairs:
            truth = dict(exact.named_parameters())
            for name, held in module.named_parameters():
                if held.dtype != torch.float32:
                    self.values[held] = nn.Parameter(truth[name].detach().to(held.device))
                    held.register_post_accumulate_grad_hook(self._take_gradient)
        self.round()

    def _take_gradient(self, held: Tensor) -> None:
        assert isinstance(held, nn.Parameter)
        assert held.grad is not None
        master = self.values[held]
        if master.grad is None:
            master.grad = held.grad.float()
        else:
            master.grad.add_(held.grad)
        held.grad = None

    def of(self, parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
        """What the optimiser moves, and whose gradients count, in place of the parameters."""
        return [self.values.get(parameter, parameter) for parameter in parameters]

    @torch.no_grad()
    def round(self) -> None:
        """Set the parameters to their masters, in place."""
        if self.values:
            copy: Any = torch._foreach_copy_  # pyright: ignore[reportPrivateImportUsage]
            copy(list(self.values), list(self.values.values()))

    @contextmanager
    def exposed(self) -> Iterator[None]:
        """The parameters are their masters, to be saved or loaded; then rounded, where they
        were."""
        rounded = [held.data for held in self.values]
        for held, master in self.values.items():
            held.data = master.data
        try:
            yield
        finally:
            for held, data in zip(self.values, rounded, strict=True):
                held.data = data
            self.round()
