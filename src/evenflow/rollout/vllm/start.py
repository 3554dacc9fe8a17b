"""Starting vLLM in this process: empty, in the shape of the policy; and looking whether it came to
be the policy."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evenflow.errors import UserError
from evenflow.installation import how_to_install
from evenflow.policy.policy import Policy
from evenflow.policy.stops import vocabulary
from evenflow.rollout.vllm.handover import room_for_adapter, whole_model

CPU_CACHE = 2**30
"""Bytes of keys and values on a CPU, at most: what no answer reaches is never touched."""
MOST_AT_ONCE = 1024
"""Answers that one of its steps goes through."""
PROBE = 8
"""Tokens by which vLLM is held against the policy at the start."""
TOLERANCE = {torch.float32: 0.01, torch.bfloat16: 1.0}
"""Nats by which log-probs of unlikely tokens may differ. With other weights they do by more."""
SWITCHES = {
    # The engine in this very process: weights are handed over where they lie, and Ctrl-C is ours.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}
MANNERS = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
"""Unless they are set: its hundred lines beside ours, and what it would tell its developers."""


def require_vllm() -> None:
    """UserError where vLLM is not installed; it is not imported."""
    found = importlib.util.find_spec("vllm")
    if found is None or found.origin is None:  # a mere folder of that name
        raise UserError(
            f"rollout.engine: vllm needs vLLM; {how_to_install('vllm')} in an environment of its "
            "own, or take rollout.engine=embedded"
        )


def import_vllm(name: str = "vllm") -> Any:
    """vLLM or a module of it, by name: it takes seconds, and is seldom there."""
    for variable, value in MANNERS.items():
        os.environ.setdefault(variable, value)
    return importlib.import_module(name)


def start(policy: Policy, folder: Path, *, max_batch: int, gpu_share: float) -> Any:
    """vLLM's `LLM` for models of the policy's shape, with weights that mean nothing yet.

    `folder`: where the configuration is written, all that it needs. `gpu_share`: of the GPU's
    memory, for its weights, activations and cache together. UserError where it does not start.
    """
    model, device = whole_model(policy), policy.device
    with _undisturbed(device):
        try:
            vllm = import_vllm()
            platform = import_vllm("vllm.platforms").current_platform
        except ImportError as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"rollout.engine: vllm cannot be imported: {reason}") from error
        _require_device(device, on_cpu=platform.is_cpu())
        model.config.save_pretrained(folder)
        options: dict[str, Any] = {
            "model": str(folder),
            "load_format": "dummy",
            "skip_tokenizer_init": True,
            "generation_config": "vllm",  # what is sampled is ours to say
            "dtype": str(policy.compute_dtype).removeprefix("torch."),
            "logprobs_mode": "processed_logprobs",  # of the distribution that was drawn from
            "max_model_len": -1,  # all positions, or what the cache has room for
            "max_num_seqs": min(max_batch, MOST_AT_ONCE),
        }
        if device.type == "cpu":
            options |= {
                "enforce_eager": True,
                "kv_cache_memory_bytes": CPU_CACHE,
                "enable_chunked_prefill": False,  # its CPU build fails at it with seeds
            }
        else:
            options |= {"gpu_memory_utilization": gpu_share, "enable_sleep_mode": True}
        if policy.adapted:
            options |= {"enable_lora": True, "max_lora_rank": room_for_adapter(policy)}
        try:
            return vllm.LLM(**options)
        except Exception as error:
            reason = " ".join(str(error).split())[:600]
            raise UserError(
                f"rollout.engine: vllm {vllm.__version__} does not start with "
                f"{type(model).__name__}: {reason}; lower rollout.gpu_share or rollout.max_batch "
                "where memory is short, and take rollout.engine=embedded for what it cannot run"
            ) from error


def _require_device(device: torch.device, *, on_cpu: bool) -> None:
    if (device.type == "cpu") != on_cpu:
        built = "for CPUs alone; install the one for GPUs" if on_cpu else "for GPUs"
        raise UserError(
            f"rollout.engine: the policy is on {device.type}, and the vllm installed here is built "
            f"{built}, or take rollout.engine=embedded"
        )
    if device.index:
        raise UserError(
            f"rollout.engine: vllm samples on the first GPU that it sees; in place of "
            f"device=cuda:{device.index} set CUDA_VISIBLE_DEVICES={device.index} and device=cuda"
        )


@contextlib.contextmanager
def _undisturbed(device: torch.device) -> Iterator[None]:
    """Around a start that seeds every source of random numbers, and takes the setting of threads
    away: a run must not depend on it."""
    threads, set_threads = torch.get_num_threads(), torch.set_num_threads
    states = random.getstate(), np.random.get_state()
    before = {name: os.environ.get(name) for name in SWITCHES}
    os.environ.update(SWITCHES)
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of what it uses of PyTorch
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_num_threads = set_threads
        torch.set_num_threads(threads)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def require_parity(llm: Any, policy: Policy, adapter: Any) -> None:
    """UserError unless vLLM gives a few tokens the log-probs that the policy gives them: a model
    that it builds in another way, or weights that it knows by other names, would go on unnoticed.
    """
    rows = vocabulary(whole_model(policy))
    ids = [number % rows for number in range(1, PROBE + 1)]
    parameters = import_vllm().SamplingParams(
        max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False
    )
    (output,) = llm.generate(
        [{"prompt_token_ids": ids}], parameters, lora_request=adapter, use_tqdm=False
    )
    pairs = zip(ids[1:], output.prompt_logprobs[1:], strict=True)
    theirs = torch.tensor([found[token].logprob for token, found in pairs])
    plain = Policy(policy.model, compute_dtype=policy.compute_dtype, chunk=policy.chunk)
    plain.train(policy.training)
    ours = plain.score([ids[:1]], [ids[1:]])[0].cpu()
    gap = (ours - theirs).abs().max().item()
    if not gap <= TOLERANCE.get(policy.compute_dtype, 1.0):
        raise UserError(
            f"rollout.engine: vllm gives tokens other log-probs than the policy, by {gap:.2g} "
            f"nats: it reads {type(whole_model(policy)).__name__} in another way, or knows its "
            "weights by other names; take rollout.engine=embedded"
        )
