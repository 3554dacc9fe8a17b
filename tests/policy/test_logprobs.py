"""Chunked log-probs against the plain computation, their invariances, and what they hold."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from tiny_models import CONFIGS, GQA, SIZE, V, gradients, make, make_rows
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
)

from evenflow.errors import UserError
from evenflow.policy import logprobs as logprobs_module
from evenflow.policy.logprobs import Projection, token_logprobs
from evenflow.policy.policy import Policy, check_projection
from evenflow.policy.states import inputs_of
from evenflow.policy.tokens import collate, micro_batches

PROMPTS, ANSWERS = make_rows()
M = sum(map(len, ANSWERS))
WIDTH = max(map(len, ANSWERS))


def plain(model, prompts, answers, temperature: float = 1.0) -> Tensor:
    """One row at a time, without padding: (N, T)."""
    result = torch.zeros(len(prompts), max(map(len, answers)))
    for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids = torch.tensor([[*prompt, *answer]])
        logprobs = (model(input_ids=ids).logits[0].float() / temperature).log_softmax(-1)
        picked = logprobs[:-1].gather(-1, ids[0, 1:, None])[len(prompt) - 1 :, 0]
        result = result.index_put((torch.tensor(i), torch.arange(len(answer))), picked)
    return result


def weighted(logprobs: Tensor) -> Tensor:
    """A scalar in which every token counts, and each differently."""
    return (logprobs * torch.linspace(-1, 2, logprobs.numel()).view_as(logprobs)).sum() / M


@pytest.mark.parametrize("name", CONFIGS)
def test_values_and_gradients_equal_the_plain_computation(name: str) -> None:
    model = make(name)
    check_projection(model)
    expected = plain(model, PROMPTS, ANSWERS, temperature=0.7)
    weighted(expected).backward()
    wanted = gradients(model)
    assert set(wanted) == {name for name, _ in model.named_parameters()}

    for chunk in (1, 5, M, 1000):
        model.zero_grad()
        policy = Policy(model, temperature=0.7, chunk=chunk).eval()
        logprobs, log_z = policy(collate(PROMPTS, ANSWERS))[:2]
        assert log_z is None
        torch.testing.assert_close(logprobs, expected, atol=1e-5, rtol=0)
        weighted(logprobs).backward()
        torch.testing.assert_close(gradients(model), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_log_probs_are_of_the_tempered_policy(temperature: float) -> None:
    model = make("llama")
    logprobs = Policy(model, temperature=temperature).score(PROMPTS, ANSWERS)
    expected = plain(model, PROMPTS, ANSWERS, temperature).detach()
    torch.testing.assert_close(logprobs, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("temperature", "divisions"), [(1.0, 0), (0.7, 3)])
def test_logits_at_temperature_1_are_not_divided(temperature: float, divisions: int) -> None:
    seen = []

    class Noting(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            seen.append(func.overloadpacket)
            return func(*args, **kwargs or {})

    hidden, output = torch.randn(6, 4), torch.nn.Linear(4, V)
    with torch.no_grad(), Noting():
        ids = torch.arange(6)
        token_logprobs(hidden, ids, Projection(output), temperature=temperature, chunk=2)
    assert seen.count(torch.ops.aten.div) == divisions


def test_logits_made_in_an_unknown_way_are_refused() -> None:
    class Doubling(LlamaForCausalLM):
        def forward(self, *args, **kwargs):
            output = super().forward(*args, **kwargs)
            output.logits = output.logits * 2
            return output

    torch.manual_seed(0)
    model = Doubling(LlamaConfig(**SIZE, **GQA)).train()
    model.lm_head.weight.data.mul_(20)
    with pytest.raises(UserError, match=r"^Doubling turns hidden states into logits in a way"):
        check_projection(model)
    assert model.training


def test_a_model_that_reads_images_too_is_told_in_training_that_there_are_none() -> None:
    text = SIZE | GQA | {"head_dim": 4, "query_pre_attn_scalar": 4, "sliding_window": 16}
    sight = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    sight |= {"intermediate_size": 16, "image_size": 28, "patch_size": 14}
    model = Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=sight, image_token_index=V - 1)
    )
    check_projection(model)
    assert "token_type_ids" in inputs_of(model.base_model, torch.tensor([[1]]))
    assert set(inputs_of(make("gpt2").base_model, torch.tensor([[1]]))) == {
        "input_ids",
        "use_cache",
    }
    policy = Policy(model).train()
    prompts, answers = [[3, 4], [5, 6, 7]], [[8, 9, 10], [11, 12]]
    trained = policy(collate(prompts, answers)).logprobs
    torch.testing.assert_close(trained, policy.score(prompts, answers), atol=1e-5, rtol=0)


# --- invariances -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_padding_order_and_split_change_nothing(name: str) -> None:
    policy = Policy(make(name)).eval()
    whole = policy(collate(PROMPTS, ANSWERS, width=WIDTH + 3)).logprobs
    assert not whole[:, WIDTH:].any()
    whole = whole[:, :WIDTH]
    order = [3, 6, 0, 5, 1, 4, 2]
    shuffled = policy(collate([PROMPTS[i] for i in order], [ANSWERS[i] for i in order])).logprobs
    torch.testing.assert_close(shuffled, whole[order], atol=1e-6, rtol=0)
    for i, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        alone = policy(collate([prompt], [answer])).logprobs
        torch.testing.assert_close(alone[0], whole[i, : len(answer)], atol=1e-6, rtol=0)
        assert not whole[i, len(answer) :].any()
    for budget in (1, 20, 10_000):
        scored = policy.score(PROMPTS, ANSWERS, budget=budget)
        torch.testing.assert_close(scored, whole.detach(), atol=1e-6, rtol=0)


def test_what_padding_holds_is_never_seen() -> None:
    policy = Policy(make("qwen2"))
    tokens = collate(PROMPTS, ANSWERS)
    before = policy(tokens).logprobs
    columns = torch.arange(tokens.ids.shape[1])
    padding = columns >= (tokens.prompt_lengths + tokens.answer_lengths)[:, None]
    assert padding.any()
    tokens.ids[padding] = V - 1
    after = policy(tokens).logprobs
    torch.testing.assert_close(after, before, atol=0, rtol=0)


def test_gradient_does_not_depend_on_the_micro_batch_split() -> None:
    policy = Policy(make("qwen3"))
    weighted(policy(collate(PROMPTS, ANSWERS))[0]).backward()
    wanted = gradients(policy)
    policy.zero_grad()
    weights = torch.linspace(-1, 2, len(PROMPTS) * WIDTH).view(len(PROMPTS), WIDTH)
    for rows in micro_batches(PROMPTS, ANSWERS, 20):
        tokens = collate([PROMPTS[i] for i in rows], [ANSWERS[i] for i in rows], width=WIDTH)
        ((policy(tokens)[0] * weights[rows]).sum() / M).backward()
    torch.testing.assert_close(gradients(policy), wanted, atol=1e-6, rtol=1e-5)


def test_micro_batches_cover_every_row_once_within_the_budget() -> None:
    lengths = [3, 17, 5, 5, 9, 2, 40, 2]
    batches = micro_batches([[i] for i in range(8)], [[0] * (n - 1) for n in lengths], 20)
    assert sorted(i for rows in batches for i in rows) == list(range(len(lengths)))
    assert [6] in batches  # longer than the budget: alone
    assert all(len(rows) * max(lengths[i] for i in rows) <= 20 for rows in batches if rows != [6])
    assert max(lengths[i] for i in batches[0]) == 40  # memory peaks at once
    assert len(batches) < len(lengths)


def test_equal_answers_are_one_row_and_stay_in_one_batch() -> None:
    prompts, answers = [[2, 3], [4], [2, 3], [2, 3], [4]] * 2, [[5], [5], [5], [6, 7], [5]] * 2
    tokens = collate(prompts, answers)
    assert tokens.ids.tolist() == [[2, 3, 5, 0], [4, 5, 0, 0], [2, 3, 6, 7]]
    assert tokens.rows.tolist() == [0, 1, 0, 2, 1] * 2
    assert tokens.prompts.tolist() == [0, 1, 0]
    assert tokens.firsts.tolist() == [0, 1]
    assert tokens.targets.tolist() == [5, 5, 6, 7]
    for shared in (False, True):
        batches = micro_batches(prompts, answers, 4, shared=shared)
        assert sorted(map(sorted, batches)) == [[0, 2, 5, 7], [1, 4, 6, 9], [3, 8]]


def test_a_shared_prompt_counts_once_in_a_batch() -> None:
    prompts, answers = [[1] * 50] * 6 + [[2] * 50] * 6, [[3] * (n + 1) for n in range(12)]
    together = micro_batches(prompts, answers, 160, shared=True)
    assert [sorted(rows) for rows in together] == [[*range(6, 12)], [*range(6)]]
    assert len(micro_batches(prompts, answers, 160)) == 6


@pytest.mark.parametrize(("prompts", "answers"), [([[]], [[1]]), ([[1]], [[]])])
def test_an_empty_prompt_or_answer_is_refused(prompts: list, answers: list) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        collate(prompts, answers)


# --- the reference, dropout, precision -----------------------------------------------------------


def test_the_reference_has_no_gradient_and_stays_where_it_is() -> None:
    policy = Policy(make("llama"), reference=make("llama", seed=1))
    assert policy.reference is not None
    before = policy.score(PROMPTS, ANSWERS, reference=True)
    torch.testing.assert_close(
        before, plain(policy.reference, PROMPTS, ANSWERS).detach(), atol=1e-5, rtol=0
    )
    assert not before.requires_grad
    own = policy.score(PROMPTS, ANSWERS)
    optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
    weighted(policy(collate(PROMPTS, ANSWERS))[0]).backward()
    assert all(p.grad is None and not p.requires_grad for p in policy.reference.parameters())
    optimizer.step()
    assert torch.equal(policy.score(PROMPTS, ANSWERS, reference=True), before)
    assert (policy.score(PROMPTS, ANSWERS) - own).abs().max() > 1e-2


def test_scores_are_free_of_dropout_also_in_training_mode() -> None:
    policy = Policy(make("gpt2"), reference=make("gpt2"))
    evaluated = policy.eval()(collate(PROMPTS, ANSWERS))[0].detach()
    policy.train()
    assert policy.reference is not None
    assert policy.model.training
    assert not policy.reference.training
    for reference in (False, True):
        scored = policy.score(PROMPTS, ANSWERS, reference=reference)
        torch.testing.assert_close(scored, evaluated, atol=1e-6, rtol=0)
    assert policy.model.training


def test_a_policy_without_reference_says_so() -> None:
    with pytest.raises(ValueError, match="without a reference"):
        Policy(make("llama")).score(PROMPTS, ANSWERS, reference=True)


@pytest.mark.parametrize("name", ["qwen2", "gemma2", "granite"])
def test_bfloat16_autocast_stays_near_float32(name: str) -> None:
    model = make(name)
    exact = Policy(model).score(PROMPTS, ANSWERS)
    policy = Policy(model, compute_dtype=torch.bfloat16)
    with policy.autocast():
        check_projection(model)
    logprobs = policy(collate(PROMPTS, ANSWERS)).logprobs
    assert logprobs.dtype == torch.float32
    error = (logprobs - exact).abs()
    assert 0 < error.max() < 0.2
    assert error.sum() / M < 0.04
    weighted(logprobs).backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


# --- memory --------------------------------------------------------------------------------------


def test_only_answers_meet_the_vocabulary_and_no_more_than_a_chunk_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logprobs_module, "OF_CPU", 0)
    model = make("llama")
    projected: list[int] = []
    model.lm_head.register_forward_hook(
        lambda _module, _inputs, output: projected.append(output.numel() // V)
    )
    logprobs = Policy(model, chunk=4)(collate(PROMPTS, ANSWERS)).logprobs
    assert max(projected) <= 4
    assert sum(projected) == M
    logprobs.sum().backward()
    assert max(projected) <= 4
    assert sum(projected) == 2 * M  # once more in backward
    Policy(model, chunk=4).score(PROMPTS, ANSWERS)
    assert sum(projected) == 3 * M


def test_no_logits_are_kept_for_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are not few."""
    monkeypatch.setattr(logprobs_module, "OF_CPU", 4 * M * V - 1)
    saved: list[weakref.ref[Tensor]] = []

    def pack(tensor: Tensor) -> Tensor:
        tensor = tensor.detach()  # a graph that holds its own results is never freed
        saved.append(weakref.ref(tensor))
        return tensor

    model = make("llama")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        scores = Policy(model, chunk=4)(collate(PROMPTS, ANSWERS))
    assert scores.logprobs.requires_grad
    alive = [tensor.shape for each in saved if (tensor := each()) is not None]
    assert alive
    # Shapes (m, V); the projection's own weight is (V, hidden).
    assert not [shape for shape in alive if shape[-1:] == (V,)]


