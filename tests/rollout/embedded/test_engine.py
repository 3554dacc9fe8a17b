"""The engine against plain forward passes and against Transformers' own `generate`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tests.rollout.rollouts import Rollout, together
from tests.rollout.rollouts import rollout as sample
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    BartConfig,
    BloomConfig,
    DiffLlamaConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MarianConfig,
    MistralConfig,
    MptConfig,
    PegasusConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    TrOCRConfig,
)

from evenflow.rollout import Sampling
from evenflow.rollout.embedded.cache import FIRST_CAPACITY, RolloutLayer
from evenflow.rollout.embedded.generate import Ended, generate

V, STOP, OTHER_STOP, MAX_TOKENS, G = 24, 1, 2, 12, 4
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZE |= {"intermediate_size": 48, "vocab_size": V, "max_position_embeddings": 64}
IDS = {"bos_token_id": None, "eos_token_id": STOP, "pad_token_id": 0}
GQA = {"num_key_value_heads": 2}
DECODER = {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4}
DECODER |= {"decoder_ffn_dim": 48, "vocab_size": V, "max_position_embeddings": 64}
CONFIGS = {
    "llama": LlamaConfig(**SIZE, **GQA, **IDS),
    "qwen2": Qwen2Config(**SIZE, **GQA, **IDS, tie_word_embeddings=True),
    "gpt2": GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=64, vocab_size=V, **IDS),
    "neox": GPTNeoXConfig(**SIZE, **IDS),
    "gemma": GemmaConfig(**SIZE, num_key_value_heads=1, head_dim=8, **IDS),
    "sliding": MistralConfig(**SIZE, **GQA, **IDS, sliding_window=6),
}
DYNAMIC = {"diffllama": DiffLlamaConfig(**SIZE, **GQA, **IDS)}
"""Of those that the static path refuses: one that cuts its values anew before attention."""
UNPOSITIONED = {
    "bart": lambda: BartConfig(**DECODER, **IDS, is_decoder=True, is_encoder_decoder=False),
    "marian": lambda: MarianConfig(
        **DECODER, **IDS, is_decoder=True, is_encoder_decoder=False, decoder_start_token_id=3
    ),
    "pegasus": lambda: PegasusConfig(**DECODER, **IDS, is_decoder=True, is_encoder_decoder=False),
    "trocr": lambda: TrOCRConfig(**DECODER, **IDS, is_decoder=True),
}
"""They count positions by themselves, padding included, and cannot be told them."""
ALIBI = {
    "bloom": lambda: BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=V, **IDS),
    "mpt": lambda: MptConfig(d_model=32, n_layers=2, n_heads=4, vocab_size=V, **IDS),
}
"""Nor can these, whose attention knows distances alone."""
LENGTHS = (5, 3, 8, 5, 1, 5, 11)


def make(name: str, attention: str | None = "sdpa") -> PreTrainedModel:
    return sharpened((CONFIGS | DYNAMIC)[name], attention)


def sharpened(config: PretrainedConfig, attention: str | None = None) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # random weights are flat: sharpen them, so that mistakes show
                parameter.mul_(5)
    return model.eval()


@pytest.fixture(scope="module")
def llama() -> PreTrainedModel:
    return make("llama")


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, V, (n,), generator=generator).tolist() for n in LENGTHS]


def sampling(**changes) -> Sampling:
    return Sampling(**({"max_tokens": MAX_TOKENS, "stop_ids": (STOP, OTHER_STOP)} | changes))


def answers(rollout: Rollout) -> list[list[int]]:
    return [
        tokens[mask].tolist() for tokens, mask in zip(rollout.tokens, rollout.mask, strict=True)
    ]


@torch.no_grad()
def teacher_forced(model: PreTrainedModel, prompt: list[int], answer: list[int]) -> Tensor:
    """Logits that predict each token of an answer, from a plain forward: (|y|, V)."""
    logits = model(input_ids=torch.tensor([prompt + answer]), use_cache=False).logits[0].float()
    return logits[len(prompt) - 1 : -1]


def assert_logprobs_match(
    model: PreTrainedModel, prompts: list[list[int]], rollout: Rollout, temperature: float = 1.0
) -> None:
    generations = len(rollout.tokens) // len(prompts)
    for row, answer in enumerate(answers(rollout)):
        logits = teacher_forced(model, prompts[row // generations], answer) / temperature
        expected = logits.log_softmax(-1)[range(len(answer)), answer]
        got = rollout.logprobs[row, : len(answer)]
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", [*CONFIGS, *DYNAMIC])
def test_logprobs_are_those_of_a_plain_forward(name, attention, prompts):
    model = make(name, attention)
    rollout = sample(model, prompts, G, sampling(temperature=0.8), seed=0)
    assert_logprobs_match(model, prompts, rollout, temperature=0.8)
    assert len({tuple(answer) for answer in answers(rollout)}) > len(prompts)


@pytest.mark.parametrize("name", [*UNPOSITIONED, *ALIBI])
def test_a_model_that_counts_positions_by_itself_is_shown_no_padding(name, prompts):
    model = sharpened((UNPOSITIONED | ALIBI)[name]())
    seen = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(
            (kwargs["input_ids"].shape, "cache" in kwargs or "past_key_values" in kwargs)
        ),
        with_kwargs=True,
    )
    rollout = sample(model, prompts, G, sampling(), seed=0)
    hook.remove()
    assert_logprobs_match(model, prompts, rollout)
    prefills = [shape for shape, cached in seen if cached and shape != (shape[0], 1)]
    if name in ALIBI:  # padding does no harm there
        assert prefills == [(len(prompts), max(LENGTHS))]
    else:
        assert sorted(length for _, length in prefills) == [3, 5, 8, 11]


@pytest.mark.parametrize("name", ["sliding", "gpt2", "bloom"])
def test_many_prompts_are_read_some_at_a_time(name, prompts, monkeypatch):
    model = sharpened(ALIBI[name]()) if name in ALIBI else make(name)
    whole = sample(model, prompts, G, sampling(), seed=0)
    monkeypatch.setattr("evenflow.rollout.embedded.decoder.PREFILLED", 2 * max(LENGTHS) + 1)
    seen = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    parts = sample(model, prompts, G, sampling(), seed=0)
    hook.remove()
    prefills = [shape for shape in seen if shape[1] == max(LENGTHS)]
    assert [rows for rows, _ in prefills] == [2, 2, 2, 1]
    assert answers(parts) == answers(whole)
    assert_logprobs_match(model, prompts, parts)


def test_prompts_of_one_length_need_no_mask(llama, prompts):
    equal = [prompt for prompt in prompts if len(prompt) == 5]
    seen = []
    hook = llama.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs.get("attention_mask")), with_kwargs=True
    )
    rollout = sample(llama, equal, G, sampling(), seed=0)
    hook.remove()
    assert all(mask is None for mask in seen)
    assert_logprobs_match(llama, equal, rollout)


def test_prompts_whose_answers_have_all_ended_leave_too(llama, prompts, monkeypatch):
    kept = []
    forget = RolloutLayer.keep_prompts
    monkeypatch.setattr(
        RolloutLayer,
        "keep_prompts",
        lambda layer, prompts: (kept.append(len(prompts)), forget(layer, prompts)),
    )
    many_stops = sampling(stop_ids=tuple(range(8)), temperature=1.5)
    rollout = sample(llama, prompts * 4, 2, many_stops, seed=0)
    assert len(set(kept)) > 1, "the prompts were halved more than once"
    assert_logprobs_match(llama, prompts * 4, rollout, temperature=1.5)


@pytest.mark.parametrize("temperature", [0.0, 0.4, 1.0])  # lower: answers part later
@pytest.mark.parametrize("stop_ids", [(), (STOP, OTHER_STOP), tuple(range(8))])
def test_long_answers_outgrow_the_first_buffers(prompts, monkeypatch, stop_ids, temperature):
    model = make("sliding")
    long = Sampling(max_tokens=50, stop_ids=stop_ids, temperature=temperature)
    rollout = sample(model, prompts, G, long, seed=0)
    monkeypatch.setattr("evenflow.rollout.embedded.cache.FIRST_CAPACITY", 3)
    again = sample(model, prompts, G, long, seed=0)
    assert stop_ids or rollout.tokens.shape == (len(prompts) * G, 50)
    assert torch.equal(rollout.tokens, again.tokens)
    assert torch.equal(rollout.mask, again.mask)
    if temperature:
        assert_logprobs_match(model, prompts, again, temperature=temperature)


@pytest.mark.parametrize("max_batch", [3, 512])
def test_answers_longer_than_the_first_buffers_as_they_are(prompts, max_batch):
    model = AutoModelForCausalLM.from_config(
        LlamaConfig(**SIZE | {"max_position_embeddings": 256}, **GQA, **IDS)
    ).eval()
    long = Sampling(max_tokens=200, stop_ids=(STOP,))
    rollout = sample(model, prompts, 6, long, seed=0, max_batch=max_batch)
    lengths = rollout.mask.sum(1)
    assert lengths.min() < FIRST_CAPACITY < lengths.max()
    assert_logprobs_match(model, prompts, rollout)


@pytest.mark.parametrize("name", ["llama", "gpt2", "sliding"])
def test_greedy_equals_transformers(name, prompts):
    model = make(name)
    rollout = sample(model, prompts, 1, sampling(temperature=0), seed=0)
    for row, (prompt, answer) in enumerate(zip(prompts, answers(rollout), strict=True)):
        expected = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=MAX_TOKENS,
            eos_token_id=[STOP, OTHER_STOP],
        )[0, len(prompt) :]
        assert answer == expected.tolist()
        plain = teacher_forced(model, prompt, answer).log_softmax(-1)[range(len(answer)), answer]
        torch.testing.assert_close(rollout.logprobs[row, : len(answer)], plain, atol=1e-4, rtol=0)


def test_a_seed_fixes_the_answers(llama, prompts):
    one, same, other = (sample(llama, prompts, G, sampling(), seed=s) for s in (3, 3, 4))
    assert torch.equal(one.tokens, same.tokens)
    assert torch.equal(one.logprobs, same.logprobs)
    assert answers(one) != answers(other)


@pytest.mark.parametrize("max_batch", [1, 3, 8, 20])
def test_answers_do_not_depend_on_the_batch(llama, prompts, max_batch):
    whole = sample(llama, prompts, G, sampling(), seed=0)
    parts = sample(llama, prompts, G, sampling(), seed=0, max_batch=max_batch)
    assert torch.equal(whole.tokens, parts.tokens)
    torch.testing.assert_close(whole.logprobs, parts.logprobs, atol=1e-5, rtol=0)


def test_rows_follow_the_prompts(llama, prompts):
    """An answer's place and noise are its own: reversed prompts give each its greedy answer."""
    forth = answers(sample(llama, prompts, 2, sampling(temperature=0), seed=0))
    back = answers(sample(llama, prompts[::-1], 2, sampling(temperature=0), seed=0))
    assert forth == back[::-1]


