"""Save a model by verl's checkpoint manager, as shards of two ranks, with a head of log Z beside
it: ``python verl_shards.py MODEL FOLDER``."""

from __future__ import annotations

import os
import socket
import sys

import torch
import torch.distributed as dist
from omegaconf import OmegaConf
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM, AutoTokenizer
from verl.utils.checkpoint.fsdp_checkpoint_manager import FSDPCheckpointManager

RANKS = 2


def save(rank: int, model_folder: str, folder: str, port: int) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(RANKS)}
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=RANKS)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    torch.manual_seed(0)
    model.evenflow_head = torch.nn.Linear(4, 2)
    mesh = init_device_mesh("cpu", (RANKS,), mesh_dim_names=("fsdp",))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    FSDPCheckpointManager(
        model=model,
        optimizer=None,
        lr_scheduler=None,
        processing_class=AutoTokenizer.from_pretrained(model_folder),
        checkpoint_config=OmegaConf.create({"save_contents": ["model"], "load_contents": []}),
    ).save_checkpoint(folder, global_step=5)
    dist.destroy_process_group()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


if __name__ == "__main__":
    torch.multiprocessing.spawn(save, (*sys.argv[1:3], free_port()), nprocs=RANKS)
