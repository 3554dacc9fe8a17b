"""Sampling: tokens a second of the embedded engine and its peers, and whether the trainer agrees
with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from gpu_parts.bench import Bench, Timed, timed
from gpu_parts.case import PLAIN, Case, policy_of
from transformers import GenerationConfig

from evenflow.policy.policy import Policy
from evenflow.rollout import Sampling, sample
from evenflow.rollout.embedded.engine import EmbeddedEngine
from evenflow.rollout.group import Group, count_tokens


@dataclass(frozen=True)
class Request:
    """So many questions, answers of at most `limit` tokens, and what ends them."""

    questions: int
    limit: int
    ends: tuple[int, ...]


def sampling(bench: Bench) -> None:
    """Answers of one length, then of natural lengths, and these against equal ones of their mean,
    so many that ended slots can be filled again."""
    case = bench.case
    compare(bench, "sampling", Request(case.questions, case.answer, ()), tuple(PEERS))
    natural = Request(case.natural_questions, case.natural_limit, case.ends(case.natural_mean))
    mean = compare(bench, "natural lengths", natural, ("generate",))
    if mean is None:
        return
    with bench.guarded("equal lengths"):
        _, groups, spent = of_ours(bench, Request(case.natural_questions, round(mean), ()))
        value = count_tokens(groups) / spent.seconds
        ratios = bench.ratios(value, "natural lengths", "ours")
        remark = f"{round(mean)} tokens"
        bench.add("equal lengths", "ours", value, "tokens/s", ratios=ratios, remark=remark)


def compare(bench: Bench, part: str, request: Request, peers: Sequence[str]) -> float | None:
    """Tokens a second of the peers and of ours, whose mean length comes back if it did."""
    for name in peers:
        with bench.guarded(f"{part}, {name}"):
            lengths, spent = PEERS[name](bench, request)
            bench.add(part, name, sum(lengths) / spent.seconds, "tokens/s", gib=spent.gib)
    with bench.guarded(f"{part}, ours"):
        policy, groups, spent = of_ours(bench, request)
        lengths = torch.tensor([len(answer) for group in groups for answer in group.answers])
        value = lengths.sum().item() / spent.seconds
        low, mid, high = torch.quantile(lengths.float(), torch.tensor([0.05, 0.5, 0.95])).tolist()
        ratios = bench.ratios(value, part, *peers)
        copied = bench.value("ceiling", "copy")
        if copied and not request.ends:
            ratios["floor"] = value / floor(bench.case, request, copied * 1e12)
        remark = f"{low:.0f} – {mid:.0f} – {high:.0f} tokens (5 %, median, 95 %)"
        bench.add(part, "ours", value, "tokens/s", ratios=ratios, gib=spent.gib, remark=remark)
        if not request.ends:
            add_gap(bench, policy, groups)
        return lengths.float().mean().item()
    return None


def of_ours(bench: Bench, request: Request) -> tuple[Policy, list[Group], Timed]:
    """The policy as it is trained, its answers, and what they took."""
    case = bench.case
    prompts = case.prompts(request.questions)
    config = case.recipe(bench.model(case), bench.device, *PLAIN)
    policy = policy_of(config, bench.device, prompts)
    engine = EmbeddedEngine(None, case.slots)
    engine.update(policy, 0)
    sampling = Sampling(max_tokens=request.limit, stop_ids=request.ends)
    groups: list[Group] = []

    def run() -> None:
        groups[:] = sample(engine, prompts, case.group, sampling, seed=1)

    spent = bench.time(run)
    return policy, groups, spent


def add_gap(bench: Bench, policy: Policy, groups: Sequence[Group]) -> None:
    """How far the trainer's log-probs are from the sampler's, of the same weights."""
    prompts = [group.prompt.ids for group in groups for _ in group.answers]
    answers = [answer for group in groups for answer in group.answers]
    sampled = torch.tensor([row for group in groups for row in group.logprobs])
    gap = (policy.score(prompts, answers).cpu() - sampled).abs()
    remark = f"mean of |difference| of a log-prob; largest {gap.max().item():.3g}"
    bench.add("sampling", "against the trainer", gap.mean().item(), "nats", remark=remark)


def floor(case: Case, request: Request, rate: float) -> float:
    """Tokens a second if a step of decoding did nothing but read weights and cache once, each
    prompt's once a group."""
    width = 2 * case.key_value_heads * case.hidden // case.heads
    cached = 2 * case.layers * width * request.questions
    cached *= case.prompt + case.group * request.limit // 2
    weights = case.vocabulary * case.hidden + case.layers * case.hidden * (
        2 * case.hidden + width + 3 * case.intermediate
    )
    return request.questions * case.group * rate / (2 * weights + cached)


def of_generate(bench: Bench, request: Request, **more: Any) -> tuple[list[int], Timed]:
    """Lengths of `generate`'s answers, up to and with the first end token."""
    case, model = bench.case, bench.peer()
    rows = [list(prompt.ids) for prompt in case.prompts(request.questions)]
    ids = torch.tensor(rows, device=bench.device).repeat_interleave(case.group, 0)
    found: list[torch.Tensor] = []

    def run() -> None:
        torch.manual_seed(1)
        found[:] = [
            model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                top_k=0,
                max_new_tokens=request.limit,
                eos_token_id=list(request.ends) or None,
                pad_token_id=0,
                **more,
            )[:, case.prompt :]
        ]

    # The static cache is compiled at first; natural lengths take minutes with generate.
    spent = timed(run, bench.device, 1, warm=2 if more else int(not request.ends))
    ended = torch.isin(found[0].cpu(), torch.tensor(request.ends, dtype=torch.long)).long()
    return (ended.cumsum(1) - ended == 0).sum(1).tolist(), spent


def of_static_cache(bench: Bench, request: Request) -> tuple[list[int], Timed]:
    return of_generate(bench, request, cache_implementation="static")


def of_generate_batch(bench: Bench, request: Request) -> tuple[list[int], Timed]:
    case, model = bench.case, bench.peer()
    if not hasattr(model, "generate_batch"):
        raise ValueError("this release of Transformers has no generate_batch")
    settings = GenerationConfig(
        max_new_tokens=request.limit,
        do_sample=True,
        top_k=0,
        eos_token_id=list(request.ends) or None,
        pad_token_id=0,
    )
    prompts = case.prompts(request.questions)
    rows = [list(prompt.ids) for prompt in prompts for _ in range(case.group)]
    found: list[Any] = []

    def run() -> None:
        found[:] = model.generate_batch(rows, generation_config=settings).values()

    spent = timed(run, bench.device, 1, warm=1)
    if len(found) != len(rows):
        raise ValueError(f"generate_batch gave {len(found)} of {len(rows)} answers")
    return [len(each.generated_tokens) for each in found], spent


PEERS = {
    "generate": of_generate,
    "static cache": of_static_cache,
    "generate_batch": of_generate_batch,
}
