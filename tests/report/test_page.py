"""The page as text, and the command that writes it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from evenflow.cli import main
from evenflow.report.page import asset, inline_json, make_page, page_of_run
from evenflow.report.tables import benchmark_cells

Make = Callable[..., Path]
HOSTILE = "</script><img src=x onerror=alert(1)><!-- <script> &amp; \u2028 \ud800"


class Parts(HTMLParser):
    """The tags of a page, and what stands in its data element, as a browser splits them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.data = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == ("script", {"type": "application/json", "id": "data"}):
            self.data += data
            return
        self.text.append(data)

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}", {}))

    @property
    def json(self) -> Any:
        return json.loads(self.data)


def test_the_page_loads_nothing(training_run: Make, evaluation: Make) -> None:
    page = Parts(make_page([training_run(), evaluation()]))
    policy = next(a["content"] for tag, a in page.tags if "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert not [a for _, a in page.tags if {"src", "data", "srcset"} & a.keys()]
    links = [a["href"] for _, a in page.tags if "href" in a]
    assert all(link and link.startswith(("#", "data:,")) for link in links)
    style = asset("page.css") + asset("uplot/uPlot.min.css")
    assert not re.search(r"url\(|@import", style)


def test_all_that_is_known_stands_on_the_page(training_run: Make, evaluation: Make) -> None:
    page = Parts(make_page([training_run(), evaluation()]))
    sections = [a["id"] for tag, a in page.tags if tag == "section"]
    assert sections == [
        *("frontier", "scores", "rewards", "held-out", "pass-at-k", "diversity", "cases"),
        *("training", "optimisation", "time", "settings"),
    ]
    text = " ".join(" ".join(page.text).split())
    for part in (
        *("50.0 %", "from 25.0 %", "+25.0", "−25.0 %"),  # accuracy; effective solutions
        *("aime24", "1 × 4", "50.0 % [25.0 %, 75.0 %]", "1:01", "2.28 [2, 2.5]"),
        *("seed 0 · 4 steps · 64 answers · 0:24", "train.learning_rate"),
        "rollout: 0:08, 33%",
    ):
        assert part in text, part
    assert [run["name"] for run in page.json["runs"]] == ["run", "aime"]


def test_scores_of_runs_that_have_not_ended(training_run: Make, pretraining: Make) -> None:
    early, late, base = training_run("early"), training_run("late"), pretraining()
    for folder in (early, late):
        (folder / "summary.json").unlink()
    rows = (early / "metrics.jsonl").read_text().splitlines(keepends=True)
    (early / "metrics.jsonl").write_text("".join(rows[:4]))
    text = " ".join(" ".join(Parts(make_page([early, late, base])).text).split())
    for part in (
        "flowrl · seed 0 · 3 steps · 48 answers · 0:18 · not ended – from 25.0 % – from 2",
        "flowrl · seed 0 · 4 steps · 64 answers · 0:24 · not ended · scores of step 4 50.0 % from",
        "pretraining · seed 0 · 4 steps 75.0 % –",
        "early: summary.json is missing: not ended; no evaluation after a step yet",
        "late: summary.json is missing: not ended; its scores are of step 4",
    ):
        assert part in text, part


def test_settings_that_differ_come_first(training_run: Make) -> None:
    text = " ".join(
        " ".join(Parts(make_page([training_run("a"), training_run("bb")])).text).split()
    )
    _, _, table = text.partition("only where the runs differ")
    places = [table.index(name) for name in ("train.learning_rate", "seed", "objective {} {}")]
    assert places == sorted(places)


def test_only_axes_that_a_run_has_are_offered(training_run: Make, pretraining: Make) -> None:
    def offered(*folders: Path) -> list[str | None]:
        return [a["value"] for _, a in Parts(make_page(folders)).tags if a.get("name") == "axis"]

    assert offered(training_run()) == ["step", "answers", "minutes"]
    assert offered(pretraining()) == []  # nothing to choose
    folder = training_run("other")
    text = (folder / "metrics.jsonl").read_text().replace('"answers"', '"other"')
    (folder / "metrics.jsonl").write_text(text)
    assert offered(folder) == ["step", "minutes"]


def test_weights_of_different_objectives_are_told_apart(training_run: Make) -> None:
    counts: Any = [0] * 64 + [5] + [0] * 64
    metrics = {"weight/p01": 0.9, "weight/p99": 1.1, "weight/histogram": counts}
    assert "comparable only between runs of one level" in make_page([training_run(**metrics)])


def test_answers_cannot_leave_their_element(training_run: Make) -> None:
    honest = Parts(make_page([training_run("a")]))
    hostile = Parts(make_page([training_run("b", answers=[HOSTILE, "x", "y", "z"])]))
    tags = [[tag for tag, _ in page.tags] for page in (honest, hostile)]
    assert tags[0] == tags[1]
    groups = hostile.json["cases"]["sides"][0]["cases"]["0"]["groups"]
    assert HOSTILE in [text["text"] for group in groups for text in group["texts"]]


def test_names_and_settings_are_escaped(training_run: Make) -> None:
    page = make_page([training_run("<u>&"), training_run("<i>")])
    assert "<u>&" not in page
    assert "&lt;u&gt;&amp;" in page


def test_json_within_html() -> None:
    text = inline_json({"a": ["</script>", "<!--", "&lt;", "\u2028"], "b": float("nan")})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": ["</script>", "<!--", "&lt;", "\u2028"], "b": None}


def test_what_is_missing_is_said(training_run: Make) -> None:
    folder = training_run()
    (folder / "metrics.jsonl").unlink()
    (folder / "samples.jsonl").unlink()
    page = Parts(make_page([folder]))
    text = " ".join(" ".join(page.text).split())
    assert "run: metrics.jsonl is missing: there are no curves of it" in text
    assert "samples.jsonl is missing: there are no answers of it to show" in text
    sections = [a["id"] for tag, a in page.tags if tag == "section"]
    assert sections == ["frontier", "scores", "pass-at-k", "settings"]


def test_what_several_runs_lack_is_said_once(training_run: Make) -> None:
    folders = [training_run(name) for name in ("a", "b", "c")]
    for folder in folders[:2]:
        (folder / "samples.jsonl").unlink()
    text = " ".join(" ".join(Parts(make_page(folders)).text).split())
    assert "a, b: samples.jsonl is missing" in text
    assert text.count("samples.jsonl is missing") == 1


def test_runs_on_policy_have_words_instead_of_a_histogram(training_run: Make) -> None:
    page = make_page([training_run(**{"weight/p01": 1.0, "weight/p99": 1.0})])
    assert "Every weight is exactly 1 in run" in page
    assert 'id="histogram"' not in page


def test_the_histogram_has_its_place(training_run: Make) -> None:
    counts: Any = [0] * 64 + [5] + [0] * 64
    metrics = {"weight/p01": 0.9, "weight/p99": 1.1, "weight/histogram": counts}
    assert 'id="histogram"' in make_page([training_run(**metrics)])


def test_the_default_file(
    training_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    first, second = training_run("first"), training_run("second")
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(first)]) == 0
    assert (first / "report.html").is_file()
    assert main(["report", str(first), str(second)]) == 0
    assert (tmp_path / "report.html").read_text().count('name="run"') == 2
    assert main(["report", str(first), "--out", "mine.html"]) == 0
    assert (tmp_path / "mine.html").is_file()
    assert capsys.readouterr().out.splitlines()[-1].split() == ["report", "mine.html"]
    assert main(["report", str(first), "--out", "new/folder/page.html"]) == 0
    assert (tmp_path / "new" / "folder" / "page.html").is_file()
    assert main(["report", "nowhere", "--out", "other/page.html"]) == 2
    assert not (tmp_path / "other").exists()


