"""The clock, and what was measured so far."""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from gpu_parts.case import Case
from transformers import Qwen2ForCausalLM

from evenflow.run.console import console

GIB = 2**30


def settle(device: torch.device) -> None:
    """Wait until all that was asked for is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()


@dataclass(frozen=True)
class Timed:
    """What a call took."""

    seconds: float
    """The median."""
    gib: float | None
    """Peak of allocated memory; None on a CPU."""


def timed(call: Callable[[], object], device: torch.device, repeats: int, warm: int = 1) -> Timed:
    """Call some times to warm up, then `repeats` times on the clock."""
    for _ in range(warm):
        call()
    settle(device)
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        settle(device)
        seconds.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated() / GIB if cuda else None
    return Timed(statistics.median(seconds), peak)


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    part: str
    name: str
    value: float
    unit: str
    ratios: dict[str, float] = field(default_factory=dict)
    gib: float | None = None
    remark: str = ""


@dataclass
class Bench:
    """The case on a device, and what was measured so far."""

    case: Case
    device: torch.device
    scratch: Path
    rows: list[Row] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def guarded(self, name: str) -> Iterator[None]:
        """Let a part fail without the others; what an earlier one left in memory is freed."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            yield
        except Exception as error:
            reason = (str(error).strip() or "no reason given").splitlines()[0]
            self.failed[name] = f"{type(error).__name__}: {reason[:300]}"
            console.print(f"{name} failed: {self.failed[name]}", markup=False)

    def add(self, part: str, name: str, value: float, unit: str, **more: Any) -> None:
        self.rows.append(Row(part, name, value, unit, **more))
        console.print(f"{part}: {name}: {value:,.4g} {unit}", markup=False)

    def value(self, part: str, name: str) -> float | None:
        """Of an earlier line, if it is there."""
        found = [row.value for row in self.rows if (row.part, row.name) == (part, name)]
        return found[0] if found else None

    def ratios(self, value: float, part: str, *names: str) -> dict[str, float]:
        """The value to those of earlier lines."""
        others = {name: self.value(part, name) for name in names}
        return {name: value / other for name, other in others.items() if other}

    def time(self, call: Callable[[], object], *, warm: int = 1) -> Timed:
        return timed(call, self.device, self.case.repeats, warm)

    def model(self, case: Case) -> Path:
        """The folder of the case's model."""
        folder = self.scratch / f"model-{case.vocabulary}"
        if not folder.exists():
            case.save(folder)
        return folder

    def peer(self) -> Qwen2ForCausalLM:
        """The model as Transformers' own users sample from it."""
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        loaded = Qwen2ForCausalLM.from_pretrained(self.model(self.case), dtype=dtype)
        return loaded.to(self.device).eval()  # pyright: ignore[reportArgumentType]


def ceilings(bench: Bench) -> None:
    """What the device can do at most: products of large matrices, and copying."""
    n, count, device = bench.case.gemm, bench.case.copy // 4, bench.device
    low = torch.bfloat16 if device.type == "cuda" else torch.float32
    a, b = (torch.randn(n, n, device=device, dtype=low) for _ in range(2))
    seconds = timed(lambda: a @ b, device, 20, warm=3).seconds
    bench.add("ceiling", "GEMM", 2 * n**3 / seconds / 1e12, "TFLOP/s", remark=str(low)[6:])
    x = torch.zeros(count, device=device)
    y = torch.empty_like(x)
    seconds = timed(lambda: y.copy_(x), device, 10, warm=2).seconds
    bench.add("ceiling", "copy", 8 * count / seconds / 1e12, "TB/s")
