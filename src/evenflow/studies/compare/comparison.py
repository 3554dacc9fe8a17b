"""A comparison from its request to its tables: search, runs, measurements."""

from __future__ import annotations

import math
import os
import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from evenflow.config import Change, EvaluationConfig, read_yaml
from evenflow.errors import UserError
from evenflow.evaluation.frontier import Frontiers, Point
from evenflow.inputs import is_number
from evenflow.run.console import console
from evenflow.run.files import CURVES, read_jsonl, write_atomic, writing
from evenflow.run.kinds import Kind, refuse_other_kinds
from evenflow.run.lock import only_one
from evenflow.studies.compare import frontier
from evenflow.studies.compare.measure import TEST
from evenflow.studies.compare.notices import notices
from evenflow.studies.compare.plan import (
    Request,
    Run,
    base_config,
    build_runs,
    settle,
)
from evenflow.studies.compare.pool import Job, Pool
from evenflow.studies.compare.progress import Progress
from evenflow.studies.compare.runner import base_job, prepare, read_result, read_summary, run_job
from evenflow.studies.compare.search import build_trials, changes_of, choose, chosen_before
from evenflow.studies.compare.specification import (
    require_measures,
    require_questions,
    searched_by,
    shared_questions,
    specification,
)
from evenflow.studies.compare.tables import (
    Results,
    pass_at_k_csv,
    to_csv,
    to_markdown,
    trials_table,
)
from evenflow.terminal import counted


class Comparison:
    """Checks everything before anything starts; `run` does what is left."""

    def __init__(self, request: Request) -> None:
        self.request = request
        refuse_other_kinds(request.folder, Kind.COMPARISON)
        self.config = base_config(request)
        self.runs = build_runs(request, {})
        self.trials = build_trials(request) if request.study.search else []
        require_questions(self.config, validation=bool(self.trials))
        if request.study.frontier:
            require_measures(self.config)
        self.by = searched_by(request, self.config) if self.trials else ""
        self.specification, self.cautions = specification(request, self.config)
        self.cautions += shared_questions(self.config, validation=bool(self.trials))
        self.search_table = ""

    def run(self) -> None:
        """Search, train, measure and write the tables; a signal ends it in good order."""
        folder = self.request.folder
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        # Of one that was killed, runs may be saving still: they hold the folder until they end.
        with only_one(folder, wait=True) as lock:
            base = folder / "base"
            others = [(base, self.config)]
            if self.trials:
                others += [(trial.run.folder, trial.run.config) for trial in self.trials]
                chosen_before(self.request)  # refuses a damaged file before anything is written
            settle(self.request, self.runs, others)
            self.announce()
            pool = Pool(self.request.jobs, lock)
            runs = self.runs
            if self.trials:
                runs = build_runs(self.request, self.search(pool))
            prepare(base, self.config)
            jobs = [base_job(base, self.specification)]
            for run in runs:
                prepare(run.folder, run.config)
                jobs.append(run_job(run, self.specification))
            self.work(pool, "compare", jobs, runs, lambda: self.write(runs))
            tables = f"tables      {folder / 'comparison.md'} and comparison.csv"
            console.print(tables, markup=False)
        if pool.failed:
            told = "\n".join(f"{name}: {words}" for name, words in pool.failed.items())
            raise UserError(f"{len(pool.failed)} of {len(jobs)} did not come to an end\n{told}")

    def search(self, pool: Pool) -> dict[str, list[Change]]:
        """Run the trials on validation questions; each label's best changes."""
        evaluation = self.config.evaluation
        validation = evaluation.model_copy(
            update={"skip": evaluation.skip + evaluation.questions}
        ).model_dump(mode="json")
        how = {"evaluation": validation, "ood": {}, "ood_questions": 1}
        jobs = []
        for trial in self.trials:
            prepare(trial.run.folder, trial.run.config)
            jobs.append(run_job(trial.run, how))
        self.work(pool, "search", jobs, [trial.run for trial in self.trials])
        scores: dict[str, float | None] = {}
        for trial in self.trials:
            result = read_result(trial.run.folder, how)
            if result is not None:
                score = result["sets"][TEST]["scores"][self.by]
                scores[str(trial.run.folder)] = math.nan if score is None else score
        chosen = choose(self.request, self.trials, scores)
        self.search_table = self.report(scores, chosen)
        for name, words in pool.failed.items():
            console.print(f"{name}: {words}", style="yellow", markup=False)
        pool.failed.clear()
        return chosen

    def work(
        self,
        pool: Pool,
        title: str,
        jobs: Sequence[Job],
        runs: Sequence[Run],
        each: Callable[[], None] = lambda: None,
    ) -> None:
        """Let the pool do the jobs, `each` after every one that is done; leave as shells expect
        (130, 143) if a signal ended it."""
        done = 0

        def watch(states: Mapping[str, str]) -> None:
            nonlocal done
            progress.watch(states)
            now = sum(state == "done" for state in states.values())
            if now > done:
                done = now
                each()

        with Progress(title, runs) as progress:
            pool.work(jobs, watch)
        if pool.stopped_by:
            goes_on = f"stopped; the same command goes on in {self.request.folder}"
            console.print(goes_on, markup=False)
            raise SystemExit(128 + pool.stopped_by)

    def report(
        self, scores: Mapping[str, float | None], chosen: Mapping[str, Sequence[Change]]
    ) -> str:
        """The trials as a table."""
        rows = []
        for variant in self.request.variants:
            for trial in (trial for trial in self.trials if trial.run.variant == variant):
                best = changes_of(variant, trial.values) == chosen[variant.label]
                score = scores.get(str(trial.run.folder))
                rows.append((variant.label, trial.values, score, best))
        run = self.trials[0].run
        evaluation = self.config.evaluation
        first = evaluation.skip + evaluation.questions
        return (
            f"One run of {run.config.train.answers:,} sampled answers for each row, seed "
            f"{run.seed}, measured on {evaluation.questions} questions after the first {first}, "
            "which are neither trained on nor reported above.\n\n" + trials_table(self.by, rows)
        )

    def announce(self) -> None:
        """What is going to happen."""
        request, run = self.request, self.runs[0]
        console.print(
            f"{counted(len(request.variants), 'algorithm')} × "
            f"{counted(len(request.study.seeds), 'seed')}, "
            f"{run.config.train.answers:,} sampled answers each, {request.jobs} at a time, "
            f"in {request.folder}"
            + (f", after {counted(len(self.trials), 'trial')} of the search" * bool(self.trials)),
            markup=False,
        )
        told = notices([each for each in self.runs if each.seed == run.seed])
        tried = [changes_of(trial.run.variant, trial.values) for trial in self.trials]
        named = {key for changes in tried for key, _ in changes}
        for kind, text in notices([trial.run for trial in self.trials], named):
            if (kind, text) not in told:
                told.append((kind, f"search: {text}"))
        told += [("take care", sentence) for sentence in self.cautions]
        for kind, text in told:
            console.print(f"{kind}   {text}", markup=False)

    def write(self, runs: Sequence[Run]) -> None:
        """comparison.md, comparison.csv and pass_at_k.csv, of the runs that are measured."""
        request = self.request
        results = Results([variant.label for variant in request.variants], request.point)
        base = read_result(request.folder / "base", self.specification)
        if base is None:
            return
        results.add_base(base)
        for run in runs:
            measured = read_result(run.folder, self.specification)
            if measured is not None:
                results.add(run.variant.label, run.seed, measured, read_summary(run.folder))
        curves = ""
        if request.study.frontier:
            frontiers = frontiers_of(request.baseline, base, runs, self.specification)
            curves = frontier.to_markdown(frontiers) + "\n"
            write_atomic(request.folder / CURVES, frontier.to_csv(frontiers))
        tables = to_markdown(results, self.search_table)
        text = f"{self.heading(runs)}\n{curves}{tables}"
        write_atomic(request.folder / "comparison.md", text)
        write_atomic(request.folder / "comparison.csv", to_csv(results))
        write_atomic(request.folder / "pass_at_k.csv", pass_at_k_csv(results))

    def heading(self, runs: Sequence[Run]) -> str:
        """What the tables are of, and how to read them."""
        request, answers = self.request, runs[0].config.train.answers
        recipe = Path(request.study.recipe).stem
        seeds = ", ".join(map(str, request.study.seeds))
        return f"""\
# {recipe}: {len(request.variants)} algorithms, {answers:,} sampled answers each

    {request.command}

Base model {self.config.model.path}, seeds {seeds}. Values are means over seeds ± half of their 95 %
interval (Student's t; none for a single seed), shares that ± would take below 0 or above 100 % with
the interval in brackets. Answers that dynamic sampling throws away count.
{platform.machine()}, {os.cpu_count()} cores, PyTorch {torch.__version__}, one thread a run,
jobs={request.jobs}. What the columns mean: docs/comparison.md.
"""


