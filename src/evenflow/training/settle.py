"""What is decided when policy and questions are there, before the first step: what is compiled,
whether activations are computed again, and whether memory is enough."""

from __future__ import annotations

import torch

from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.machine import memory
from evenflow.policy.compiled import compile_policy
from evenflow.policy.policy import Policy
from evenflow.policy.recompute import recompute_activations
from evenflow.policy.shape import shape_of
from evenflow.rollout.embedded.engine import is_static
from evenflow.training.build import Questions
from evenflow.training.memory import SAFE, Held, engine_bytes, estimate, least, recomputes, remedy

GIB = 2**30


def settle(
    config: TrainConfig, policy: Policy, questions: Questions, room: float | None = None
) -> None:
    """Decide, and do it; `room` bytes are what the policy's GPU has for this process, None: there
    is no GPU. UserError that names a field where memory cannot be enough."""
    if room is None:
        room = room_on(policy.device)
    asked = config.train.compile
    if asked is True or (asked == "auto" and policy.device.type == "cuda"):
        compile_policy(policy)
    shape, longest = shape_of(policy.model), longest_prompt(questions)
    safe = None if room is None else SAFE * room
    if not policy.recomputes and recomputes(config, shape, held_by(config, policy), longest, safe):
        recompute_activations(policy)
    require_memory(
        estimate(config, shape, held_by(config, policy), longest), room, adapter=policy.adapted
    )


def require_memory(parts: dict[str, float], room: float | None, *, adapter: bool = False) -> None:
    """UserError where a step cannot fit. On a CPU, whose memory is shared and can be swapped, only
    what is held from the first step on is counted."""
    held = parts["weights"] + parts["gradients and Adam"]
    needed, there = (held, memory()) if room is None else (least(parts), room)
    if needed > there:
        place = "this machine" if room is None else "the GPU"
        raise UserError(
            f"out of memory before the first step: it takes at least {needed / GIB:.1f} GiB, and "
            f"{place} has {there / GIB:.1f}; {remedy(parts, there, adapter=adapter)}"
        )


def room_on(device: torch.device) -> float | None:
    """Bytes of a GPU's memory that this process has or can have; None on a CPU."""
    if device.type != "cuda":
        return None
    return float(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))


def memory_estimate(config: TrainConfig, policy: Policy, questions: Questions) -> dict[str, float]:
    """Bytes by purpose (`memory.estimate`) of a policy that is there."""
    return estimate(
        config,
        shape_of(policy.model),
        held_by(config, policy),
        longest_prompt(questions),
    )


def longest_prompt(questions: Questions) -> int:
    """Tokens."""
    return max(len(prompt.ids) for prompt in questions.train or questions.test)


def held_by(config: TrainConfig, policy: Policy) -> Held:
    """What a policy that is there holds."""
    weights = (*policy.parameters(), *policy.masters.values.values())
    half = 4 if policy.compute_dtype == torch.float32 else 2
    gpu = policy.device.type == "cuda"
    model = half * sum(p.numel() for p in policy.model.parameters())
    total = torch.cuda.get_device_properties(policy.device).total_memory if gpu else None
    return Held(
        weights=float(sum(p.numel() * p.element_size() for p in weights)),
        trained=sum(p.numel() for p in policy.parameters() if p.requires_grad),
        half=half,
        recompute=policy.recomputes,
        compiled=policy.compiler is not None and policy.compiler.working,
        static=is_static(config.rollout.decoding, gpu=gpu),
        engine=engine_bytes(config, model, total),
    )