# --- chunks of the output layer ------------------------------------------------------------------


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_few_logits_are_kept_and_change_nothing(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, entropy: bool
) -> None:
    model = make("llama").to(dtype)
    projected: list[int] = []
    model.lm_head.register_forward_hook(
        lambda _module, _inputs, output: projected.append(output.numel() // V)
    )
    found = []
    for budget in (0, 16 * M * V):
        monkeypatch.setattr(logprobs_module, "OF_CPU", budget)
        projected.clear()
        model.zero_grad()
        scores = Policy(model, chunk=4, compute_dtype=dtype)(
            collate(PROMPTS, ANSWERS), entropy=entropy
        )
        total = weighted(scores.logprobs) + (weighted(scores.entropy) if entropy else 0)
        total.backward()
        assert sum(projected) == (1 if budget else 2) * M
        found.append(gradients(model) | {"scores": scores.logprobs.detach()})
    torch.testing.assert_close(found[1], found[0], atol=0, rtol=0)


@pytest.mark.parametrize("budget", [0, 1 << 20])
@pytest.mark.parametrize("name", ["llama", "llama-tied", "gemma2"])
def test_chunks_under_autocast_have_the_gradient_of_one_chunk(
    monkeypatch: pytest.MonkeyPatch, name: str, budget: int
) -> None:
    """Each casts the weights anew, or they share one cast: it must survive the first backward."""
    monkeypatch.setattr(logprobs_module, "OF_CPU", budget)
    model, found = make(name), []
    for chunk in (4, 1000):
        model.zero_grad()
        policy = Policy(model, chunk=chunk, compute_dtype=torch.bfloat16)
        weighted(policy(collate(PROMPTS, ANSWERS)).logprobs).backward()
        found.append(torch.cat([g.flatten() for g in gradients(model).values()]))
    assert (found[0] - found[1]).norm() < 0.02 * found[1].norm()


def test_a_frozen_output_layer_lets_the_gradient_pass() -> None:
    model = make("llama")
    weighted(Policy(model, chunk=4)(collate(PROMPTS, ANSWERS)).logprobs).backward()
    wanted = gradients(model)
    model.zero_grad()
    model.lm_head.requires_grad_(False)
    weighted(Policy(model, chunk=4)(collate(PROMPTS, ANSWERS)).logprobs).backward()
    wanted.pop("lm_head.weight")
    torch.testing.assert_close(gradients(model), wanted, atol=0, rtol=0)


def test_contributions_of_many_chunks_do_not_vanish_in_bfloat16() -> None:
    """A first chunk with a gradient near 1 and 255 of about 1/1000 each: summed in bfloat16, whose
    neighbours there are 1/128 apart, every one of these is lost, always in the same direction."""
    torch.manual_seed(0)
    rows, width, words = 256, 8, 16
    hidden = torch.ones(rows, width).bfloat16()
    targets = torch.zeros(rows, dtype=torch.long)
    layer = torch.nn.Linear(width, words, bias=False).bfloat16()
    with torch.no_grad():
        layer.weight.zero_()  # p = 1/16 everywhere
    # Autograd goes from the last chunk to the first.
    weights = torch.full((rows,), 1e-3)
    weights[-1] = 1.0

    def gradient(of: Tensor) -> Tensor:
        layer.zero_grad()
        (of * weights).sum().backward()
        assert layer.weight.grad is not None
        return layer.weight.grad.double()

    found = gradient(token_logprobs(hidden, targets, Projection(layer), chunk=1)[:, 0])
    plain = [layer(hidden[i : i + 1]).float().log_softmax(-1)[0, targets[i]] for i in range(rows)]
    in_half = gradient(torch.stack(plain))
    onehot = torch.nn.functional.one_hot(targets, words).double()
    truth = ((onehot - 1 / words) * weights.double()[:, None]).T @ hidden.double()
    assert ((found - truth).abs() / truth.abs()).max() < 1 / 128
    assert ((in_half - truth).abs() / truth.abs()).min() > 0.15
