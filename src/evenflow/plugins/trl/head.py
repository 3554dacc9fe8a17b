"""The head of a learned log Z beside TRL's model, which knows nothing of it.

It is no part of the model: neither vLLM, nor LoRA, nor a saved model meets it, and a wrapper of the
model (DDP, FSDP) need not know it. So it has an optimiser of its own, and averages its gradients
over processes itself.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from transformers import TrainingArguments

from evenflow.objectives import PartitionHead
from evenflow.plugins.choices import Head


def left_aligned(hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Rows that are padded on the left, (B, S, H) and (B, S), padded on the right; padding repeats
    the last state."""
    length, columns = mask.sum(1, keepdim=True), torch.arange(mask.shape[1], device=mask.device)
    places = (columns + mask.shape[1] - length).clamp(max=mask.shape[1] - 1)
    return hidden.gather(1, places[..., None].expand_as(hidden)), (columns < length).to(mask)


class LearnedLogZ:
    """log Zφ of prompts, learned beside the policy."""

    def __init__(
        self, hidden_size: int, choices: Head, args: TrainingArguments, accelerator: Accelerator
    ) -> None:
        self.accelerator, self.choices = accelerator, choices
        self.max_grad_norm = args.max_grad_norm or torch.inf
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(args.seed)  # the same in every process
            self.module = PartitionHead(hidden_size, choices).to(accelerator.device)
        self.rate = choices.learning_rate or args.learning_rate
        matrices = [p for p in self.module.parameters() if p.ndim > 1]
        vectors = [p for p in self.module.parameters() if p.ndim <= 1]
        self.optimizer = AdamW(
            [
                {"params": matrices, "weight_decay": args.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=self.rate,
            betas=(args.adam_beta1, args.adam_beta2),
            eps=args.adam_epsilon,
        )

    def __call__(self, hidden: Tensor, mask: Tensor, *, training: bool) -> Tensor:
        """(B,) of prompts padded on the left: last hidden states (B, S, H), mask (B, S)."""
        self.module.train(training)
        return self.module(*left_aligned(hidden, mask))

    def step(self, factor: float) -> float:
        """Take a step at `factor` times the learning rate; the norm of the gradient. A gradient
        that is not finite is left out."""
        parameters = list(self.module.parameters())
        for parameter in parameters:
            own = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
            parameter.grad = cast(Tensor, self.accelerator.reduce(own, reduction="mean"))
        norm = float(clip_grad_norm_(parameters, self.max_grad_norm))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * factor
        if norm < float("inf"):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"head": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.module.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])


class Caught:
    """The last hidden states of a model's backbone, of a forward pass that they are asked of."""

    def __init__(self, backbone: nn.Module) -> None:
        self.wanted, self.hidden = False, None
        backbone.register_forward_hook(self._catch)

    def _catch(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self.wanted:
            self.hidden = output.last_hidden_state

    def __enter__(self) -> Caught:
        self.wanted = True
        return self

    def __exit__(self, *error: object) -> None:
        self.wanted = False

    def take(self) -> Tensor:
        """(B, S, H), once."""
        hidden, self.hidden = self.hidden, None
        if hidden is None:
            raise RuntimeError("the model's backbone was not called: no hidden states for log Z")
        return hidden
