"""When memory runs out: which field to lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from evenflow.errors import UserError
from evenflow.machine import memory_ran_out

FIELDS = {
    "loading the model": "what is held: train with model.lora, or set log.reference_kl=false",
    "rollout": "rollout.max_batch",
    "log Z": "rollout.max_batch",
    "evaluation": "rollout.max_batch or train.micro_batch_tokens",
    "reference": "train.micro_batch_tokens or model.logprob_chunk",
    "guide": "train.micro_batch_tokens or model.logprob_chunk",
    "critic": "train.micro_batch_tokens",
    "old log-probs": "train.micro_batch_tokens or model.logprob_chunk",
    "sampler gap": "train.micro_batch_tokens or model.logprob_chunk",
    "learning": "train.micro_batch_tokens or model.logprob_chunk, or train with model.lora",
}


@contextmanager
def naming_the_field(phase: str) -> Iterator[None]:
    """Turn a failed allocation in a phase into a UserError that names what to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if memory_ran_out(error):
            raise out_of_memory(phase) from error
        raise


def out_of_memory(phase: str) -> UserError:
    """The sentence for a phase."""
    return UserError(f"out of memory in {phase}: lower {FIELDS.get(phase, 'the batch sizes')}")
