"""What a person sees of a run."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from evenflow.run import console as display
from evenflow.run.console import Display, before_after, duration, show_rows


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (59.6, "1:00"),
        (61, "1:01"),
        (3599, "59:59"),
        (3600, "1:00:00"),
        (36061, "10:01:01"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def screen(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> io.StringIO:
    out = io.StringIO()
    console = Console(
        file=out,
        force_terminal=terminal,
        width=100,
        highlight=False,
        soft_wrap=True,
        color_system=None,
    )
    monkeypatch.setattr(display, "console", console)
    return out


def test_plain_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out = screen(monkeypatch, terminal=False)
    with Display("tba", 4) as shown:
        for step in (1, 2, 3, 4):
            shown.now("rollout")
            shown.update(step, {"reward": f"{step / 10:.3f}"})
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("step 1/4  reward 0.100  left 0:")
    assert lines[-1] == "step 4/4  reward 0.400  left 0:00"
    assert len(lines) == 2  # the others came within ten seconds


def test_plain_lines_come_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    out = screen(monkeypatch, terminal=False)
    now = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    shown = Display("tba", 100, start=10)
    assert shown.left == "–"
    for step in range(11, 21):
        now[0] += 4.0
        shown.update(step, {})
    # The first, then each one that comes ten seconds or more after the last printed.
    steps = [line.split("/")[0] for line in out.getvalue().splitlines()]
    assert steps == ["step 11", "step 14", "step 17", "step 20"]
    assert shown.left == duration(4.0 * 80)


def test_a_live_line_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out = screen(monkeypatch, terminal=True)
    with Display("tba", 4) as shown:
        shown.now("learning")
        shown.update(3, {"reward": "0.250", "log Z": "1.50"})
    text = out.getvalue()
    for part in ("tba", "3/4", "reward 0.250", "log Z 1.50", "left 0:0", "learning"):
        assert part in text


def test_a_worse_negative_reward_is_no_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    out = screen(monkeypatch, terminal=False)
    display.console.print(before_after({"reward": -50.0}, {"reward": -75.0}))
    assert "-50.0%" in out.getvalue()


def test_the_table_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    out = screen(monkeypatch, terminal=False)
    before = {"accuracy": 0.3, "pass@8": 0.8, "effective_solutions": 2.0, "diversity": 0.0, "x": 1}
    before |= {"pass@32": 0.9}
    after = {"accuracy": 0.41, "pass@8": 0.79, "effective_solutions": 1.5, "diversity": 0.5}
    after |= {"pass@32": 0.9}
    display.console.print(before_after(before, after))
    text = out.getvalue()
    rows = {line.split()[1]: line for line in text.splitlines() if line.startswith("│")}
    assert rows["accuracy"].replace("│", "").split() == [
        "accuracy",
        "30.0%",
        "41.0%",
        "+11.0",
        "points",
    ]
    assert "-1.0 points" in rows["pass@8"]
    assert "-25.0%" in rows["effective_solutions"]
    assert "–" in rows["diversity"]
    assert "pass@32" not in rows  # a curve on the page, too many for a table
    assert "x" not in rows  # measured only before: a resumed run may ask for other scores


def test_facts_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    out = screen(monkeypatch, terminal=False)
    show_rows("run", [("model", "runs/[a]/x"), ("device", "CPU")])
    assert out.getvalue() == "run\n  model   runs/[a]/x\n  device  CPU\n"


def test_a_score_that_is_not_known_is_a_dash() -> None:
    out = io.StringIO()
    nan = math.nan
    Console(file=out, width=100).print(
        before_after({"accuracy": nan, "reward": 1.0}, {"accuracy": 0.5, "reward": nan})
    )
    assert "nan" not in out.getvalue()
    assert out.getvalue().count("–") == 4


def test_without_scores_before_the_table_has_those_after() -> None:
    buffer = io.StringIO()
    Console(file=buffer, width=80).print(before_after({}, {"accuracy": 0.5}))
    assert "0.500" in buffer.getvalue()
