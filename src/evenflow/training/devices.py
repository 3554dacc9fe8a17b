"""What devices can do: two ceilings and a memory, by name or measured here."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch

from evenflow.errors import UserError
from evenflow.machine import memory
from evenflow.run.provenance import device_name

GIB = 2**30
OF_PEAK = 0.78
"""Of a GPU's peak in bfloat16, that products of large matrices reach: an H100's 776 of 989."""
OF_BANDWIDTH = 0.9
"""Of its memory's bandwidth, that copying reaches: 3.0 of 3.35 TB/s."""


@dataclass(frozen=True)
class Device:
    """What a device reaches at most."""

    title: str
    gemm: float
    """FLOP/s of products of large matrices, in the type of the forward pass."""
    copy: float
    """Bytes/s read and written in copying."""
    memory: float
    """Bytes that PyTorch can have."""
    half: int = 2
    """Bytes of a number in the forward pass: 2 in bfloat16, 4 in float32."""
    gpu: bool = True
    source: str = "from its data sheet"
    """Where the two rates come from."""


def sheet(title: str, peak: float, bandwidth: float, gib: float, half: int = 2) -> Device:
    """From a data sheet: dense TFLOP/s with float32 sums, TB/s."""
    return Device(title, OF_PEAK * peak * 1e12, OF_BANDWIDTH * bandwidth * 1e12, gib * GIB, half)


DEVICES = {
    "h100": replace(sheet("H100 SXM", 989, 3.35, 79), gemm=776e12, copy=3.0e12, source="measured"),
    "h200": sheet("H200", 989, 4.8, 139),
    "a100-80gb": sheet("A100 80 GB", 312, 2.04, 79),
    "a100-40gb": sheet("A100 40 GB", 312, 1.555, 39),
    "l40s": sheet("L40S", 362, 0.864, 44),
    "rtx4090": sheet("RTX 4090", 165, 1.008, 23.5),
    "t4": sheet("T4, which has no bfloat16: float32", 8.1, 0.32, 14.5, half=4),
}
CPU = Device("a CPU core", 60e9, 10e9, 0, half=4, gpu=False, source="an ordinary one")
"""Of a server; `here` measures."""


def device_of(name: str) -> Device:
    """The device of that name; cpu: an ordinary core with this machine's memory; here: the one that
    `device: auto` would take, its ceilings measured for a second. UserError for no such name."""
    if name == "cpu":
        return replace(CPU, memory=memory())
    if name == "here":
        return measured_here()
    if name not in DEVICES:
        raise UserError(f"--device: there is no {name!r}; there are {', '.join(names())}")
    return DEVICES[name]


def names() -> list[str]:
    """What --device may be."""
    return [*DEVICES, "cpu", "here"]


def measured_here(within: float = 0.4, gpu: bool | None = None) -> Device:
    """This machine's GPU, or its CPU with PyTorch's threads; each rate is measured for `within`
    seconds. `gpu` None: a GPU where there is one."""
    gpu = torch.cuda.is_available() if gpu is None else gpu
    device = torch.device("cuda" if gpu else "cpu")
    half = 2 if gpu and torch.cuda.is_bf16_supported(including_emulation=False) else 4
    side = 8192 if half == 2 else 1024
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16 if half == 2 else None)
    x = torch.zeros((2**30 if gpu else 2**26) // 4, device=device)
    y = torch.empty_like(x)
    return Device(
        title=device_name(device),
        gemm=2 * side**3 / _fastest(lambda: a @ a, gpu, within),
        copy=2 * x.nbytes / _fastest(lambda: y.copy_(x), gpu, within),
        memory=torch.cuda.mem_get_info(device)[1] if gpu else memory(),
        half=half,
        gpu=gpu,
        source="measured now",
    )


def _fastest(call: object, gpu: bool, within: float) -> float:
    """Seconds of the fastest of the calls that fit into that time, at least three."""
    assert callable(call)
    best, began, calls = float("inf"), time.perf_counter(), 0
    while calls < 3 or time.perf_counter() - began < within:
        start = time.perf_counter()
        call()
        if gpu:
            torch.cuda.synchronize()
        best, calls = min(best, time.perf_counter() - start), calls + 1
    return best
