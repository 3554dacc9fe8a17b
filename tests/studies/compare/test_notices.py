"""What is said before a comparison starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evenflow.cli import main
from evenflow.commands.compare import parse
from evenflow.studies.compare.comparison import Comparison
from evenflow.studies.compare.notices import notices


def said(small: str, *words: str) -> list[tuple[str, str]]:
    return notices(Comparison(parse([small, "seeds=0", "ood=none", *words])).runs)


def test_what_changes_nothing_is_said_of_its_variant(small: str) -> None:
    (found,) = said(small, "algorithms=tba,tba:linex_alpha=2")
    assert found[0] == "no effect"
    assert found[1].startswith("tba:linex_alpha=2: objective.linex_alpha: only regression: linex")


def test_a_field_of_the_recipe_that_some_have_a_use_for(small: str) -> None:
    """A head's settings are for those who have one; where nobody has, it is said."""
    assert said(small, "algorithms=tba,flowrl", "head.layers=2") == []
    ((kind, text),) = said(small, "algorithms=tba,rloo", "head.layers=2")
    assert (kind, text.partition(":")[0]) == ("no effect", "head.layers")


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ("tba:inverse_temperature=3", "tba:inverse_temperature=4"),
        ("tba:train.learning_rate=1e-3", "tba:train.learning_rate=2e-3"),
    ],
)
def test_variants_that_are_one_run(small: str, own: str, other: str) -> None:
    """The recipe of tba has β 3 and that rate itself."""
    assert said(small, f"algorithms=tba,{own},{other}") == [
        ("no effect", f"{own}: makes the very runs of tba")
    ]


def test_cautions_are_said_once(small: str) -> None:
    """Of all runs, or with the names of those that they are meant for."""
    found = said(small, "algorithms=tba,flowrl", "train.warmup_steps=2")
    (text,) = [text for kind, text in found if kind == "take care"]
    assert text.startswith("train.warmup_steps: 2")
    (found,) = said(small, "algorithms=flowrl,rloo,grpo", "train.epochs=2")
    assert found[0] == "take care"
    assert found[1].startswith("rloo: objective.ratio: none")


def test_they_stand_before_the_first_run(
    small: str, tmp_path: Path, calls: Callable[..., list], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a search as well, whose trials would all be one."""
    assert calls(stop_after=0) == []
    words = [small, "algorithms=flowrl,rloo", "seeds=0", "ood=none", f"output={tmp_path / 'cmp'}"]
    assert main(["compare", *words, "search=head.layers=2,4"]) == 130
    out = " ".join(capsys.readouterr().out.split())
    assert "no effect search: rloo: head.layers: only log_z: head has a head" in out
