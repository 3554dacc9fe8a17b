"""A comparison is gone on with in its folder: what is refused leaves it as it was, what may change
is taken, and runs of an earlier version stay usable."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from evenflow.cli import main
from evenflow.commands.compare import parse
from evenflow.errors import UserError
from evenflow.studies.compare.comparison import Comparison
from evenflow.studies.compare.plan import PLAN, build_runs, settle

Calls = Callable[..., list[tuple[str, str]]]
SEARCH = ["search=train.learning_rate=1e-3,2e-3", "search_answers=4"]


@pytest.fixture
def words(small: str, tmp_path: Path) -> list[str]:
    return [small, "algorithms=tba", "seeds=0", "ood=none", f"output={tmp_path / 'cmp'}"]


def files_of(folder: Path) -> dict[str, bytes]:
    """Contents of all that lies there, the tables aside, which each command writes again."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(("comparison", "pass_at_k"))
    }


@pytest.mark.parametrize(
    ("first", "change", "said"),
    [
        (["train.answers=8"], "train.steps=77", r"base: holds a run .*train\.steps was 2, not 77"),
        ([], "train.learning_rate=1e-2", r"train\.learning_rate of tba seed 0 was 0\.001"),
        (SEARCH, "search_answers=8", "its search is another one"),
    ],
)
def test_what_is_refused_changes_nothing(
    words: list[str], tmp_path: Path, calls: Calls, first: list[str], change: str, said: str
) -> None:
    calls()
    assert main(["compare", *words, *first]) == 0
    before = files_of(tmp_path / "cmp")
    kept = [word for word in first if word.partition("=")[0] != change.partition("=")[0]]
    with pytest.raises(UserError, match=said):
        Comparison(parse([*words, *kept, change])).run()
    assert files_of(tmp_path / "cmp") == before
    assert calls() == []
    assert main(["compare", *words, *first]) == 0


def test_the_trials_keep_their_seed_when_it_is_asked_for(
    words: list[str], tmp_path: Path, calls: Calls
) -> None:
    calls()
    assert main(["compare", *words, *SEARCH]) == 0
    path = tmp_path / "cmp" / PLAN
    plan = json.loads(path.read_text())
    assert plan["search"].pop("seed") == 1000
    path.write_text(json.dumps(plan))  # as earlier versions wrote it
    more = [word.replace("seeds=0", "seeds=0,1000,1001") for word in words]
    for _ in range(2):
        started = calls()
        assert main(["compare", *more, *SEARCH]) == 0
        assert all("seed 100" in name for name, _ in started)
    assert json.loads(path.read_text())["search"]["seed"] == 1000
    elsewhere = [word for word in more if not word.startswith("output=")]
    new = Comparison(parse([*elsewhere, *SEARCH, f"output={tmp_path / 'new'}"]))
    assert {trial.run.seed for trial in new.trials} == {1002}


def test_the_score_of_a_search_may_change_until_something_is_chosen(
    words: list[str], tmp_path: Path, calls: Calls
) -> None:
    calls(fail=("tba trial 0", "tba trial 1"))
    assert main(["compare", *words, *SEARCH, "search_by=pass@16"]) == 2
    calls()
    assert main(["compare", *words, *SEARCH, "search_by=distinct@16"]) == 0
    with pytest.raises(UserError, match="its search is another one"):
        Comparison(parse([*words, *SEARCH, "search_by=pass@16"])).run()


@pytest.mark.parametrize("text", ["{", "[]", "null"])
def test_a_damaged_choice_is_a_sentence(
    words: list[str], tmp_path: Path, calls: Calls, text: str
) -> None:
    folder = tmp_path / "cmp"
    (folder / "search").mkdir(parents=True)
    (folder / "search" / "chosen.json").write_text(text)
    with pytest.raises(UserError, match=r"chosen\.json: is damaged; remove it"):
        Comparison(parse([*words, *SEARCH])).run()
    assert not (folder / PLAN).exists()
    assert calls() == []


@pytest.mark.parametrize(
    ("field", "value", "other"),
    [
        ("train.schedule", "linear", "train.schedule=linear"),
        ("rollout.replay.keep", 5, "rollout.replay.keep=5"),
        ("train.betas", [0.5, 0.5], "train.betas=[0.5, 0.5]"),
    ],
)
def test_a_plan_from_before_a_field_has_its_default(
    words: list[str], field: str, value: object, other: str
) -> None:
    def begin(*more: str) -> Path:
        request = parse([*words, *more])
        settle(request, build_runs(request, {}))
        return request.folder / PLAN

    path = begin()
    plan = json.loads(path.read_text())
    assert plan["runs"]["tba seed 0"].pop(field) != value
    path.write_text(json.dumps(plan))
    with pytest.raises(UserError, match=f"{field} of tba seed 0 was"):
        begin(other)
    begin()


def test_an_adapter_is_no_default(words: list[str]) -> None:
    request = parse(words)
    settle(request, build_runs(request, {}))
    request = parse([*words, "model.lora={rank: 16}"])
    with pytest.raises(UserError, match=r"model\.lora.* of tba seed 0 was None"):
        settle(request, build_runs(request, {}))


# --- what cannot be in a comparison -------------------------------------------------------------


@pytest.mark.parametrize("value", ["rollout.max_completion_length=4", "rollout.stop=[1]"])
def test_all_runs_are_measured_alike(words: list[str], value: str) -> None:
    key = value.partition("=")[0]
    said = rf"{key} cannot differ between the runs: all runs are measured"
    for change in (
        [f"algorithms=tba,tba:{value}"],
        ["algorithms=tba", f"search={value}"],
        ["algorithms=tba", f"frontier={{tba: {{{key}: [{value.partition('=')[2]}, 7]}}}}"],
    ):
        with pytest.raises(UserError, match=said):
            Comparison(parse([words[0], "ood=none", *change]))
    Comparison(parse([*words, value]))  # for all of them


def test_runs_that_nobody_could_go_on_with(words: list[str]) -> None:
    said = r"checkpoint\.weights_only: compare goes on with interrupted runs"
    with pytest.raises(UserError, match=f"^{said}"):
        Comparison(parse([*words, "checkpoint.weights_only=true"]))
    given = [word for word in words if not word.startswith("algorithms=")]
    with pytest.raises(UserError, match=rf"^tba:checkpoint\.weights_only=true: {said}"):
        Comparison(parse([*given, "algorithms=tba:checkpoint.weights_only=true"]))