def test_first_tokens_have_the_policys_frequencies(llama, prompts):
    count = 4000
    request = Sampling(max_tokens=1, temperature=1.3)
    rollout = sample(llama, prompts[:1], count, request, seed=5)
    logits = llama(input_ids=torch.tensor(prompts[:1])).logits[0, -1].detach()
    expected = count * (logits.double() / 1.3).softmax(-1)
    observed = rollout.tokens[:, 0].bincount(minlength=V).double()
    often = expected >= 5
    chi2 = ((observed - expected)[often] ** 2 / expected[often]).sum()
    freedom = int(often.sum()) - 1
    # Mean f and variance 2f: four standard deviations, at a fixed seed.
    assert chi2 < freedom + 4 * math.sqrt(2 * freedom)


def test_answers_end_with_the_first_of_several_stop_tokens(llama, prompts):
    rollout = sample(llama, prompts, 16, sampling(temperature=1.5), seed=0)
    ends = set()
    for row, answer in enumerate(answers(rollout)):
        assert not {STOP, OTHER_STOP} & set(answer[:-1])
        stopped = answer[-1] in (STOP, OTHER_STOP)
        assert rollout.finished[row] == stopped
        assert stopped or len(answer) == MAX_TOKENS
        ends.add(answer[-1] if stopped else "cut off")
    assert ends == {STOP, OTHER_STOP, "cut off"}


