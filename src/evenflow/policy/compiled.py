"""Layers and log-probs compiled for learning and scoring, where that works; else as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from evenflow.machine import memory_ran_out
from evenflow.policy.logprobs import linear_scores
from evenflow.policy.policy import Policy
from evenflow.policy.recompute import switch_checkpointing, trained_trunks
from evenflow.policy.states import PromptCache, trunk_of
from evenflow.policy.tokens import collate
from evenflow.run.console import console

BACKEND = "inductor"
# Rounded where an operation of its own would round: sampler and trainer are to agree.
OPTIONS = {"emulate_precision_casts": True}
VARIANTS = 64
"""Of one function, for gradients or none, masks or none, kinds of layers."""
COMPILERS = ("torch._dynamo", "torch._inductor", "torch._functorch", "triton")


class Compiler:
    """Compiles functions of a policy at their first call. The first failure ends it for all of
    them, and is said: then they run as they are."""

    def __init__(self) -> None:
        self.working = True
        self.recompute = False
        """Whether backward computes a layer's activations again."""
        self.layers = 0
        self._reading = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """In here layers run compiled: in learning and scoring, but not where a sampler calls."""
        before, self._reading = self._reading, True
        try:
            yield
        finally:
            self._reading = before

    def compile(
        self, plain: Callable[..., Any], adapt: Callable[[Any], Any] | None = None
    ) -> Callable[..., Any]:
        """The function, compiled when it is called, with sizes that may change. `adapt`: what the
        compiled one is given in place of each argument."""
        options = OPTIONS if BACKEND == "inductor" else None
        fast = cast(Any, torch.compile)(
            plain, dynamic=True, backend=BACKEND, options=options, recompile_limit=VARIANTS
        )

        def call(*args: Any, **kwargs: Any) -> Any:
            if not self.working:
                return plain(*args, **kwargs)
            try:
                if adapt is None:
                    return fast(*args, **kwargs)
                adapted = {name: adapt(value) for name, value in kwargs.items()}
                return fast(*map(adapt, args), **adapted)
            except Exception as error:
                if not of_compiler(error):
                    raise
                self.give_up(error)
                return plain(*args, **kwargs)

        return call

    def compile_layers(self, trunk: nn.Module) -> None:
        """Compile each decoder layer. Names of weights stay as they are."""
        for index, layer in enumerate(decoder_layers(trunk)):
            layer.forward = self._switched(layer.forward, index)
            self.layers += 1

    def _switched(self, plain: Callable[..., Any], index: int) -> Callable[..., Any]:
        def of_layer(value: Any) -> Any:
            # A cache of all layers is asked by the layer's number, which would make every layer
            # another function to compile.
            return value.layer(index) if isinstance(value, PromptCache) else value

        fast = self.compile(plain, of_layer)

        def forward(*args: Any, **kwargs: Any) -> Any:
            if not self._reading:
                return plain(*args, **kwargs)
            if self.recompute and torch.is_grad_enabled():
                return checkpoint(fast, *args, use_reentrant=False, **kwargs)
            return fast(*args, **kwargs)

        return forward

    def give_up(self, error: Exception) -> None:
        """Compile nothing any more, and say why."""
        if self.working:
            reason = " ".join(str(error).split())[:200]
            console.print(
                f"train.compile: does not work here ({type(error).__name__}: {reason}); "
                "layers and log-probs run as they are",
                markup=False,
            )
        self.working = False


def of_compiler(error: BaseException | None) -> bool:
    """Whether an error tells of compiling, rather than of what was compiled."""
    while error is not None:
        if type(error).__module__.startswith(COMPILERS):
            return True
        error = error.__cause__
    return False


def decoder_layers(trunk: nn.Module) -> list[nn.Module]:
    """The layers of a model's trunk; none where it has no list of them."""
    count = cast(Any, trunk).config.get_text_config().num_hidden_layers
    text = getattr(trunk, "language_model", trunk)  # what reads images may have as many layers
    lists = [each for each in text.modules() if isinstance(each, nn.ModuleList)]
    return next(([*each] for each in lists if len(each) == count), [])


def compile_policy(policy: Policy) -> None:
    """Compile the layers and log-probs of a policy, its reference and its critic, and try it out;
    what does not work is said and left."""
    compiler = Compiler()
    trunks = trained_trunks(policy)
    if policy.reference is not None:
        trunks.append(trunk_of(policy.reference))
    for trunk in trunks:
        compiler.compile_layers(trunk)
    policy.compiler, policy.linear_scores = compiler, compiler.compile(linear_scores)
    if policy.recomputes and compiler.layers:  # around what is compiled, not within
        for trunk in trained_trunks(policy):
            switch_checkpointing(trunk, False)
        compiler.recompute = True
    try:
        _try_out(policy)
    except Exception as error:
        if memory_ran_out(error):
            raise
        compiler.give_up(error)
    finally:
        for parameter in policy.masters.of(policy.parameters()):
            parameter.grad = None


def _try_out(policy: Policy) -> None:
    """Forward and backward, with prompts that are read once and with others."""
    rows = cast(Any, policy.model).get_input_embeddings().weight.shape[0]
    prompts = [[i % rows for i in range(1, 13)]] * 3 + [[1 % rows, 2 % rows]]
    answers = [[3 % rows], [4 % rows] * 2, [5 % rows] * 3, [6 % rows] * 2]
    policy.train()
    for batch in (slice(0, 3), slice(2, 4)):
        tokens = collate(prompts[batch], answers[batch], device=policy.device)
        policy(tokens).logprobs.sum().backward()
