"""A small stand-in for vLLM: what the engine calls, over a Transformers model of its own whose
weights change only where they are handed over."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from evenflow.rollout import Sampling
from evenflow.rollout.embedded.generate import generate


class SamplingParams(SimpleNamespace):
    pass


class LoRARequest:
    def __init__(self, name: str, number: int, folder: str) -> None:
        self.lora_name, self.lora_int_id, self.lora_path = name, number, folder


class LLM:
    """What was done to it stands in `log`."""

    made: ClassVar[list[LLM]] = []
    longest: ClassVar[int | None] = None
    fails: ClassVar[dict[str, BaseException]] = {}
    deaf: ClassVar[bool] = False

    def __init__(self, model: str, **options: Any) -> None:
        if "start" in self.fails:
            raise self.fails["start"]
        torch.manual_seed(99)  # as vLLM does
        torch.set_num_threads = lambda _: None
        config = AutoConfig.from_pretrained(model)
        self.model = AutoModelForCausalLM.from_config(config).eval()
        self.options, self.llm_engine = options, self
        self.log: list[Any] = []
        self.waiting: dict[str, Any] = {}
        positions = self.longest or config.max_position_embeddings
        self.model_config = SimpleNamespace(max_model_len=positions)
        self.made.append(self)

    def collective_rpc(self, method: str, kwargs: dict[str, Any]) -> None:
        assert method == "reload_weights"
        self.log.append("weights")
        if "weights" in self.fails:
            raise self.fails["weights"]
        if not self.deaf:
            weights: Iterable[Any] = kwargs["weights_iterator"]
            for name, weight in weights:
                # The head is read where it stands under its own name, and nowhere else.
                self.parameter(name).data = weight.clone()

    def parameter(self, name: str) -> Any:
        module, _, own = name.rpartition(".")
        found = getattr(self.model.get_submodule(module), own)
        if name == "lm_head.weight" and found is self.model.get_input_embeddings().weight:
            self.model.lm_head.weight = found = torch.nn.Parameter(found.detach().clone())
        return found

    def reset_prefix_cache(self) -> None:
        self.log.append("prefix cache")

    def sleep(self, level: int) -> None:
        self.log.append(f"sleep {level}")
        for parameter in self.model.parameters():
            parameter.data.fill_(0.5)

    def wake_up(self, tags: list[str]) -> None:
        self.log.append(f"wake {tags[0]}")

    def add_lora(self, request: LoRARequest) -> None:
        files = sorted(path.name for path in Path(request.lora_path).iterdir())
        self.log.append((request.lora_int_id, files))

    def remove_lora(self, number: int) -> None:
        self.log.append(f"remove {number}")

    def generate(self, prompts: list[Any], parameters: Any, **_: Any) -> list[Any]:
        ids = torch.tensor([prompts[0]["prompt_token_ids"]])
        with torch.no_grad():
            logprobs = self.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        drawn = logprobs.gather(1, ids[0, 1:, None])[:, 0].tolist()
        found = [{t: Logprob(p)} for t, p in zip(ids[0, 1:].tolist(), drawn, strict=True)]
        return [SimpleNamespace(prompt_logprobs=[None, *found])]

    def add_request(self, name: str, prompt: Any, parameters: Any, lora_request: Any) -> None:
        assert not (parameters.temperature == 0 and parameters.n > 1), "as vLLM refuses"
        self.waiting[name] = (prompt["prompt_token_ids"], parameters, lora_request)

    def abort_request(self, names: list[str]) -> None:
        self.log.append(f"abort {len(names)}")
        for name in names:
            del self.waiting[name]

    def step(self) -> list[Any]:
        """The newest question is answered first."""
        if "step" in self.fails:
            raise self.fails["step"]
        name, (ids, asked, adapter) = self.waiting.popitem()
        sampling = Sampling(
            asked.max_tokens,
            asked.temperature,
            asked.top_p,
            asked.top_k,
            tuple(asked.stop_token_ids),
        )
        (ended,) = generate(self.model, [ids], asked.n, sampling, seed=asked.seed, max_batch=64)
        outputs = [
            SimpleNamespace(
                token_ids=tuple(row),
                logprobs=[{t: Logprob(p)} for t, p in zip(row, logprobs, strict=True)],
                finish_reason="stop" if whole else "length",
            )
            for row, logprobs, whole in zip(
                ended.answers, ended.logprobs, ended.finished, strict=True
            )
        ]
        partial = SimpleNamespace(request_id=name, finished=False, outputs=[])
        whole = SimpleNamespace(request_id=name, finished=True, outputs=outputs, adapter=adapter)
        return [partial, whole]


class Logprob:
    def __init__(self, logprob: float) -> None:
        self.logprob = logprob


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    """vLLM is this one."""

    def module(name: str, **members: Any) -> None:
        made = ModuleType(name)
        made.__spec__ = ModuleSpec(name, None, origin="fake")
        vars(made).update(members)
        monkeypatch.setitem(sys.modules, name, made)

    module("vllm", LLM=LLM, SamplingParams=SamplingParams, __version__="0.0")
    module("vllm.platforms", current_platform=SimpleNamespace(is_cpu=lambda: True))
    kinds = SimpleNamespace(FINAL_ONLY=2)
    module("vllm.sampling_params", SamplingParams=SamplingParams, RequestOutputKind=kinds)
    module("vllm.lora", __path__=[])
    module("vllm.lora.request", LoRARequest=LoRARequest)
    monkeypatch.setattr(LLM, "made", [])
    monkeypatch.setattr(LLM, "fails", {})
    monkeypatch.setattr(LLM, "deaf", False)
    monkeypatch.setattr(LLM, "longest", None)
    return LLM
