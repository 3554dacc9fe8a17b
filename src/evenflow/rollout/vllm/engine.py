"""vLLM in this process, beside the policy: it has weights of its own, which each update renews."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from evenflow.data import Prompt
from evenflow.errors import UserError
from evenflow.machine import memory_ran_out
from evenflow.policy.policy import Policy
from evenflow.policy.reach import reach, remark
from evenflow.policy.stops import vocabulary
from evenflow.rollout.engine import FIELD, Limits
from evenflow.rollout.group import Group
from evenflow.rollout.sampling import Sampling
from evenflow.rollout.vllm.answers import Answer, group_of, parameters, seeds_of
from evenflow.rollout.vllm.handover import (
    named_weights,
    save_adapter,
    shapes_of,
    uses_adapter,
    whole_model,
)
from evenflow.rollout.vllm.start import import_vllm, require_parity, require_vllm, start


class VllmEngine:
    """Samples with vLLM's kernels from a copy of the policy's weights, on the policy's device.

    The same weights, prompts and seed give the same answers as far as vLLM does: each answer has a
    seed of its own, but how logits round depends on what is computed beside it, so that an answer
    may part where two tokens are within a rounding of each other.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None,
        max_batch: int,
        gpu_share: float = 0.4,
    ) -> None:
        """Without a tokenizer the answers' texts are empty. ``gpu_share``: `rollout.gpu_share`.
        UserError where vLLM is not installed."""
        require_vllm()
        self.tokenizer, self.max_batch, self.gpu_share = tokenizer, max_batch, gpu_share
        self.folder = tempfile.TemporaryDirectory(prefix="evenflow-vllm-")
        self.numbers = itertools.count(1)
        self.llm: Any = None
        self.policy: Policy | None = None
        self.version = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.weights_of: tuple[Any, ...] = ()  # what vLLM's weights are a copy of
        self.adapter_of: tuple[Any, ...] = ()
        self.adapter: Any = None  # the LoRARequest that goes with each prompt, if any
        self.resting = False

    def update(self, policy: Policy, version: int) -> None:
        """Copy this policy's weights, or with LoRA its adapter alone, unless they are there."""
        self.policy, self.version = policy, version
        if self.llm is None:
            folder = Path(self.folder.name) / "model"
            self.llm = start(policy, folder, max_batch=self.max_batch, gpu_share=self.gpu_share)
            self.shapes = shapes_of(policy)
            self._bring(policy, version)
            require_parity(self.llm, policy, self.adapter)
        else:
            self._bring(policy, version)

    def limits(self, prompts: Sequence[Prompt]) -> Limits:
        """The model's positions, or those that vLLM's cache has room for, and its vocabulary."""
        model, room = whole_model(self._policy), self.llm.model_config.max_model_len
        limit = reach(model, [len(prompt.ids) for prompt in prompts]) if prompts else None
        said = "" if limit is None else remark(model, limit)
        if limit is None or room < limit:
            limit, said = room, " (what vLLM's cache has room for; raise rollout.gpu_share)"
        return Limits(positions=limit, remark=said, vocabulary=vocabulary(model))

    def groups(
        self,
        prompts: Sequence[Prompt],
        count: int,
        sampling: Sampling,
        *,
        seed: int | Sequence[int],
    ) -> Iterator[Group]:
        """See `Engine`. What is left unfinished when nobody asks any further is dropped."""
        policy, version, engine = self._policy, self.version, self.llm.llm_engine
        if self.resting:
            self._bring(policy, version)
        places: dict[str, int] = {}
        seeds = seeds_of(seed, len(prompts))
        try:
            for place, (prompt, own) in enumerate(zip(prompts, seeds, strict=True)):
                name = str(next(self.numbers))
                asked = request_of(parameters(sampling, count, own))
                tokens = {"prompt_token_ids": list(prompt.ids)}
                engine.add_request(name, tokens, asked, lora_request=self.adapter)
                places[name] = place
            while places:
                for output in self._step(len(places)):
                    if output.finished:
                        place = places.pop(output.request_id)
                        answers = [answer_of(each) for each in output.outputs]
                        yield group_of(
                            place, prompts[place], answers, count, self.tokenizer, version
                        )
        finally:
            if places:
                engine.abort_request(list(places))

    def rest(self) -> None:
        """Give the GPU's memory back until the next update or question: weights and cache, too, for
        the policy has the weights. On a CPU nothing is given back."""
        if self.llm is not None and not self.resting and self._policy.device.type == "cuda":
            with telling("resting"):
                self.llm.sleep(level=2)
            self.resting, self.weights_of, self.adapter_of = True, (), ()

    def _bring(self, policy: Policy, version: int) -> None:
        """Wake up, and bring over what vLLM lacks of the policy."""
        if shapes_of(policy) != self.shapes:
            raise UserError(
                f"{FIELD}: vllm was started for a model of another shape; a reference of another "
                "architecture (model.reference) cannot be sampled from beside the policy; take "
                "rollout.engine=embedded"
            )
        with telling("taking new weights"):
            if self.resting:
                self.llm.wake_up(tags=["weights"])
            weights_of = (whole_model(policy),) if policy.adapted else (policy, version)
            fresh = weights_of != self.weights_of
            if fresh:
                self.weights_of = ()
                weights = iter(named_weights(policy).items())
                self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
                self.weights_of = weights_of
            if self.resting:
                self.llm.wake_up(tags=["kv_cache"])
                self.resting = False
            adapter_of = (policy, version) if uses_adapter(policy) else ()
            if adapter_of != self.adapter_of or (adapter_of and fresh):
                self.adapter = self._adapter(policy) if adapter_of else None
                self.adapter_of = adapter_of
                fresh = True
            if fresh:  # keys and values of the weights before
                self.llm.reset_prefix_cache()

    def _adapter(self, policy: Policy) -> Any:
        """A request for the adapter as it is now: each has an id and a folder of its own, for vLLM
        keeps what it has read by its id."""
        number = next(self.numbers)
        if self.adapter is not None:
            self.llm.llm_engine.remove_lora(self.adapter.lora_int_id)
        with tempfile.TemporaryDirectory(dir=self.folder.name) as folder:
            save_adapter(policy, Path(folder))
            request = import_vllm("vllm.lora.request").LoRARequest(str(number), number, folder)
            self.llm.llm_engine.add_lora(request)  # read now: the folder goes
        return request

    def _step(self, left: int) -> list[Any]:
        with telling(f"sampling, with {left} questions left"):
            return self.llm.llm_engine.step()

    @property
    def _policy(self) -> Policy:
        if self.policy is None:
            raise ValueError("the engine has no policy yet: call update(policy, version) first")
        return self.policy


@contextlib.contextmanager
def telling(doing: str) -> Iterator[None]:
    """Around vLLM's own doings: whatever ends them becomes a sentence, but for a shortage of
    memory, which is told by what was done (`run.out_of_memory`)."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if memory_ran_out(error):
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise UserError(
            f"{FIELD}: vllm in this process failed when {doing} ({reason}); the answers under way "
            "are lost, and nothing that was saved: a run goes on with evenflow train --resume RUN"
        ) from error


def request_of(asked: dict[str, Any]) -> Any:
    """Sampling parameters as vLLM's engine takes them: ids alone, and once they are complete."""
    kind = import_vllm("vllm.sampling_params")
    whole = kind.RequestOutputKind.FINAL_ONLY
    return kind.SamplingParams(**asked, detokenize=False, output_kind=whole)


def answer_of(output: Any) -> Answer:
    """One of its completions."""
    ids = list(output.token_ids)
    pairs = zip(ids, output.logprobs, strict=True)
    return Answer(ids, [found[token].logprob for token, found in pairs], output.finish_reason)
