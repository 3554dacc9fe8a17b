"""What stays from one rollout to the next, and what must not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.rollout.embedded.static_cases import G, assert_same, sampling
from tests.rollout.embedded.test_engine import make
from tests.rollout.rollouts import rollout as sample
from tests.rollout.rollouts import together
from transformers import PreTrainedModel

from evenflow.rollout.embedded.generate import generate
from evenflow.rollout.embedded.static import StaticDecoding

pytestmark = pytest.mark.usefixtures("small_buckets")


def test_what_is_kept_serves_the_next_rollout_with_new_weights(
    prompts: list[list[int]],
) -> None:
    model, captured = make("llama"), []
    static = StaticDecoding(lambda step: captured.append(step) or step)
    for seed in range(3):
        assert_same(
            sample(model, prompts, G, sampling(), seed=seed),
            sample(model, prompts, G, sampling(), seed=seed, static=static),
        )
        if seed == 0:
            first = static._kept
        assert static._kept is first, "the weights are where they were"
        with torch.no_grad():
            model.lm_head.weight.mul_(1.1)
    before = len(captured)
    # Others are asked for: buffers that are too small go, and so do those of weights elsewhere.
    longer = [prompt * 3 for prompt in prompts]
    sample(model, longer, G, sampling(), seed=0, static=static)
    second = static._kept
    assert second is not first
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone() * 2)
    assert_same(
        sample(model, prompts, G, sampling(), seed=1),
        sample(model, prompts, G, sampling(), seed=1, static=static),
    )
    assert static._kept is not second
    assert len(captured) > before


def test_two_rollouts_at_once_do_not_share_buffers(
    llama: PreTrainedModel, prompts: list[list[int]]
) -> None:
    static = StaticDecoding()
    one = generate(llama, prompts, G, sampling(), seed=0, max_batch=4, static=static)
    begun = [next(one)]
    other = sample(llama, prompts, G, sampling(), seed=1, static=static)
    assert_same(sample(llama, prompts, G, sampling(), seed=1), other)
    assert_same(sample(llama, prompts, G, sampling(), seed=0), together([*begun, *one]))


@pytest.mark.parametrize("how", ["closed", "interrupted"])
def test_a_rollout_that_is_stopped_loses_nothing(
    llama: PreTrainedModel, prompts: list[list[int]], how: str
) -> None:
    """Ctrl-C comes between two looks, or in the middle of a step that runs uncaptured."""
    static = StaticDecoding()
    groups = generate(llama, prompts, G, sampling(), seed=0, max_batch=4, static=static)
    next(groups)
    if how == "closed":
        groups.close()
    else:

        def interrupt(*_: Any) -> None:
            raise KeyboardInterrupt

        hook = llama.model.layers[1].register_forward_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            list(groups)
        hook.remove()
    assert llama.config._attn_implementation == "sdpa"
    assert_same(
        sample(llama, prompts, G, sampling(), seed=0),
        sample(llama, prompts, G, sampling(), seed=0, static=static),
    )


def test_no_nan_of_an_answer_reaches_another(prompts: list[list[int]]) -> None:
    model, static = make("llama"), StaticDecoding()
    good = sample(model, prompts, G, sampling(), seed=0, static=static)
    assert static._kept is not None
    with torch.inference_mode():
        for layer in static._kept.cache.held:
            for buffer in layer.suffix:
                buffer.fill_(torch.nan)  # as answers of weights that had diverged would leave them
    assert_same(good, sample(model, prompts, G, sampling(), seed=0, static=static))
