"""What the runs of a comparison are measured by, checked before anything is trained: held-out
questions, sets of questions out of distribution, and which scores will be known of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from evenflow.config import CompareConfig, TrainConfig
from evenflow.data import load_rows
from evenflow.errors import UserError
from evenflow.evaluation.columns import COLUMNS
from evenflow.evaluation.exact import KS
from evenflow.studies.compare.measure import TEST
from evenflow.studies.compare.plan import Request
from evenflow.tasks import get_task, rows_of

OFTEN = CompareConfig.model_fields["ood_questions"].default


def specification(request: Request, config: TrainConfig) -> tuple[dict[str, Any], list[str]]:
    """What `measure.measure` takes, and a sentence for each of the task's own sets out of
    distribution that cannot be made and that nobody has asked for."""
    questions, left_out = request.study.ood_questions, list[str]()
    sets, asked = out_of_distribution(request, config)
    made: dict[str, dict[str, Any]] = {}
    for name, options in sets.items():
        try:
            require_set(config, options, questions)
        except UserError as error:
            if asked:
                raise UserError(f"ood: {name}: {error} (ood=none leaves such sets out)") from None
            left_out.append(f"ood: {name} is left out: {error}")
        else:
            made[name] = dict(options)
    found = {
        "evaluation": config.evaluation.model_dump(mode="json"),
        "ood": made,
        "ood_questions": questions,
    }
    return found, left_out


def out_of_distribution(
    request: Request, config: TrainConfig
) -> tuple[Mapping[str, Mapping[str, Any]], bool]:
    """Names with options of the task, and whether somebody has asked for them, or for so many
    questions of them."""
    study = request.study
    task = get_task(config.data.task, config.data.task_options) if config.data.task else None
    if study.ood is None:
        own = getattr(task, "out_of_distribution", None)
        return own() if own else {}, study.ood_questions != OFTEN
    if study.ood == "none":
        return {}, False
    if TEST in study.ood:
        raise UserError(f"ood: {TEST} is the name of the held-out questions; choose another")
    if study.ood and task is None:
        raise UserError("ood: names options of a built-in task; this recipe has none (data.task)")
    return study.ood, True


def require_set(config: TrainConfig, options: Mapping[str, Any], count: int) -> None:
    """Refuse options of the recipe's task of which there are not so many questions."""
    assert config.data.task is not None
    changed = get_task(config.data.task, {**config.data.task_options, **options})
    rows_of(changed, "test", count, "ood_questions")


def require_questions(config: TrainConfig, *, validation: bool) -> None:
    """Refuse a comparison without held-out questions, or a search without as many others."""
    data, evaluation = config.data, config.evaluation
    wanted = evaluation.skip + evaluation.questions * (2 if validation else 1)
    if data.task is not None:
        task = get_task(data.task, data.task_options)
        rows_of(task, "test", wanted, "evaluation.questions")
        return
    if data.test is None:
        raise UserError("data.test: compare needs held-out questions; name a file or dataset")
    there = len(load_rows(data.test, data.test_split))
    if there <= evaluation.skip or (validation and there < wanted):
        raise UserError(
            f"data.test: has {there} questions, fewer than the {wanted} that evaluation.skip, "
            f"evaluation.questions{' and as many for the search' if validation else ''} ask for; "
            "lower evaluation.questions"
        )


def shared_questions(config: TrainConfig, *, validation: bool) -> list[str]:
    """The sentence on held-out questions of a file that are in the file of training questions, too;
    of a task none is."""
    data, evaluation = config.data, config.evaluation
    if data.train is None or data.test is None:
        return []
    train = load_rows(data.train, data.train_split)[: data.train_questions]
    count = evaluation.questions * (2 if validation else 1)
    test = load_rows(data.test, data.test_split)[evaluation.skip :][:count]
    known = {question_of(row, data.prompt_column) for row in train}
    both = sum(question_of(row, data.prompt_column) in known for row in test)
    if not both:
        return []
    return [f"data.test: {both:,} of the {len(test):,} held-out questions are trained on"]


def question_of(row: Mapping[str, Any], column: str) -> str:
    """What makes two rows the same question."""
    return json.dumps(row.get(column), sort_keys=True, default=str)


def require_measures(config: TrainConfig) -> None:
    """Refuse curves of accuracy alone: one answer to a question shows nothing else."""
    if config.evaluation.num_generations < 2 and not lists_answers(config):
        raise UserError(
            "evaluation.num_generations: one answer to a question shows its accuracy alone; a "
            "frontier needs several, 16 for pass@16"
        )


def lists_answers(config: TrainConfig) -> bool:
    """Whether the recipe's task lists its right answers, so that scores are exact."""
    data = config.data
    return bool(data.task) and hasattr(get_task(data.task, data.task_options), "row_solutions")


def searched_by(request: Request, config: TrainConfig) -> str:
    """The score that the search goes by; refuses one that will not be known of its trials."""
    known = known_scores(config)
    by = request.study.search_by or known[0]
    if by not in known:
        raise UserError(
            f"search_by: {by} is not known where right answers are not listed and "
            f"evaluation.num_generations is {config.evaluation.num_generations}; choose "
            f"{', '.join(known)}"
        )
    return by


def known_scores(config: TrainConfig) -> list[str]:
    """The scores, higher being better, that a measurement gives, the first that of choice."""
    if lists_answers(config):
        return [key for key, column in COLUMNS.items() if column.higher_is_better]
    reached = (k for k in KS if k <= config.evaluation.num_generations)
    return ["accuracy_sampled", *(f"pass@{k}" for k in reached)]
