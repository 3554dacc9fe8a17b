"""A platform plug-in of verl's, for tests alone: a plain CPU, with gloo and FSDP2.

VERL_PLATFORM=cpu VERL_USE_EXTERNAL_MODULES=cpu_platform,…
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from types import SimpleNamespace

import torch
import torch.distributed
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry

DOES_NOTHING = [
    "empty_cache",
    "synchronize",
    "set_device",
    "manual_seed",
    "manual_seed_all",
    "reset_peak_memory_stats",
    "ipc_collect",
]
TELLS = {
    "max_memory_allocated": 0,
    "max_memory_reserved": 0,
    "memory_allocated": 0,
    "memory_reserved": 0,
    "current_device": 0,
    "device_count": 1,
    "is_available": True,
    "mem_get_info": (1 << 33, 1 << 34),
    "get_device_name": "cpu",
}


def _constant(value: object) -> object:
    return lambda *_, **__: value


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    """Ray is started with a pretended GPU, on which each worker runs."""

    device_name = "cpu"
    vendor_name = "generic"
    device_module = SimpleNamespace(
        **{name: _constant(None) for name in DOES_NOTHING},
        **{name: _constant(value) for name, value in TELLS.items()},
        get_rng_state=torch.get_rng_state,
        set_rng_state=torch.set_rng_state,
    )

    def is_available(self):
        return True

    def is_platform_available(self, use_smi_check=False):
        return os.environ.get("VERL_PLATFORM") == "cpu"

    def current_device(self):
        return "cpu"

    def device_count(self):
        return 1

    def set_device(self, device_index):
        pass

    def synchronize(self, device_index=None):
        pass

    def manual_seed(self, seed):
        torch.manual_seed(seed)

    def manual_seed_all(self, seed):
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings):
        pass

    def empty_cache(self):
        pass

    def get_device_capability(self, device_index=0):
        return None, None

    def communication_backend_name(self):
        return "gloo"

    def visible_devices_envvar(self):
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg):
        yield

    def profiler_start(self):
        pass

    def profiler_stop(self):
        pass

    def ray_resource_name(self):
        return "GPU"

    def ray_noset_envvars(self):
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self):
        return False

    def cudart(self):
        return None


def _engines() -> None:
    import verl.workers.engine.fsdp.transformer_impl as fsdp
    from verl.workers.engine import EngineRegistry

    # Engines that only look forward ask for pinned memory, and there is no accelerator to pin for.
    fsdp.CPUOffloadPolicy = _constant(None)
    register = EngineRegistry.register("language_model", ["fsdp", "fsdp2"], device="cpu")
    register(fsdp.FSDPEngineWithLMHead)


def _gloo() -> None:
    """verl names a backend for the CPU and one for the device, which here are the same."""
    begin = torch.distributed.init_process_group

    def init_process_group(backend=None, *arguments, **more):
        backend = "gloo" if backend == "cpu:gloo,cpu:gloo" else backend
        return begin(backend, *arguments, **more)

    torch.distributed.init_process_group = init_process_group


_engines()
_gloo()
