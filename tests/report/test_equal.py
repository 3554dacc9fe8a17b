"""Curves of a comparison on the page: what is kept at equal accuracy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenflow.report.equal import comparisons
from evenflow.report.page import make_page, write_page

Make = Callable[..., Path]
CSV = """curve,variant,seed,step,accuracy,effective_solutions,pass@16
base model,,,0,0.3,3,0.8
plain,plain:b=1,0,1,0.4,2,0.9
plain,plain:b=1,1,1,0.5,1,0.9
better,better:b=1,0,1,0.5,2,0.9
better,better:b=1,1,1,0.5,2,0.9
worse,worse,0,1,0.2,9,0.1
"""


@pytest.fixture
def study(training_run: Make, tmp_path: Path) -> Path:
    for name in ("plain", "better"):
        training_run(f"study/runs/{name}")
    (tmp_path / "study/runs/latest").symlink_to("better")
    (tmp_path / "study/frontier.csv").write_text(CSV)
    return tmp_path / "study"


def test_each_measure_has_curves_and_paired_differences(study: Path) -> None:
    (block,) = comparisons([study, study / "runs/plain", study])
    assert (block["title"], block["baseline"]) == ("study", "plain")
    effective, passed = block["measures"]
    assert [effective["name"], passed["heading"]] == ["effective solutions", "pass@16 (%)"]
    assert effective["left"] == ["worse"]
    # All reach 40 %: plain falls from 3 to 2 (seed 0) and to 2 (halfway to 1), better to 2.5.
    assert effective["heads"][3:] == ["at 40.0 %", "mean over the range"]
    plain, better = effective["rows"]
    assert plain == plain | {"label": "plain", "seeds": 2}
    assert plain["cells"][3] == {"value": "2.00 ± 0.00", "more": ""}
    assert better["cells"][3] == {"value": "2.50 ± 0.00", "more": "+0.50 ± 0.00"}
    first, second = effective["curves"]
    assert [first["x"][0], first["x"][-1], second["x"][-1]] == [0.3, 0.4, 0.5]
    assert [first[key][-1] for key in ("y", "low", "high")] == pytest.approx([2, 2, 2])
    # More accurate and more of it than the base model: 90 % from the beginning.
    assert passed["curves"][0]["y"][0] == 0.9


@pytest.mark.parametrize(
    "text",
    [
        *("", "a,b\n1,2\n", CSV.splitlines()[0], "\0", CSV + "x,y,z\n"),
        CSV + "x" * 200_000 + ",y\n",  # more than Python's csv takes in one field
        *(
            CSV.replace("0.4,2,", f"{cells},")
            for cells in ("nan,2", "0.4,nan", "inf,2", "0.4,1e999")
        ),
    ],
)
def test_a_damaged_file_costs_its_own_part(study: Path, text: str) -> None:
    (study / "frontier.csv").write_text(text)
    (block,) = comparisons([study])
    assert block["note"].startswith("frontier.csv cannot be read")
    page = make_page([study])
    assert "frontier.csv cannot be read" in page
    assert 'id="scores"' in page


def test_no_curve_that_rises_is_said(study: Path) -> None:
    (study / "frontier.csv").write_text("\n".join([*CSV.splitlines()[:2], CSV.splitlines()[-1]]))
    assert "no curve reaches an accuracy above" in make_page([study])


def test_without_curves_there_is_no_part(study: Path) -> None:
    (study / "frontier.csv").unlink()
    page = make_page([study])
    assert 'id="equal"' not in page
    assert "counts once" not in page  # of runs/latest


def test_curves_are_drawn_with_their_bands(shown: Any, study: Path) -> None:
    page = shown(study)
    assert page.execute_script("return document.querySelector('main section').id") == "equal"
    script = """
        const holder = document.querySelector('#equal .plot');
        const bands = holder.querySelectorAll('path[fill-opacity]').length;
        return [holder.series.map((s) => [s.label, s.y.at(-1)]), bands];
    """
    assert page.execute_script(script) == [[["plain", 2], ["better", 2]], 2]
    page.execute_script("document.querySelector('#equal input[value=\"pass@16\"]').click()")
    assert page.execute_script(script)[0] == [["plain", 0.9], ["better", 0.9]]
    rows = page.execute_script("return document.querySelector('#equal .plot').rows().slice(0, 2)")
    head = ["algorithm", "accuracy", "pass@16", "lowest", "highest"]
    assert rows == [head, ["plain", 0.3, 0.9, 0.9, 0.9]]


def test_labels_are_text(study: Path, tmp_path: Path) -> None:
    hostile = "</script><img src=x onerror=alert(1)>"
    (study / "frontier.csv").write_text(CSV.replace("plain", hostile))
    write_page([study], tmp_path / "page.html")
    assert "<img" not in (tmp_path / "page.html").read_text()