def frontiers_of(
    baseline: str, base: dict[str, Any], runs: Sequence[Run], specification: dict[str, Any]
) -> Frontiers:
    """The points of all measured runs: what was scored along training, and at the end."""
    found = Frontiers(baseline, scores_at_end(base))
    wanted = Counter((run.variant.curve, run.seed) for run in runs)
    there = Counter[tuple[str, int]]()
    for run in runs:
        measured = read_result(run.folder, specification)
        if measured is None:
            continue
        there[run.variant.curve, run.seed] += 1
        points = found.points.setdefault(run.variant.curve, [])
        last = read_summary(run.folder)["steps"]
        scored = along_training(run.folder, last, specification)
        if not any(scored.values()) and last > 1:
            found.ends.append((run.variant.label, run.seed))
        for step, scores in (scored | {last: scores_at_end(measured)}).items():
            known = {key: value for key, value in scores.items() if is_number(value)}
            if "accuracy" in known:  # none where no answer could be judged
                label, accuracy = run.variant.label, known["accuracy"]
                points.append(Point(label, run.seed, step, accuracy, known))
    found.partial = [(*k, there[k], count) for k, count in wanted.items() if 0 < there[k] < count]
    return found


def along_training(
    folder: Path, last: int, specification: dict[str, Any]
) -> dict[int, dict[str, Any]]:
    """Step → held-out scores before the last one; none of a run that was evaluated by other
    settings than it is measured by."""
    config = read_yaml(folder / "config.yaml") if (folder / "config.yaml").is_file() else {}
    own = EvaluationConfig.model_validate(config.get("evaluation", {}))
    if alike(own) != alike(EvaluationConfig.model_validate(specification["evaluation"])):
        return {}
    return {
        row["step"]: {k.removeprefix("test/"): row[k] for k in row if k.startswith("test/")}
        for row in read_jsonl(folder / "metrics.jsonl")
        if 0 < row["step"] < last
    }


def alike(evaluation: EvaluationConfig) -> dict[str, Any]:
    """What two evaluations must share for their scores to be of one kind."""
    return evaluation.model_dump(exclude={"every", "samples"})


def scores_at_end(measured: dict[str, Any]) -> dict[str, float]:
    """On the held-out questions, `accuracy` being what is known of it: exact, or sampled."""
    scores = {k: v for k, v in measured["sets"][TEST]["scores"].items() if v is not None}
    sampled = scores.get("accuracy_sampled", math.nan)
    return scores | {"accuracy": scores.get("accuracy", sampled)}
