"""Learning: an optimiser step against a plain loop, and a whole step of the trainer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu_parts.bench import Bench, Timed
from gpu_parts.case import PLAIN, Case, policy_of, small_vocabulary
from step import MeasuredTrainer
from transformers import Qwen2ForCausalLM

from evenflow.rollout.group import count_tokens
from evenflow.run.console import Display
from evenflow.training.learning import build_learner
from evenflow.training.scoring import to_rows


def update(bench: Bench) -> None:
    """An optimiser step over 64 answers, log-probs included, and a plain loop's."""
    case = bench.case
    measure(bench, case, "plain loop, whole logits", plain_update)
    for name, recompute in (("recomputation on", "true"), ("recomputation off", "false")):
        build = partial(our_update, overrides=(f"model.gradient_checkpointing={recompute}",))
        measure(bench, case, name, build)
    ours = measure(bench, case, "ours", our_update)
    bare = measure(bench, small_vocabulary(case), "ours, hardly a vocabulary", our_update)
    if ours and bare:
        share = 1 - bare.seconds / ours.seconds
        bench.add("update", "log-probs' share of ours", share, "of time")


def measure(
    bench: Bench, case: Case, name: str, build: Callable[[Bench, Case], tuple[Any, Any]]
) -> Timed | None:
    """Add the line of an update; None where it failed."""
    with bench.guarded(f"update, {name}"):
        run, model = build(bench, case)
        spent = bench.time(run, warm=2)
        tokens = sum(len(g.prompt.ids) * len(g) for g in case.learned())
        tokens += count_tokens(case.learned())
        parameters = sum(p.numel() for p in model.parameters())
        ratios = bench.ratios(tokens / spent.seconds, "update", "plain loop, whole logits")
        gemm = bench.value("ceiling", "GEMM")
        if gemm:
            ratios["GEMM"] = 6 * parameters * tokens / spent.seconds / 1e12 / gemm
        # A prompt that ours reads once counts for each of its answers, as it does for the peer.
        bench.add("update", name, tokens / spent.seconds, "tokens/s", ratios=ratios, gib=spent.gib)
        return spent
    return None


def our_update(
    bench: Bench, case: Case, overrides: tuple[str, ...] = ()
) -> tuple[Callable[[], None], Any]:
    """What `Learner.learn` does with the case's answers."""
    config = case.recipe(bench.model(case), bench.device, *PLAIN, *overrides)
    policy, objective = policy_of(config, bench.device, case.prompts(8)), config.build_objective()
    learner = build_learner(policy, objective, config)
    groups = case.learned()
    rewards = torch.tensor([float(i % 2) for group in groups for i, _ in enumerate(group.answers)])
    rows = to_rows(groups, rewards, bench.device)
    rows = rows.with_answers(objective.prepare(rows.answers))

    def run() -> None:
        learner.version = 0  # on-policy each time
        learner.learn(rows, seed="0")

    return run, policy.model


def plain_update(bench: Bench, case: Case) -> tuple[Callable[[], None], Any]:
    """What one writes without us: float32 weights under autocast, a few whole rows at a time."""
    device = bench.device
    model: Any = Qwen2ForCausalLM.from_pretrained(bench.model(case), dtype=torch.float32)
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    rows = [(list(g.prompt.ids), answer) for g in case.learned() for answer in g.answers]
    rows.sort(key=lambda row: len(row[1]))
    low = device.type == "cuda"

    def run() -> None:
        for start in range(0, len(rows), case.plain_batch):
            batch = rows[start : start + case.plain_batch]
            longest = max(len(prompt) + len(answer) for prompt, answer in batch)
            lines = [p + a + [0] * (longest - len(p) - len(a)) for p, a in batch]
            ids = torch.tensor(lines, device=device)
            with torch.autocast(device.type, torch.bfloat16, enabled=low):
                logits = model(input_ids=ids, use_cache=False).logits
            logits = logits[:, case.prompt - 1 : -1].float()
            picked = logits.log_softmax(-1).gather(-1, ids[:, case.prompt :, None])[..., 0]
            lengths = torch.tensor([len(answer) for _, answer in batch], device=device)
            columns = torch.arange(picked.shape[1], device=device)
            (picked * (columns < lengths[:, None])).sum().mul(1e-4).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run, model


def step(bench: Bench) -> None:
    """The trainer's own step of FlowRL: sampling, rewards, reference, learning."""
    case = bench.case
    ends = list(case.ends(case.step_limit))
    config = case.recipe(
        bench.model(case), bench.device, "algorithm=flowrl", f"rollout.stop={ends}"
    )
    questions = [{"prompt": text} for text in case.texts()]
    with tempfile.TemporaryDirectory(dir=bench.scratch) as folder:
        trainer = MeasuredTrainer(config, Path(folder), questions=questions, rewards=[stub])
        trainer.peaks = {}
        display = Display("step", case.repeats + 2)
        phases: dict[str, float] = {}

        def phase(name: str) -> Any:
            return trainer._phase(name, display)

        def run() -> None:
            trainer.seconds = {}
            metrics = trainer.stepper.take(trainer.step, phase)
            trainer.step += 1
            tokens.append(metrics["tokens_per_second"])
            phases.update(trainer.seconds)

        tokens: list[float] = []
        spent = bench.time(run, warm=2)
    bench.add(
        "step",
        "whole",
        spent.seconds,
        "s",
        gib=spent.gib,
        remark=f"{tokens[-1]:,.0f} answer tokens/s",
    )
    for name, seconds in phases.items():
        share = {"whole": seconds / spent.seconds}
        bench.add("step", name.replace("_", " "), seconds, "s", ratios=share)


def stub(completions: list[str], **_: Any) -> list[float]:
    """A reward that costs nothing."""
    return [float(i % 2) for i, _ in enumerate(completions)]
