"""One decode step, captured once and replayed: on a CUDA device, a step of a small model takes
longer to launch, kernel by kernel, than to compute."""

from __future__ import annotations

from collections.abc import Callable
from weakref import ref

import torch

Step = Callable[[], None]
"""Reads and writes tensors that stay where they are, and takes and returns nothing."""
Capture = Callable[[Step], Step]
"""Makes of a step what does the same to the same tensors. It may run the step meanwhile."""

WARM_UPS = 3
"""Steps before a capture, in which libraries allocate and choose what must not change later."""


def as_it_is(step: Step) -> Step:
    """The step itself: where there are no graphs."""
    return step


class CudaGraphs:
    """Captures steps as CUDA graphs. They share their memory, so they must be replayed one after
    the other, and nothing that a step leaves there may be read after it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
        # One that lives lends its pool; a pool whose graphs have all gone cannot be used again.
        self.last: Callable[[], torch.cuda.CUDAGraph | None] = lambda: None

    def __call__(self, step: Step) -> Step:
        """RuntimeError where the step cannot be captured."""
        # Casts of weights that autocast keeps would be made outside of the graph, and freed before
        # it is replayed: inside, every replay makes them anew, from the weights of that time.
        cached = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)
        torch.clear_autocast_cache()
        try:
            with torch.cuda.device(self.device):
                return self._capture(step)
        finally:
            torch.set_autocast_cache_enabled(cached)

    def _capture(self, step: Step) -> Step:
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            for _ in range(WARM_UPS):
                step()
        current.wait_stream(self.stream)
        graph, last = torch.cuda.CUDAGraph(), self.last()
        pool = None if last is None else last.pool()
        try:
            # Other threads may use the device meanwhile: "thread_local".
            with torch.cuda.graph(
                graph, pool=pool, stream=self.stream, capture_error_mode="thread_local"
            ):
                step()
        except BaseException:
            # Where the end of a capture fails, too, torch leaves its stream the current one.
            torch.cuda.set_stream(current)
            raise
        self.last = ref(graph)
        return graph.replay