def test_t_is_the_longest_answer(llama, prompts):
    everything_stops = tuple(range(V))
    rollout = sample(llama, prompts, 2, sampling(stop_ids=everything_stops), seed=0)
    assert rollout.tokens.shape == (2 * len(prompts), 1)
    assert rollout.finished.all()
    assert rollout.mask.all()


def test_a_prompt_is_prefilled_once_and_finished_answers_leave(llama, prompts):
    shapes = []
    hook = llama.get_input_embeddings().register_forward_hook(
        lambda module, args, output: shapes.append(tuple(args[0].shape))
    )
    equal = [prompt for prompt in prompts if len(prompt) == 5]
    rollout = sample(llama, equal, 16, sampling(temperature=1.5), seed=0)
    hook.remove()
    assert shapes[0] == (len(equal), 5)
    lengths = rollout.mask.sum(1)
    # A step feeds the last token of every answer that goes on, and of those that are alike so far
    # only one: different beginnings, and no other.
    going_on = [
        {
            (row // 16, *rollout.tokens[row, :step].tolist())
            for row in range(len(lengths))
            if lengths[row] > step
        }
        for step in range(1, rollout.tokens.shape[1])
    ]
    assert shapes[1:] == [(len(beginnings), 1) for beginnings in going_on]
    assert len(going_on[0]) < (lengths > 1).sum()  # some began alike
    assert max(map(len, going_on)) > len(going_on[-1])


def test_leaves_no_trace(llama, prompts):
    llama.train()
    llama.model.layers[0].eval()
    before = torch.get_rng_state()
    rollout = sample(llama, prompts, G, sampling(), seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert llama.training
    assert llama.model.layers[1].training
    assert not llama.model.layers[0].training
    llama.eval()
    # Whoever takes the groups one by one is outside of inference mode, and of the model's own.
    llama.train()
    with torch.autocast("cpu", enabled=False):
        for _ in generate(llama, prompts, G, sampling(), seed=0):
            assert not torch.is_inference_mode_enabled()
            assert llama.training
    del rollout


def test_half_precision_and_autocast(prompts):
    model = make("llama")
    with torch.autocast("cpu", torch.bfloat16):
        mixed = sample(model, prompts, G, sampling(), seed=0)
    half = sample(make("llama").to(torch.bfloat16), prompts, G, sampling(), seed=0)
    for rollout in (mixed, half):
        assert rollout.logprobs.dtype == torch.float32
        for row, answer in enumerate(answers(rollout)[:8]):
            logits = teacher_forced(model, prompts[row // G], answer)
            expected = logits.log_softmax(-1)[range(len(answer)), answer]
            assert (rollout.logprobs[row, : len(answer)] - expected).abs().mean() < 0.2


def test_lora(prompts):
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(
        make("llama"), peft.LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    )
    rollout = sample(model, prompts, G, sampling(), seed=0)
    assert_logprobs_match(model.eval(), prompts, rollout)
    with model.disable_adapter():
        assert answers(sample(model, prompts, G, sampling(), seed=0)) != answers(rollout)


def test_a_real_checkpoint():
    folder = Path(__file__).parents[4] / "shared/models/stories260k"
    if not folder.exists():
        pytest.skip(f"the checkpoint {folder} is not on this machine")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompts = [[1, 403, 407], [1, 403, 407, 261, 378], [1, 403]]
    request = Sampling(max_tokens=100, stop_ids=(1, 2))
    rollout = sample(model, prompts, G, request, seed=0)
    assert_logprobs_match(model, prompts, rollout)
    # A trained model is not surprised by what it writes: far below log 512 = 6.2 nats a token.
    assert -rollout.logprobs[rollout.mask].mean() < 2.5


@pytest.mark.parametrize("max_batch", [512, 8, 3])
def test_a_group_is_handed_over_once_and_as_soon_as_it_is_whole(
    llama: PreTrainedModel, prompts: list[list[int]], max_batch: int
) -> None:
    """Also where its answers are split over several batches (3 < G)."""
    came: dict[int, tuple[int, Ended]] = {}
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    hook = llama.register_forward_hook(count)
    request = sampling(max_tokens=30)
    for group in generate(llama, prompts, G, request, seed=3, max_batch=max_batch):
        assert group.prompt not in came
        came[group.prompt] = steps, group
    hook.remove()
    assert sorted(came) == list(range(len(prompts)))
    rollout = together([group for _, group in came.values()])
    if max_batch == 512:  # one batch: a group comes with the step of its longest answer
        longest = rollout.mask.sum(1).view(-1, G).amax(1).tolist()
        assert [came[place][0] for place in sorted(came)] == longest
    assert min(step for step, *_ in came.values()) < steps
