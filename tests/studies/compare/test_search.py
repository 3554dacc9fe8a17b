"""Which trial is best, and that every algorithm is given as many."""

from __future__ import annotations

from pathlib import Path

import pytest

from evenflow.commands.compare import parse
from evenflow.errors import UserError
from evenflow.studies.compare.comparison import Comparison
from evenflow.studies.compare.search import choose

SEARCH = ["search=train.learning_rate=1e-3,2e-3,4e-3", "search=importance=none,sequence"]


@pytest.fixture
def comparison(small: str, tmp_path: Path) -> Comparison:
    words = ["algorithms=tba,flowrl:epsilon=0.1", "ood=none", f"output={tmp_path / 'x'}"]
    return Comparison(parse([small, *words, *SEARCH]))


def test_the_same_grid_for_all(comparison: Comparison) -> None:
    trials = comparison.trials
    assert len(trials) == 2 * 3 * 2
    assert len({trial.run.folder for trial in trials}) == len(trials)
    grids = [
        [trial.values for trial in trials if trial.run.variant == variant]
        for variant in comparison.request.variants
    ]
    assert grids[0] == grids[1]
    budgets = {(trial.run.config.train.answers, trial.run.seed) for trial in trials}
    assert budgets == {(4, 1000)}  # a quarter of 8 is less than a step
    last = trials[-1].run.config
    assert last.train.learning_rate == 4e-3
    objective = last.build_objective().model_dump()
    assert (objective["importance"], objective["epsilon"]) == ("sequence", 0.1)


def test_trials_are_measured_at_their_end_alone(small: str, tmp_path: Path) -> None:
    """A curve shows its runs along training; of a trial only the end is looked at, on questions
    that the table does not have."""
    words = ["algorithms=tba", "ood=none", f"output={tmp_path / 'x'}", "frontier=true", SEARCH[0]]
    comparison = Comparison(parse([small, *words, "train.answers=48"]))
    assert {run.config.evaluation.every for run in comparison.runs} == {2}
    assert {trial.run.config.evaluation.every for trial in comparison.trials} == {0}


def test_the_best_is_each_algorithm_s_own(comparison: Comparison) -> None:
    """tba's best trial failed, and of two equals the first is taken."""
    of = {v.label: [t for t in comparison.trials if t.run.variant == v]
          for v in comparison.request.variants}  # fmt: skip
    scores: dict[str, float | None] = {str(t.run.folder): 0.1 for t in comparison.trials}
    scores[str(of["tba"][5].run.folder)] = None
    scores[str(of["tba"][2].run.folder)] = 0.4
    scores[str(of["tba"][3].run.folder)] = 0.4
    scores[str(of["flowrl:epsilon=0.1"][1].run.folder)] = 0.2
    chosen = choose(comparison.request, comparison.trials, scores)
    assert chosen == {
        "tba": [("train.learning_rate", 2e-3), ("objective.importance", "none")],
        "flowrl:epsilon=0.1": [
            ("train.learning_rate", 1e-3),
            ("objective.importance", "sequence"),
        ],
    }


def test_what_was_chosen_stays(comparison: Comparison) -> None:
    """A trial that failed, succeeds when it is tried again, and would now be the best."""
    folders = [str(trial.run.folder) for trial in comparison.trials]
    scores: dict[str, float | None] = dict.fromkeys(folders, 0.1)
    scores[folders[-1]] = None
    chosen = choose(comparison.request, comparison.trials, scores)
    assert chosen == choose(comparison.request, comparison.trials, scores | {folders[-1]: 0.9})
    (comparison.request.folder / "search" / "chosen.json").unlink()
    assert chosen != choose(comparison.request, comparison.trials, scores | {folders[-1]: 0.9})


def test_nothing_to_choose_from(comparison: Comparison) -> None:
    with pytest.raises(UserError, match=r"every trial of tba failed; see train\.log"):
        choose(comparison.request, comparison.trials, {})
