"""Decoding with static shapes against the dynamic path: the same answers, whatever is refilled."""

from __future__ import annotations

import random
import warnings
from typing import Any

import pytest
import torch
from tests.policy.tiny_models import CONFIGS as FAMILIES
from tests.policy.tiny_models import make as make_family
from tests.rollout.embedded.test_engine import CONFIGS, GQA, IDS, LENGTHS, SIZE, V, make
from tests.rollout.rollouts import Rollout, together
from tests.rollout.rollouts import rollout as sample
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GptOssConfig,
    LlamaConfig,
    PhiConfig,
    PreTrainedModel,
)

from evenflow.rollout import Sampling
from evenflow.rollout.embedded import refill
from evenflow.rollout.embedded.generate import generate
from evenflow.rollout.embedded.static import StaticDecoding

MAX_TOKENS, G = 30, 4
BLOOM = {"hidden_size": 32, "n_layer": 2, "n_head": 4, **IDS}
FURTHER = {
    "phi": lambda: PhiConfig(**SIZE, **IDS),
    # Sinks: logits that take part in the softmax and attend to nothing; every other layer slides.
    "gpt-oss": lambda: GptOssConfig(
        **SIZE,
        **GQA,
        **IDS,
        head_dim=8,
        sliding_window=6,
        num_local_experts=3,
        num_experts_per_tok=2,
    ),
}


def tiny(name: str) -> Any:
    if name in FURTHER:
        torch.manual_seed(0)
        return sharpened(AutoModelForCausalLM.from_config(FURTHER[name]()))
    return make_family(name) if name in FAMILIES else make(name)


def sharpened(model: Any) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    return model.eval()


@pytest.fixture(autouse=True)
def _nothing_is_said_and_buckets_are_small(monkeypatch: pytest.MonkeyPatch):
    """So that buffers grow, and a path that was given up unasked fails the test."""
    monkeypatch.setattr(refill, "LEAST_POSITIONS", 4)
    monkeypatch.setattr(refill, "LEAST_SLOTS", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=FutureWarning)  # of Transformers
        yield


@pytest.fixture(scope="module")
def llama() -> PreTrainedModel:
    return make("llama")


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    rng = random.Random(1)
    return [[rng.randrange(3, V) for _ in range(n)] for n in LENGTHS]


def sampling(**changes: Any) -> Sampling:
    return Sampling(**({"max_tokens": MAX_TOKENS, "stop_ids": (1, 2)} | changes))


def assert_same(one: Rollout, other: Rollout) -> None:
    assert torch.equal(one.tokens, other.tokens)
    assert torch.equal(one.mask, other.mask)
    assert torch.equal(one.finished, other.finished)
    torch.testing.assert_close(one.logprobs, other.logprobs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", sorted({**CONFIGS, **FAMILIES, **FURTHER}))
def test_both_paths_give_the_same_answers(name: str, prompts: list[list[int]]) -> None:
    model = tiny(name)
    before = model.config._attn_implementation
    dynamic = sample(model, prompts, G, sampling(), seed=0)
    assert len(set(dynamic.mask.sum(1).tolist())) > 4, "answers of many lengths"
    for max_batch in (5, 512):
        static = StaticDecoding()
        assert_same(
            dynamic,
            sample(model, prompts, G, sampling(), seed=0, max_batch=max_batch, static=static),
        )
        assert static.refused is None
        assert model.config._attn_implementation == before


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0},
        {"temperature": 0.7},
        {"top_k": 3},
        {"top_p": 0.6},
        {"top_k": 5, "top_p": 0.8, "temperature": 1.5},
        {"stop_ids": (1,)},
        {"stop_ids": ()},
        {"stop_ids": tuple(range(V))},
        {"max_tokens": 1},
        {"max_tokens": 2},
    ],
    ids=str,
)
def test_every_way_to_sample(
    llama: PreTrainedModel, prompts: list[list[int]], changes: dict[str, Any]
) -> None:
    dynamic, static = (
        sample(llama, prompts, G, sampling(**changes), seed=0, max_batch=6, static=static)
        for static in (None, StaticDecoding())
    )
    assert_same(dynamic, static)


