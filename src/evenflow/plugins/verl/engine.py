"""verl's FSDP engine with the head of a learned log Zφ."""

# verl has an environment of its own.
# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from verl.utils.fsdp_utils import fsdp2_clip_grad_norm_
from verl.workers.config.optimizer import build_optimizer
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from evenflow.objectives import PartitionHead
from evenflow.plugins import HEAD

WITH_HEAD = "evenflow_with_head"
"""The type of model by which verl finds the engine."""


class ShardedHead(PartitionHead):
    """The head as an FSDP unit: its weights may come in bfloat16, it computes in float32."""

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, S, H), (B, S) → (B,)."""
        if not self.choices.trunk_gradient:
            hidden = hidden.detach()
        weights = {name: weight.float() for name, weight in self.mlp.named_parameters()}
        with torch.autocast(hidden.device.type, enabled=False):
            return functional_call(self.mlp, weights, self.pool(hidden.float(), mask))[:, 0]


@EngineRegistry.register(WITH_HEAD, ["fsdp2"], device=["cuda", "npu", "cpu"])
class EngineWithHead(FSDPEngineWithLMHead):
    """A causal language model with the head as one of its modules: sharded, saved and loaded with
    it, with a learning rate and a gradient norm of its own, and never sent to what samples."""

    def _build_module(self) -> nn.Module:
        choices = self.model_config.evenflow_head
        self.model_config.model_type = "language_model"  # by this name verl builds it
        module = super()._build_module()
        # verl seeds its workers for `full_determinism` alone.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.engine_config.seed)
            head = ShardedHead(module.config.get_text_config().hidden_size, choices)
        module.add_module(HEAD, head)
        # A unit of its own: within the model's it would be gathered by the model's forward alone.
        module._no_split_modules = [*(module._no_split_modules or ()), ShardedHead.__name__]
        self._prompts: tuple[Tensor, Tensor] | None = None
        states: list[Tensor] = []

        def keep(_: nn.Module, __: Any, output: Any) -> None:
            if self._prompts is not None:
                states.append(output[0])

        def add_log_z(_: nn.Module, __: Any, output: Any) -> Any:
            if self._prompts is not None:
                index, mask = self._prompts
                hidden = states.pop().flatten(0, 1)[index]
                output["log_z"] = head(hidden, mask)
            return output

        # Of the module itself, so that it runs inside FSDP's forward.
        module.get_decoder().register_forward_hook(keep)
        module.register_forward_hook(add_log_z)
        return module

    def prepare_model_inputs(self, micro_batch: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """verl's, and where the prompts are among the tokens that it gives the model."""
        inputs, arguments = super().prepare_model_inputs(micro_batch)
        self._prompts = None
        if torch.is_grad_enabled():
            packed = inputs["attention_mask"] is None
            starts = micro_batch["input_ids"].offsets()[:-1]
            if not packed:
                rows, width = inputs["input_ids"].shape
                starts = torch.arange(rows, device=starts.device) * width
            lengths = micro_batch["prompts"].offsets().diff()
            place = torch.arange(int(lengths.max()), device=starts.device)
            mask = place < lengths[:, None]
            self._prompts = torch.where(mask, starts[:, None] + place, 0), mask
        return inputs, arguments

    def prepare_model_outputs(self, output: Any, *rest: Any, **more: Any) -> dict[str, Any]:
        """verl's, with (B,) log Zφ of each answer's question where something is learned."""
        found = super().prepare_model_outputs(output, *rest, **more)
        if self._prompts is not None:
            found["log_z"] = output["log_z"]
        return found

    def _build_optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        policy, head = _parts(module)
        rate = self.model_config.evenflow_head.learning_rate
        of_head = {"params": head} if rate is None else {"params": head, "lr": rate}
        return build_optimizer([{"params": policy}, of_head], self.optimizer_config)

    def train_batch(self, data: Any, loss_function: Any) -> Any:
        """verl's, and what the head's gradient was."""
        outputs = super().train_batch(data, loss_function)
        outputs["metrics"]["grad_norm/head"] = [self._head_norm]
        return outputs

    def optimizer_step(self) -> float:
        """As verl's; the policy's gradient and the head's are each clipped by their own norm. The
        policy's norm."""
        limit = self.optimizer_config.clip_grad
        norms = [_full(fsdp2_clip_grad_norm_(part, limit)) for part in _parts(self.module)]
        if all(map(torch.isfinite, norms)):
            self.optimizer.step()
        else:
            self.optimizer.zero_grad()
        self._head_norm = norms[1].item()
        return norms[0].item()

    def get_per_tensor_param(self, *arguments: Any, **more: Any) -> tuple[Any, Any]:
        """What is sent to the engine that samples: all but the head."""
        found, adapter = super().get_per_tensor_param(*arguments, **more)
        return _without_head(found), adapter

    def get_per_tensor_param_shard(self, **more: Any) -> tuple[Any, Any]:
        """The same, shard by shard."""
        found, adapter = super().get_per_tensor_param_shard(**more)
        return _without_head(found), adapter


def _parts(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The policy's weights and the head's."""
    head = list(module.get_submodule(HEAD).parameters())
    of_head = set(map(id, head))
    return [p for p in module.parameters() if id(p) not in of_head], head


def _without_head(found: Any) -> Iterator[Any]:
    return (entry for entry in found if HEAD not in entry[0])


def _full(norm: Any) -> Tensor:
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm
