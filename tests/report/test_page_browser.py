"""The page in a real browser: nothing is loaded, nothing complains, the switches switch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

from evenflow.report.page import write_page  # noqa: E402

Make = Callable[..., Path]
HOSTILE = "</script><img src=x onerror=\"document.title='caught'\"><b>bold</b>"
LONG = "long " * 100 + "x" * 300  # with a word that does not fit in a line
HISTOGRAM = [0] * 60 + [1, 2, 4, 8, 16, 8, 4, 2, 1] + [0] * 60


@pytest.fixture
def page(
    browser: Any, size: Any, look: Any, training_run: Make, evaluation: Make, tmp_path: Path
) -> Any:
    """Two runs and an evaluation, as opened at 1280 × 900 by day."""
    runs = [
        training_run("left", **{"weight/p01": 0.9, "weight/histogram": HISTOGRAM, "lr": 0.5}),
        training_run("right", answers=["2*2=4", HOSTILE, "1*3=3", LONG], lr=0.25),
        evaluation(),
    ]
    samples = runs[1] / "samples.jsonl"  # one of its solutions is wrong
    samples.write_text(samples.read_text().replace("[1.0, 1.0, 1.0", "[1.0, 1.0, 0.0"))
    write_page(runs, tmp_path / "report.html")
    size(1280, 900)
    look("light")
    browser.get((tmp_path / "report.html").as_uri())
    yield browser
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def find(browser: Any, selector: str) -> list[Any]:
    return browser.find_elements(By.CSS_SELECTOR, selector)


def switch(browser: Any, name: str, value: str) -> None:
    """Click a switch, as a person does: on its label."""
    box = f'input[name="{name}"][value="{value}"]'
    browser.execute_script(f"document.querySelector('{box}').closest('label').click()")


def series(browser: Any) -> list[list[list[Any]]]:
    """(run, shown, number of points) of each series of each chart."""
    return browser.execute_script(
        "return [...document.querySelectorAll('.chart')].map((holder) => holder.runs.map("
        "(run, i) => [run, holder.chart.series[i + 1].show, holder.chart.data[i + 1].length]))"
    )


def test_charts_are_drawn(page: Any) -> None:
    charts = series(page)
    titles = [element.text for element in find(page, "figcaption h3")]
    assert len(titles) == len(charts) + 1  # and accuracy against diversity, which is no canvas
    assert len(charts) == len(find(page, ".chart canvas"))
    titles.pop(0)
    assert {"Accuracy", "pass@k over k", "Loss", "Importance weights", "lr"} <= set(titles)
    assert all(shown for chart in charts for _, shown, _ in chart)
    curves = charts[titles.index("pass@k over k")]
    assert [run for run, _, _ in curves] == [0, 0, 1, 1, 2]  # before and after, and the benchmark


def with_rows(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


PAINTED = """
const colours = (run) => {
  const swatch = document.querySelector(`.swatch.run-${run}`);
  return getComputedStyle(swatch).backgroundColor.match(/[\\d.]+/g).map(Number);
};
return Object.fromEntries([...document.querySelectorAll('figure:has(canvas)')].map((figure) => {
  const { width, height } = figure.querySelector('canvas');
  const context = figure.querySelector('canvas').getContext('2d');
  const pixels = context.getImageData(0, 0, width, height).data;
  const runs = [...new Set(figure.querySelector('.chart').runs)];
  const painted = runs.map((run) => {
    const [red, green, blue] = colours(run);
    let count = 0;
    for (let i = 0; i < pixels.length; i += 4) {
      const off = [pixels[i] - red, pixels[i + 1] - green, pixels[i + 2] - blue].map(Math.abs);
      if (pixels[i + 3] > 200 && Math.max(...off) < 30) count++;
    }
    return [run, count];
  });
  return [figure.querySelector('h3').textContent, Object.fromEntries(painted)];
}));
"""
"""Pixels in the colour of each run, by chart."""


def test_every_run_is_seen_in_its_colour(shown: Any, training_run: Make, evaluation: Make) -> None:
    # No two curves lie on each other. Of one point, of two, and of many; shares and others.
    level = {"log_z/true": 3.0, "test/accuracy": 0.2, "test/length": 7.0}
    first = with_rows(
        training_run("first"),
        [
            {"step": 0} | level,
            {"step": 1, "loss": 3.0, "alone": 0.5, "log_z/used": 1.0},
            {"step": 2, "loss": 2.5, "log_z/used": 1.5},
        ],
    )
    second = with_rows(
        training_run("second"),
        [
            {"step": 0, "test/accuracy": 0.4, "test/length": 5.0},
            *({"step": s, "loss": 1.0 + s % 3 / 9, "alone": 0.7} for s in range(1, 60)),
            {"step": 60, "test/accuracy": 0.6, "loss": 1.2},
        ],
    )
    summary = json.loads((second / "summary.json").read_text())
    for when, scores in (("before", [0.3, 0.4, 0.6]), ("after", [0.35, 0.6, 0.8])):
        names = ("accuracy", "pass@2", "pass@4")
        summary[when] = dict(zip(names, scores, strict=True))
    (second / "summary.json").write_text(json.dumps(summary))
    page = shown(first, second, evaluation())
    found = page.execute_script(PAINTED)
    runs = {title: sorted(of) for title, of in found.items()}
    assert runs == {
        "Accuracy": ["0", "1"],
        "pass@k over k": ["0", "1", "2"],
        "Length": ["0", "1"],
        "log Z": ["0"],
        "Loss": ["0", "1"],
        "alone": ["0", "1"],
    }
    assert not [(title, of) for title, of in found.items() if min(of.values()) < 8]
    marks = page.execute_script(
        "return Object.fromEntries("
        "[...document.querySelectorAll('figure:has(canvas)')].map((figure) => {"
        "const { chart } = figure.querySelector('.chart');"
        "return [figure.querySelector('h3').textContent, "
        "chart.series.slice(1).map((series, i) => series.points.show(chart, i + 1))]}))"
    )
    assert marks["Accuracy"] == [True, True]  # one point, and two
    assert marks["log Z"] == [True, False]  # two steps; a value that holds between two places
    assert marks["alone"] == [True, False, False]  # one point; fifty-nine, and their average


def test_smoothing_of_a_long_run_is_of_all_its_steps(shown: Any, training_run: Make) -> None:
    rows = [{"step": s, "loss": 10.0 if s % 100 == 0 else 0.1} for s in range(1, 20_001)]
    page = shown(with_rows(training_run(), rows))
    script = (
        "const { chart } = document.querySelector('[data-section=optimisation] .chart');"
        "return chart.data.slice(1).map((values) => [...values].filter((value) => value != null))"
    )
    switch(page, "smoothing", "0.95")
    raw, smooth = page.execute_script(script)
    assert max(raw) == 10
    assert sum(smooth) / len(smooth) == pytest.approx(0.99 * 0.1 + 0.01 * 10, rel=0.02)
    # Stretches of forty steps; the spikes of steps 100 and 200 are in the third and the fifth.
    low, high, kept = 0.1, 0.1 + 9.9 / 40, 0.95**40
    parts = [low, low, high, low, high]
    for count in range(1, 6):
        weights = [kept ** (count - 1 - i) for i in range(count)]
        mean = sum(w * v for w, v in zip(weights, parts, strict=False)) / sum(weights)
        assert smooth[count - 1] == pytest.approx(mean, rel=1e-4)


def test_an_axis_that_a_chart_lacks(shown: Any, training_run: Make, pretraining: Make) -> None:
    page = shown(training_run(), pretraining())
    switch(page, "axis", "answers")
    titles = [element.text for element in find(page, "figure:not(.frontier) figcaption h3")]
    charts = dict(zip(titles, find(page, ".chart"), strict=True))
    words = "None of the runs with this metric has counted its answers."
    assert charts["grad_norm"].text == words
    assert charts["Loss"].find_elements(By.TAG_NAME, "canvas")
    # The charts after it stand across answers too.
    assert page.execute_script(
        "return [...document.querySelectorAll('[data-section] .chart')].filter((h) => h.chart)"
        ".every((holder) => [0, 16].includes(holder.chart.data[0][0]))"
    )
    switch(page, "run", "1")
    switch(page, "axis", "step")
    assert charts["grad_norm"].find_elements(By.TAG_NAME, "canvas")


def test_a_chart_that_fails_costs_itself(page: Any) -> None:
    page.execute_script(
        "const holder = document.querySelectorAll('.chart')[0];"
        "Object.defineProperty(holder, 'clientWidth', { get() { throw new Error('broken'); } });"
    )
    switch(page, "axis", "answers")
    first, *_, last = find(page, "[data-section] .chart")
    assert first.text == "This chart could not be drawn."
    assert page.execute_script("return arguments[0].chart.data[0].at(-1)", last) == 64
    messages = [entry["message"] for entry in page.get_log("browser")]
    assert len([message for message in messages if "broken" in message]) == len(messages) > 0


def test_a_run_is_switched_off_everywhere(page: Any) -> None:
    switch(page, "run", "1")
    charts = series(page)
    assert all(shown == (run != 1) for chart in charts for run, shown, _ in chart)
    assert any(run == 1 for chart in charts for run, _, _ in chart)
    hidden = find(page, '[data-run="1"]')
    assert len(hidden) >= 3  # its rows of the tables, its bar, its settings
    assert not any(element.is_displayed() for element in hidden)
    switch(page, "run", "1")
    assert all(shown for chart in series(page) for _, shown, _ in chart)
    assert find(page, 'tr[data-run="1"]')[0].is_displayed()


def test_switches_are_reached_by_keyboard(page: Any) -> None:
    box = find(page, 'input[name="run"][value="0"]')[0]
    box.send_keys(" ")
    assert not any(shown for chart in series(page) for run, shown, _ in chart if run == 0)
    names = [box.get_attribute("name") for box in find(page, "#switches input")]
    assert {"run", "axis", "smoothing", "scale", "theme"} == set(names)
    for control in find(page, "#switches input, select, button"):
        assert control.accessible_name


def test_the_x_axis_and_smoothing(page: Any) -> None:
    def loss() -> dict[str, list[float]]:
        return page.execute_script(
            "const holder = [...document.querySelectorAll('.chart')].find((chart) => "
            "chart.getAttribute('aria-label').startsWith('Loss'));"
            "return {x: [...holder.chart.data[0]], y: [...holder.chart.data.at(-1)]}"
        )

    assert loss()["x"] == [1, 2, 3, 4]
    switch(page, "axis", "answers")
    assert loss()["x"] == [16, 32, 48, 64]
    switch(page, "axis", "minutes")
    assert loss()["x"] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    switch(page, "smoothing", "0")
    raw = [8.0, 4.0, 2.6667, 2.0]
    assert loss()["y"] == pytest.approx(raw)
    switch(page, "smoothing", "0.8")
    mean = (0.8 * 0.2 * raw[0] + 0.2 * raw[1]) / (0.8 * 0.2 + 0.2)
    assert loss()["y"][:2] == pytest.approx([8.0, mean])


def test_hover_tells_values(page: Any) -> None:
    holder = find(page, "[data-section=held-out] .chart")[0]
    page.execute_script(
        "arguments[0].scrollIntoView({behavior: 'instant', block: 'center'})", holder
    )
    over = holder.find_element(By.CSS_SELECTOR, ".u-over")
    webdriver.ActionChains(page).move_to_element_with_offset(over, 100, 0).perform()
    tips = [tip.text.split() for tip in find(page, ".tooltip") if tip.is_displayed()]
    assert tips == [["left", "50.0", "%", "step", "4", "right", "50.0", "%", "step", "4"]]


def test_day_and_night(page: Any, look: Any) -> None:
    def ground() -> str:
        return page.execute_script("return getComputedStyle(document.body).backgroundColor")

    day = ground()
    switch(page, "theme", "dark")
    night = ground()
    assert day != night
    switch(page, "theme", "")
    assert ground() == day
    look("dark")
    assert ground() == night
    switch(page, "theme", "light")
    assert ground() == day


def test_the_case_study_shows_both_sides(page: Any) -> None:
    left, right = find(page, ".side")
    assert left.find_element(By.TAG_NAME, "h3").text == "left, step 4"
    assert right.find_element(By.TAG_NAME, "h3").text == "right, step 4"
    heads = [head.text.split("\n") for head in left.find_elements(By.CSS_SELECTOR, ".head")]
    assert heads == [
        ["✓ right", "there 2 of 4", "2 of 4"],
        ["✓ right", "only here", "1 of 4"],
        ["✗ wrong", "1 of 4"],
    ]
    assert "3 of 4 right · 2 different" in left.text
    Select(find(page, "#case-left")[0]).select_by_visible_text("aime")
    Select(find(page, "#case-right")[0]).select_by_visible_text("aime")
    assert page.switch_to.active_element.get_attribute("id") == "case-right"
    assert "How long?" in find(page, ".question")[0].text
    assert "204" in find(page, ".gold")[0].text
    assert "solution 204" in find(page, ".side")[0].text


def test_the_buttons_keep_the_focus(shown: Any, training_run: Make) -> None:
    folder = training_run()
    samples = folder / "samples.jsonl"
    text = samples.read_text()
    samples.write_text(text + text.replace("1,2,3>3:", "4,2,3>3:"))
    page = shown(folder)
    for name, question in (("case-next", "4,2,3>3:"), ("case-previous", "1,2,3>3:")):
        button = find(page, f"#{name}")[0]
        assert button.get_attribute("aria-disabled") == "false"
        button.send_keys("\n")
        for _ in range(2):  # at the end it stays, and does nothing
            active = page.switch_to.active_element
            assert active.get_attribute("id") == name
            assert active.get_attribute("aria-disabled") == "true"
            assert question in find(page, ".question")[0].text
            active.send_keys("\n")


def test_a_run_switched_off_leaves_the_case_study(page: Any) -> None:
    switch(page, "run", "1")
    left, right = find(page, ".side")
    assert right.text.split("\n") == ["right, step 4", "This run is switched off above."]
    assert "3 of 4 right" in left.text
    switch(page, "run", "1")
    assert "of 4 right" in find(page, ".side")[1].text


def test_another_template_is_shown(shown: Any, evaluation: Make) -> None:
    folders = [evaluation("plain"), evaluation("boxed")]
    answers = folders[1] / "answers.jsonl"
    answers.write_text(answers.read_text().replace("How long?", "How long? Box it."))
    left, right = find(shown(*folders), ".side")
    assert "asked" not in left.text
    assert "asked in these words\nHow long? Box it." in right.text
    assert all("2 of 4 right" in side.text for side in (left, right))


def test_only_questions_on_which_they_differ(page: Any) -> None:
    assert "(1 of 1)" in find(page, "#case-study")[0].text
    for side in ("#case-left", "#case-right"):
        Select(find(page, side)[0]).select_by_visible_text("left, step 4")
    assert "(0 of 1)" in find(page, "#case-study")[0].text
    box = find(page, "#differing-cases")[0]
    page.execute_script("arguments[0].click()", box)
    assert "no question on which they differ" in find(page, "#case-study")[0].text


def test_answers_are_text_and_nothing_else(page: Any) -> None:
    assert page.title != "caught"
    assert find(page, "#case-study img, #case-study b b") == []
    right = find(page, ".side")[1]
    assert HOSTILE in right.text
    folded = right.find_element(By.CSS_SELECTOR, "details:not(.rest)")
    assert folded.get_attribute("open") is None
    folded.find_element(By.TAG_NAME, "summary").click()
    assert LONG in right.text


def test_settings_only_where_they_differ(page: Any) -> None:
    def rows() -> list[str]:
        found = find(page, ".settings tbody tr")
        return [row.find_element(By.TAG_NAME, "code").text for row in found if row.is_displayed()]

    assert rows() == ["train.learning_rate"]
    page.execute_script("document.getElementById('differing').click()")
    assert rows() == [
        *("train.learning_rate", "seed", "algorithm", "output", "objective", "train.steps")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_down_only(page: Any, size: Any, look: Any, scheme: str) -> None:
    size(390, 844)
    look(scheme)
    page.refresh()
    wide = "return document.documentElement.scrollWidth"
    assert page.execute_script(wide) <= 390
    page.execute_script(
        "document.querySelectorAll('details').forEach((fold) => (fold.open = true))"
    )
    assert page.execute_script(wide) <= 390
    left, right = (side.rect for side in find(page, ".side"))
    assert (left["x"], left["width"]) == (right["x"], right["width"])
    assert left["y"] + left["height"] < right["y"]  # one below the other
    widths = [chart.size["width"] for chart in find(page, ".chart canvas")]
    assert all(0 < width <= 390 for width in widths)