@pytest.mark.parametrize("check_every", [1, 3, 50])
@pytest.mark.parametrize("max_batch", [1, 3, 8, 20])
def test_slots_buckets_and_late_looks_change_no_answer(
    llama: PreTrainedModel,
    prompts: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
    max_batch: int,
    check_every: int,
) -> None:
    """Also groups larger than all slots (max_batch < G), and one prompt prefilled after another."""
    monkeypatch.setattr(refill, "CHECK_EVERY", check_every)
    monkeypatch.setattr(refill, "LEAST_POSITIONS", 1 + check_every)
    monkeypatch.setattr(refill, "PREFILLED", 8)
    dynamic = sample(llama, prompts, G, sampling(), seed=3)
    static = StaticDecoding()
    assert_same(
        dynamic, sample(llama, prompts, G, sampling(), seed=3, max_batch=max_batch, static=static)
    )


def test_a_seed_for_each_prompt(llama: PreTrainedModel, prompts: list[list[int]]) -> None:
    seeds = list(range(len(prompts)))
    dynamic = sample(llama, prompts, G, sampling(), seed=seeds)
    static = StaticDecoding()
    assert_same(
        dynamic, sample(llama, prompts, G, sampling(), seed=seeds, max_batch=8, static=static)
    )
    alone = sample(llama, prompts[2:3], G, sampling(), seed=seeds[2:3], static=static)
    assert torch.equal(alone.tokens, dynamic.tokens[2 * G : 3 * G, : alone.tokens.shape[1]])


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


def test_ended_slots_are_refilled(llama: PreTrainedModel, prompts: list[list[int]]) -> None:
    """Forward passes: far fewer than where each batch waits for its longest answer."""
    passes = 0

    def count(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        nonlocal passes
        passes += kwargs["input_ids"].shape[1] == 1

    hook = llama.register_forward_pre_hook(count, with_kwargs=True)
    many, request = prompts * 8, sampling(max_tokens=50)
    static = sample(llama, many, G, request, seed=0, max_batch=16, static=StaticDecoding())
    refilled, passes = passes, 0
    dynamic = sample(llama, many, G, request, seed=0, max_batch=16)
    hook.remove()
    assert_same(dynamic, static)
    assert refilled < 0.65 * passes
    tokens = int(dynamic.mask.sum())
    assert tokens / (16 * refilled) > 0.5, "more than half of what all slots could do"


def test_half_precision_and_autocast(prompts: list[list[int]]) -> None:
    model = make("llama")
    exact = sample(model, prompts, G, sampling(), seed=0)
    static = StaticDecoding()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = sample(model, prompts, G, sampling(), seed=0, static=static)
    assert static._kept is not None
    assert static._kept.cache.held[0].suffix[0].dtype == torch.bfloat16
    half = sample(make("llama").bfloat16(), prompts, G, sampling(), seed=0, static=static)
    for rollout in (mixed, half):
        assert (rollout.logprobs[:, 0] - exact.logprobs[:, 0]).abs().mean() < 0.2
        assert rollout.logprobs.dtype == torch.float32


def test_lora(prompts: list[list[int]]) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model: Any = peft.get_peft_model(make("llama"), config).eval()
    static = StaticDecoding(lambda step: step)

    def assert_both_same() -> None:
        assert_same(
            sample(model, prompts, G, sampling(), seed=0),
            sample(model, prompts, G, sampling(), seed=0, static=static),
        )

    assert_both_same()
    adapted = static._kept
    with model.disable_adapter():
        assert_both_same()
        assert static._kept is not adapted, "what was captured has the adapter in it"
    model.merge_adapter()
    assert_both_same()


def rotating(kind: str) -> PreTrainedModel:
    rope = {"rope_type": kind, "rope_theta": 1e4, "factor": 2.0}
    if kind == "longrope":
        rope |= {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
        rope |= {"original_max_position_embeddings": 48}
    return AutoModelForCausalLM.from_config(LlamaConfig(**SIZE, **IDS, rope_parameters=rope)).eval()


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: AutoModelForCausalLM.from_config(BloomConfig(vocab_size=V, **BLOOM)), "its own"),
        (lambda: rotating("dynamic"), "longest sequence"),
        (lambda: rotating("longrope"), "longest sequence"),
    ],
    ids=["alibi", "dynamic", "longrope"],
)
def test_a_model_that_cannot_takes_the_other_path_and_says_so_once(
    build: Any, reason: str, prompts: list[list[int]]
) -> None:
    torch.manual_seed(0)
    model, static = sharpened(build()), StaticDecoding()
    reason = reason.replace("its own", "an attention of its own")
    with pytest.warns(UserWarning, match=reason):
        rollout = sample(model, prompts, G, sampling(), seed=0, static=static)
    again = sample(model, prompts, G, sampling(), seed=0, static=static)  # a warning would raise
    assert_same(sample(model, prompts, G, sampling(), seed=0), rollout)
    assert_same(rollout, again)