def test_refusals(training_run: Make, tmp_path: Path, capsys: Any) -> None:
    run = training_run()
    (tmp_path / "empty").mkdir()
    for arguments, reason in (
        ([tmp_path / "empty"], "neither a run nor an evaluation"),
        ([tmp_path / "nowhere"], "nowhere: there is no such folder\n"),
        ([run, "--out", tmp_path], "is a folder; name a file"),
        ([run, "--out", run / "config.yaml" / "page.html"], "config.yaml"),
    ):
        assert main(["report", *map(str, arguments)]) == 2
        assert reason in capsys.readouterr().err


def test_what_is_no_file_is_not_replaced(training_run: Make, tmp_path: Path, capsys: Any) -> None:
    run, pipe, link, loop = training_run(), *(tmp_path / name for name in ("pipe", "link", "loop"))
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    loop.symlink_to(loop)
    for out in (pipe, link, loop, Path("/dev/null")):
        assert main(["report", str(run), "--out", str(out)]) == 2
        assert (
            f"{out}: is not a regular file; name another (output=… or --out)"
            in capsys.readouterr().err
        )
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert loop.is_symlink()
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_link_to_a_file_stays_one(training_run: Make, tmp_path: Path) -> None:
    for name, text in (("kept", "old"), ("new", None)):
        target, link = tmp_path / f"{name}.html", tmp_path / f"{name}-link.html"
        if text is not None:
            target.write_text(text)
        link.symlink_to(target.name)
        assert main(["report", str(training_run(name)), "--out", str(link)]) == 0
        assert link.is_symlink()
        assert target.read_text().startswith("<!doctype html>")


def test_it_is_shown_on_demand(training_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    run = training_run()
    assert main(["report", str(run), "--open"]) == 0
    assert opened == [(run / "report.html").resolve().as_uri()]


def test_a_finished_run_does_not_fail_by_its_page(
    training_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training_run()
    assert page_of_run(run) == str(run / "report.html")

    def broken(*_: object) -> None:
        raise RuntimeError("no template")

    monkeypatch.setattr("evenflow.report.page.make_page", broken)
    assert page_of_run(run).startswith("none: no template; evenflow report ")


def test_an_evaluation_in_part_says_so() -> None:
    whole = {"questions": 30, "questions_asked": 30, "num_generations": 16}
    for changes, shown in (({}, "30 × 16"), ({"questions": 4}, "4 of 30 × 16")):
        assert benchmark_cells(whole | changes)["questions × answers"] == shown
    assert benchmark_cells({"questions": 3, "num_generations": 2})["questions × answers"] == "3 × 2"
    assert benchmark_cells({"rating": {"rating": 1503.2, "tries": 4}})["rating"] == "1,503"
