"""A rollout engine for tests alone: Transformers' `generate` in a Ray actor on a CPU."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from hashlib import sha256

import ray
import torch
from transformers import LogitsProcessor
from verl.workers.rollout import base
from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry, TokenOutput

NAME = "transformers_cpu"


def actor_name(rank: int) -> str:
    return f"{NAME}_{rank}"


class Noise(LogitsProcessor):
    """Gumbel noise from a generator a row: the greedy choice is then a sample, and a row's is the
    same in any batch."""

    def __init__(self, seeds: list[int], temperature: float) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.temperature = temperature

    def __call__(self, input_ids, scores):
        width = scores.shape[1]
        waits = [torch.empty(width).exponential_(generator=each) for each in self.generators]
        return scores / self.temperature - torch.stack(waits).log()


@ray.remote
class Server:
    """Answers all requests that wait at a time in one batch. What it samples depends on the
    weights, their step, the prompt and how often that was asked, not on when it was."""

    def __init__(self, path: str, length: int) -> None:
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(1)
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        self.length = length
        self.step: int | None = None
        self.asked: Counter = Counter()
        self.waiting: list = []
        self.task: asyncio.Task | None = None

    async def generate(self, request_id=None, prompt_ids=None, sampling_params=None, **_):
        answer = asyncio.get_running_loop().create_future()
        self.waiting.append((list(prompt_ids), sampling_params, answer))
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self.answer())
        return await answer

    async def answer(self) -> None:
        while self.waiting:
            await asyncio.sleep(0.05)
            batch, self.waiting = self.waiting, []
            prompts, parameters, answers = zip(*batch, strict=True)
            try:
                outputs = self.sample(prompts, parameters[0])
            except Exception as error:  # else the requests would wait for ever
                for answer in answers:
                    answer.set_exception(error)
                raise
            for answer, output in zip(answers, outputs, strict=True):
                answer.set_result(output)

    @torch.inference_mode()
    def sample(self, prompts, parameters) -> list[TokenOutput]:
        width, end = max(map(len, prompts)), self.model.config.eos_token_id
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        temperature = parameters.get("temperature", 1.0)
        noise = [Noise([self.seed(p) for p in prompts], temperature)] if temperature else []
        out = self.model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=self.length,
            do_sample=False,
            logits_processor=noise,
            return_dict_in_generate=True,
            output_logits=True,
            pad_token_id=0,
        )
        logits = torch.stack(out.logits, 1) / (temperature or 1.0)
        tokens = out.sequences[:, width:]
        logprobs = logits.log_softmax(-1).gather(2, tokens[..., None])[..., 0]
        found = []
        for row, own in zip(tokens.tolist(), logprobs.tolist(), strict=True):
            length = row.index(end) + 1 if end in row else len(row)
            found.append(
                TokenOutput(
                    token_ids=row[:length],
                    log_probs=own[:length],
                    stop_reason="completed",
                    num_preempted=0,
                    extra_fields={"global_steps": self.step},
                )
            )
        return found

    def seed(self, prompt: list[int]) -> int:
        """Of the next sample for `prompt`."""
        self.asked[tuple(prompt)] += 1
        of = (self.step, prompt, self.asked[tuple(prompt)])
        return int.from_bytes(sha256(repr(of).encode()).digest()[:8])

    async def set_weights(self, weights, step) -> None:
        missing = self.model.load_state_dict(weights, strict=False)
        if missing.unexpected_keys:
            raise ValueError(f"sent what the model does not have: {missing.unexpected_keys}")
        self.step = step
        self.asked.clear()

    async def nothing(self, *_, **__) -> None:
        pass

    wake_up = sleep = abort_all_requests = resume_generation = nothing
    clear_kv_cache = release_kv_cache = resume_kv_cache = nothing
    start_profile = stop_profile = set_global_steps = nothing


class Adapter(base.BaseRollout):
    """What a worker sends its weights by."""

    def __init__(self, config, model_config, device_mesh, replica_rank=-1, **_) -> None:
        super().__init__(config, model_config, device_mesh)
        self.rank = int(os.environ["RANK"])

    async def resume(self, tags) -> None:
        pass

    async def release(self) -> None:
        pass

    async def update_weights(self, weights, global_steps=None, **_) -> None:
        named = {name: weight.detach().float().cpu().clone() for name, weight in weights}
        await ray.get_actor(actor_name(self.rank)).set_weights.remote(named, global_steps)


class Replica(RolloutReplica):
    """Starts the actor."""

    async def launch_servers(self) -> None:
        options = {"name": actor_name(self.replica_rank), "max_concurrency": 512, "num_cpus": 0.1}
        self._server_handle = Server.options(**options).remote(
            self.model_config.path, self.config.response_length
        )
        self.servers = [self._server_handle]
        self._server_address = f"{NAME}:{self.replica_rank}"


base._ROLLOUT_REGISTRY[(NAME, "async")] = f"{__name__}.Adapter"
RolloutReplicaRegistry.register(NAME, lambda: Replica)
