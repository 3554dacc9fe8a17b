"""A captured step on a machine without a GPU: the step as a list of operations, which is replayed.

A CUDA graph is a recording of kernels on fixed addresses: nothing that was decided in Python while
it was recorded is decided again, and a value that Python asks for breaks it off. The recording here
is made of PyTorch's operations and has the same two properties.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.rollout.embedded.static_cases import G, assert_same, sampling, tiny
from tests.rollout.rollouts import rollout as sample
from torch._ops import OpOverload
from torch.fx.experimental.proxy_tensor import make_fx

from evenflow.rollout.embedded.capture import Step
from evenflow.rollout.embedded.static import StaticDecoding

ASKS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
NAMES = ["llama", "qwen3", "gpt2", "neox", "cohere", "gemma2", "gemma3", "sliding"]
"""One model for each kind of attention, mask and position."""


def record(step: Step) -> Step:
    """The step's operations on the decoder's tensors, replayed."""
    decoder: Any = step.__self__  # type: ignore[attr-defined]
    cache = decoder.cache
    held = [value for each in (decoder, cache) for value in vars(each).values()]
    held += [*cache.there.values(), *cache.back.values()]
    held += [buffer for layer in cache.held for buffer in (*layer.prefix, *layer.suffix)]
    tensors = list({id(each): each for each in held if isinstance(each, torch.Tensor)}.values())

    def run(*_: torch.Tensor) -> list[torch.Tensor]:
        step()
        return []

    traced = make_fx(run)(*tensors)  # raises where Python asks for a value
    for node in traced.graph.nodes:
        if isinstance(node.target, OpOverload):
            assert not ASKS & set(node.target.tags), f"{node.target} depends on data"
    addresses = [tensor.data_ptr() for tensor in tensors]

    def replay() -> None:
        assert [tensor.data_ptr() for tensor in tensors] == addresses, "a tensor has moved"
        traced(*tensors)

    return replay


@pytest.mark.filterwarnings("error:.*captured")
@pytest.mark.parametrize("name", NAMES)
def test_a_replayed_step_gives_the_same_answers(
    name: str,
    prompts: list[list[int]],
) -> None:
    model = tiny(name)
    static = StaticDecoding(record)
    for seed in (0, 1):  # the second rollout replays what the first captured
        assert_same(
            sample(model, prompts, G, sampling(max_tokens=16), seed=seed),
            sample(
                model, prompts, G, sampling(max_tokens=16), seed=seed, max_batch=12, static=static
            ),
        )
        with torch.no_grad():
            next(model.parameters()).mul_(1.1)


@pytest.mark.filterwarnings("error:.*captured")
@pytest.mark.parametrize(
    "changes",
    [{"temperature": 0}, {"temperature": 0.7}, {"top_k": 3}, {"top_p": 0.6}],
    ids=str,
)
def test_every_way_to_sample_can_be_captured(
    llama: Any,
    prompts: list[list[int]],
    changes: dict[str, Any],
) -> None:
    request = sampling(max_tokens=16, **changes)
    assert_same(
        sample(llama, prompts, G, request, seed=0),
        sample(llama, prompts, G, request, seed=0, max_batch=12, static=StaticDecoding(record)),
    )


def test_replays_call_nothing_of_the_model(llama: Any, prompts: list[list[int]]) -> None:
    """So that a rollout of shapes seen before costs no launch of a kernel."""
    static = StaticDecoding(record)
    first = sample(llama, prompts, G, sampling(), seed=0, static=static)
    widths = []
    hook = llama.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    again = sample(llama, prompts, G, sampling(), seed=0, static=static)
    hook.remove()
    assert_same(first, again)
    assert widths == [max(map(len, prompts))], "one prefill"


def test_a_step_that_asks_for_a_value_is_found() -> None:
    class Asks:
        cache = type("Cache", (), {"there": {}, "back": {}, "held": []})()

        def __init__(self) -> None:
            self.token = torch.ones(2)

        def step(self) -> None:
            if self.token.sum() > 1:
                self.token.add_(1)

    with pytest.raises(RuntimeError, match="data-dependent"):
        record(Asks().step)
