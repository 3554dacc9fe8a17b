"""What a finished run is worth: exact and sampled scores on held-out questions, in distribution and
out of it. A process of its own: ``python -m evenflow.studies.compare.measure RUN SPECIFICATION``.

``measured.json`` in the run's folder holds the scores and, for every question, the probability of
each right answer, from which all exact scores follow.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from evenflow.config import EvaluationConfig, HeadConfig, TrainConfig, load
from evenflow.errors import UserError
from evenflow.evaluation.exact import KS, combine, exact_pass_at_ks
from evenflow.evaluation.heldout import count_right, pass_at_k
from evenflow.policy.loading import (
    REFERENCE_FILE,
    build_policy,
    compute_dtype,
    load_model,
    load_tokenizer,
    make_room,
    part_file,
    separator_id,
)
from evenflow.policy.policy import Policy
from evenflow.policy.tokens import collate
from evenflow.rollout.group import Group
from evenflow.run import checkpoints
from evenflow.run.files import finite, write_atomic
from evenflow.run.folder import choose_device, set_threads
from evenflow.run.lock import only_one
from evenflow.training.build import build_held_out, build_rewards, engine_for, load_questions
from evenflow.training.scoring import rewards_of, to_rows

RESULT = "measured.json"
TEST = "test"
"""The set of questions like those that were trained on; the others' names are the task's."""


def measure(folder: Path, specification: dict[str, Any]) -> dict[str, Any]:
    """Scores of the newest checkpoint in `folder`; of the base model where there is no run.

    The specification holds what the runs of a comparison are measured by: `evaluation`, and
    `ood`, names with the task's options, and `ood_questions`, how many of each.
    """
    trained = bool(checkpoints.checkpoints(folder))
    newest = checkpoints.latest_whole(folder) if trained else None
    config = load(TrainConfig, folder / "recipe.yaml", [])
    if newest is None:  # a separator after the prompts would be a token that the base model lacks
        config = config.model_copy(update={"head": HeadConfig()})
    evaluation = EvaluationConfig.model_validate(specification["evaluation"])
    sets = {TEST: with_questions(config, evaluation, {})}
    unseen = evaluation.model_copy(update={"questions": specification["ood_questions"], "skip": 0})
    for name, options in specification["ood"].items():
        sets[name] = with_questions(config, unseen, options)
    set_threads(config)
    device = choose_device(config.device)
    tokenizer = load_tokenizer(str(newest or config.model.path))
    needs = config.build_objective().needs
    policy = build_policy(
        config.model,
        config.head if newest and needs.head else None,
        reference=True,
        temperature=config.rollout.temperature,
        device=device,
        tokenizer=tokenizer,
        checkpoint=newest,
    )
    base = base_model(config, newest, tokenizer, device)
    return {
        "specification": specification,
        "checkpoint": newest.name if newest else None,
        "sets": {
            name: measure_set(of_set, policy, base, tokenizer, fitted=newest is not None)
            for name, of_set in sets.items()
        },
    }


def with_questions(
    config: TrainConfig, evaluation: EvaluationConfig, options: dict[str, Any]
) -> TrainConfig:
    """The recipe with other held-out questions."""
    data = config.data
    if options:
        data = data.model_copy(update={"task_options": data.task_options | options})
    return config.model_copy(update={"evaluation": evaluation, "data": data})


def base_model(
    config: TrainConfig,
    newest: Path | None,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
) -> Policy | None:
    """The recipe's reference, where the run's own is another one by now; else None."""
    if newest is None or not part_file(newest, REFERENCE_FILE).is_file():
        return None
    path = config.model.reference or config.model.path
    compute = compute_dtype(config.model, device)
    model = load_model(path, compute, config.model.attention)
    make_room(model, separator_id(config.head, tokenizer))
    return Policy(model, chunk=config.model.logprob_chunk, compute_dtype=compute).to(device)


def measure_set(
    config: TrainConfig,
    policy: Policy,
    base: Policy | None,
    tokenizer: PreTrainedTokenizerBase,
    *,
    fitted: bool,
) -> dict[str, Any]:
    """Scores on one set of questions, and what they are computed from, question by question.

    `fitted`: the policy was trained by the recipe's objective, and so has a fixed point to go to.
    """
    questions = load_questions(config, tokenizer, training=False)
    if not questions.test:
        raise UserError("data.test: compare needs held-out questions; name a file or dataset")
    engine = engine_for(config, questions, tokenizer, policy)
    held_out = build_held_out(config, questions, build_rewards(config), tokenizer, policy)
    assert held_out is not None
    scores: dict[str, float | None] = {}
    masses = None
    with held_out.conditions(policy):
        if held_out.solutions is not None:
            masses = [list(row.values()) for row in held_out.masses(policy)]
            scores |= exact_scores_of(masses)
        groups = held_out.answers(engine, held_out.prompts)
        counts = [count_right(group, held_out.right) for group in groups]
        scores |= sampled_scores(counts, exact=masses is not None)
        of_each = Texts.of(groups)
        own, reference = logprobs = score_twice(policy, of_each, held_out.budget)
        if base is not None:
            base.temperature = policy.temperature
            reference = base.score(*of_each, budget=held_out.budget)
        scores["entropy"] = -own.sum(1).mean().item()
        scores["kl_reference"] = (own.sum(1) - reference.sum(1)).mean().item()
        at = policy.temperature
    scores["residual"] = None
    if fitted:
        policy.temperature = config.rollout.temperature
        if policy.temperature != at:
            logprobs = score_twice(policy, of_each, held_out.budget)
        scores["residual"] = residual(config, policy, groups, logprobs)
    return {
        "scores": scores,
        "questions": len(held_out.prompts),
        "counts": counts,
        "masses": masses,
    }


class Texts(NamedTuple):
    """Token ids of N answers, as `Policy.score` asks for them."""

    prompts: list[tuple[int, ...]]
    answers: list[list[int]]

    @staticmethod
    def of(groups: Sequence[Group]) -> Texts:
        """Group by group."""
        return Texts(
            [group.prompt.ids for group in groups for _ in group.answers],
            [ids for group in groups for ids in group.answers],
        )


def score_twice(policy: Policy, texts: Texts, budget: int) -> tuple[Tensor, Tensor]:
    """(N, T) log π and log π_ref of the answers, π_ref the run's own reference."""
    own, reference = (
        policy.score(*texts, budget=budget, reference=which) for which in (False, True)
    )
    return own, reference