def test_a_model_that_computes_something_else_is_found_out(
    prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here one that multiplies its keys once more, after they were cached."""
    model = make("llama")
    attention = type(model.model.layers[0].self_attn)
    plain = attention.forward

    def odd(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.config._attn_implementation != "sdpa":
            kwargs["position_embeddings"] = tuple(x * 0.5 for x in kwargs["position_embeddings"])
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(attention, "forward", odd)
    with pytest.warns(UserWarning, match="LlamaForCausalLM computes other log-probs"):
        rollout = sample(model, prompts, G, sampling(), seed=0, static=StaticDecoding())
    assert_same(sample(model, prompts, G, sampling(), seed=0), rollout)


def test_what_an_attention_is_asked_and_does_not_know_is_named(
    prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make("llama")
    attention = type(model.model.layers[0].self_attn)
    plain = attention.forward

    def biased(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.config._attn_implementation != "sdpa":
            kwargs["position_bias"] = 0.0
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(attention, "forward", biased)
    with pytest.warns(UserWarning, match="gives its attention position_bias"):
        sample(model, prompts, G, sampling(), seed=0, static=StaticDecoding())


def test_a_step_that_cannot_be_captured_runs_as_it_is(
    llama: PreTrainedModel, prompts: list[list[int]]
) -> None:
    def fails(step: Any) -> Any:
        step()  # a warm-up, which must not count
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")

    static = StaticDecoding(fails)
    with pytest.warns(UserWarning, match="could not be captured.*stream is capturing$") as said:
        rollout = sample(llama, prompts, G, sampling(), seed=0, static=static)
    assert len(said) == 1
    assert_same(sample(llama, prompts, G, sampling(), seed=0), rollout)
    sample(llama, prompts, G, sampling(), seed=0, static=static)


def test_memory_that_runs_out_in_a_capture_is_said_as_that(
    llama: PreTrainedModel, prompts: list[list[int]]
) -> None:
    def fails(step: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    static = StaticDecoding(fails)
    with pytest.raises(torch.OutOfMemoryError):
        sample(llama, prompts, G, sampling(), seed=0, static=static)
    assert static._kept is None, "the buffers are given back"


def test_no_nan_of_an_answer_reaches_another(prompts: list[list[int]]) -> None:
    model, static = make("llama"), StaticDecoding()
    good = sample(model, prompts, G, sampling(), seed=0, static=static)
    assert static._kept is not None
    with torch.inference_mode():
        for layer in static._kept.cache.held:
            for buffer in layer.suffix:
                buffer.fill_(torch.nan)  # as answers of weights that had diverged would leave them
    assert_same(good, sample(model, prompts, G, sampling(), seed=0, static=static))
