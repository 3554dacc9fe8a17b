"""Prompts read once for their answers: the same numbers, from fewer tokens."""

from __future__ import annotations

import random

import pytest
import torch
from tiny_models import CONFIGS, SIZE, V, gradients, make
from torch import Tensor
from transformers import AutoModelForCausalLM, FalconH1Config, MistralConfig

from evenflow.config import CriticConfig, HeadConfig
from evenflow.objectives.partition import PartitionHead
from evenflow.policy.critic import Critic
from evenflow.policy.policy import Policy
from evenflow.policy.states import can_share, length_classes
from evenflow.policy.tokens import collate


def groups_of(lengths: list[int], seed: int = 0) -> tuple[list[list[int]], list[list[int]]]:
    """Eight answers, two of them alike, of 1 to 12 tokens to each of some prompts."""
    draw = random.Random(seed)
    prompts = [[draw.randrange(2, V) for _ in range(length)] for length in lengths]
    answers = [
        [[draw.randrange(2, V) for _ in range(draw.choice([1, 2, 2, 5, 6, 12]))] for _ in range(7)]
        for _ in prompts
    ]
    rows = [(p, a) for p, group in zip(prompts, answers, strict=True) for a in [*group, group[3]]]
    draw.shuffle(rows)
    return [p for p, _ in rows], [a for _, a in rows]


MIXED = groups_of([9, 3, 20, 1])
EQUAL = groups_of([14, 14, 14])


def both(name: str, rows: tuple[list[list[int]], list[list[int]]]) -> list[tuple]:
    """Log-probs, values of log Z and the critic, and gradients, read whole and read apart."""
    model, found = make(name), []
    torch.manual_seed(1)
    head, critic = PartitionHead(16, HeadConfig(layers=2)), Critic(16, CriticConfig(layers=2))
    for part in (head, critic):
        for parameter in part.parameters():
            torch.nn.init.normal_(parameter)
    tokens = collate(*rows)
    for shared in (False, True):
        policy = Policy(model, head=head, critic=critic, chunk=7, shares_prompts=shared).eval()
        policy.zero_grad()
        scores = policy(tokens, entropy=True)
        weights = torch.linspace(-1, 2, scores.logprobs.numel()).view_as(scores.logprobs)
        (scores.logprobs * weights).sum().add(scores.log_z.sum()).backward()
        values = [each.detach() for each in scores]
        found.append((values, gradients(policy)))
    return found


def count_tokens(model: torch.nn.Module) -> list[int]:
    """Filled with the number of tokens of each pass from now on."""
    seen: list[int] = []

    def note(module: object, args: tuple[Tensor, ...], output: object) -> None:
        seen.append(args[0].numel())

    model.get_input_embeddings().register_forward_hook(note)
    return seen


@pytest.mark.parametrize("rows", [MIXED, EQUAL], ids=["mixed", "equal"])
@pytest.mark.parametrize("name", CONFIGS)
def test_numbers_and_gradients_are_those_of_whole_rows(name: str, rows: tuple) -> None:
    assert can_share(make(name))
    (whole, gradient), (apart, same) = both(name, rows)
    for expected, found in zip(whole, apart, strict=True):
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
    # Gradients are sums of as many terms as there are tokens.
    scale = max(float(each.abs().max()) for each in gradient.values())
    torch.testing.assert_close(same, gradient, atol=2e-6 * max(scale, 1), rtol=1e-3)


def test_a_window_that_slides_over_the_prompt_hides_what_it_hides_in_whole_rows() -> None:
    torch.manual_seed(0)
    config = MistralConfig(**SIZE, num_key_value_heads=2, sliding_window=6)
    model = AutoModelForCausalLM.from_config(config)
    policy = Policy(model).eval()
    whole = policy.score(*MIXED)
    policy.shares_prompts = True
    torch.testing.assert_close(policy.score(*MIXED), whole, atol=1e-5, rtol=0)


def test_a_prompt_is_read_once_and_answers_are_hardly_padded() -> None:
    model = make("llama")
    seen = count_tokens(model)
    policy = Policy(model, shares_prompts=True).eval()
    prompts, answers = groups_of([30, 30])
    policy.score(prompts, answers, budget=10_000)
    different = {(tuple(p), tuple(a)) for p, a in zip(prompts, answers, strict=True)}
    needed = 60 + sum(len(answer) - 1 for _, answer in different)
    assert seen[0] == 60
    assert sum(seen) <= 1.25 * needed
    assert sum(seen) < 0.35 * sum(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))


def test_rows_that_share_nothing_are_read_whole_in_one_pass() -> None:
    model = make("llama")
    seen = count_tokens(model)
    policy = Policy(model, shares_prompts=True).eval()
    policy.score([[2, 3], [4, 5], [6, 7]], [[8] * 9, [9] * 9, [8] * 9])
    assert seen == [33]


def test_answers_of_one_token_need_no_pass_of_their_own() -> None:
    model = make("gpt2")
    prompts, answers = [[2, 3, 4]] * 4, [[5], [6], [7], [5]]
    whole = Policy(model).eval().score(prompts, answers)
    seen = count_tokens(model)
    apart = Policy(model, shares_prompts=True).eval().score(prompts, answers)
    torch.testing.assert_close(apart, whole, atol=1e-6, rtol=0)
    assert seen == [3]


def test_a_model_with_a_state_of_another_kind_is_read_whole() -> None:
    small = {"mamba_d_ssm": 16, "mamba_n_heads": 4, "mamba_d_head": 4, "mamba_d_state": 8}
    config = FalconH1Config(**SIZE, num_key_value_heads=2, **small)
    assert not can_share(AutoModelForCausalLM.from_config(config).eval())


def test_classes_pad_least() -> None:
    lengths = [3, 20, 19, 4, 20, 3, 100]
    assert length_classes(lengths, 5) == [([6], 100), ([1, 4, 2], 20), ([3, 0, 5], 4)]
    assert length_classes(lengths, 10_000) == [([6, 1, 4, 2, 3, 0, 5], 100)]
    assert length_classes([7], 5) == [([0], 7)]


def test_classes_are_the_best_of_all_partitions() -> None:
    draw = random.Random(0)
    for _ in range(50):
        lengths = [draw.randrange(1, 30) for _ in range(draw.randrange(1, 9))]
        overhead = draw.randrange(1, 40)

        def cost(parts: list[list[int]], overhead: int = overhead) -> int:
            return sum(overhead + max(part) * len(part) for part in parts)

        ordered, every = sorted(lengths), []
        for cuts in range(2 ** (len(ordered) - 1)):
            parts = [[ordered[0]]]
            for i, length in enumerate(ordered[1:]):
                if cuts >> i & 1:
                    parts.append([])
                parts[-1].append(length)
            every.append(cost(parts))
        classes = length_classes(lengths, overhead)
        assert sorted(row for rows, _ in classes for row in rows) == list(range(len(lengths)))
        assert cost([[lengths[row] for row in rows] for rows, _ in classes]) == min(every)