def exact_scores_of(masses: list[list[float]]) -> dict[str, float]:
    """All scores that follow from the probabilities of each question's right answers."""
    table = combine(masses)
    return {
        "accuracy": table.accuracy,
        "distinct@16": table.distinct_at_16,
        "effective_solutions": table.effective_solutions,
        **{f"pass@{k}": value for k, value in exact_pass_at_ks(masses, KS).items()},
    }


def sampled_scores(counts: list[tuple[int, int]], *, exact: bool) -> dict[str, float | None]:
    """Accuracy, and pass@k for k up to the answers there are, unless it is known exactly; each over
    the questions of which enough answers are judged."""
    judged = [(n, c) for n, c in counts if n]
    scores: dict[str, float | None] = {
        "accuracy_sampled": fmean(c / n for n, c in judged) if judged else None
    }
    if not exact:
        for k in KS:
            enough = [pass_at_k(n, c, k) for n, c in judged if n >= k]
            scores[f"pass@{k}"] = fmean(enough) if enough else None
    return scores


def residual(
    config: TrainConfig,
    policy: Policy,
    groups: Sequence[Group],
    logprobs: tuple[Tensor, Tensor],
) -> float | None:
    """How far the policy is from where its objective rests, by the answers whose reward is known;
    see `Objective.residual`. `logprobs` are of `score_twice`."""
    totals = [total for group in groups for total in group.total]
    known = [i for i, total in enumerate(totals) if not math.isnan(total)]
    groups = [group.known for group in groups if len(group.known)]
    if not known:
        return None
    rows = to_rows(groups, rewards_of(groups, config)[0], policy.device)
    width = rows.answers.mask.shape[1]
    own, reference = (part[known, :width] for part in logprobs)
    log_z = None
    if policy.head is not None:
        of_prompt = head_log_z(policy, groups, config.train.micro_batch_tokens)
        log_z = torch.tensor([of_prompt[key] for key in rows.keys], device=policy.device)
    answers = rows.answers.replace(old_logprobs=own, ref_logprobs=reference)
    return config.build_objective().residual(own, answers, log_z)


@torch.no_grad()
def head_log_z(policy: Policy, groups: Sequence[Group], budget: int) -> dict[str, float]:
    """log Zφ of every question, by its key."""
    questions = {group.prompt.key: group.prompt.ids for group in groups}
    keys = list(questions)
    found: dict[str, float] = {}
    policy.eval()
    prompts = [questions[key] for key in keys]
    # The head reads the prompt alone: any token will do for an answer.
    answers = [prompt[-1:] for prompt in prompts]
    for rows in policy.micro_batches(prompts, answers, budget):
        tokens = collate(
            [prompts[i] for i in rows], [answers[i] for i in rows], device=policy.device
        )
        log_z = policy(tokens).log_z
        found |= dict(zip((keys[i] for i in rows), log_z.tolist(), strict=True))
    return found


def main(folder: Path, specification: dict[str, Any]) -> None:
    """Measure, and write the result beside the run."""
    folder = folder.absolute()  # a reward may go to another directory
    with only_one(folder):
        result = finite(measure(folder, specification))
        write_atomic(folder / RESULT, json.dumps(result) + "\n")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), json.loads(sys.argv[2]))
    except UserError as error:
        sys.exit(f"error: {error}")
