"""The page in a real browser: nothing is loaded, nothing complains, the switches switch."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

from flowbalance.report.page.page import write_page  # noqa: E402

Make = Callable[..., Path]
HOSTILE = "</script><img src=x onerror=\"document.title='caught'\"><b>bold</b>"
LONG = "long " * 100 + "x" * 300  # with a word that does not fit in a line
HISTOGRAM = [0] * 60 + [1, 2, 4, 8, 16, 8, 4, 2, 1] + [0] * 60


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield found
    found.quit()


@pytest.fixture
def page(browser: Any, training_run: Make, evaluation: Make, tmp_path: Path) -> Any:
    """Two runs and an evaluation, as opened at 1280 × 900 by day."""
    runs = [
        training_run("left", **{"weight/p01": 0.9, "weight/histogram": HISTOGRAM, "lr": 0.5}),
        training_run("right", answers=["2*2=4", HOSTILE, "1*3=3", LONG], lr=0.25),
        evaluation(),
    ]
    samples = runs[1] / "samples.jsonl"  # one of its solutions is wrong
    samples.write_text(samples.read_text().replace("[1.0, 1.0, 1.0", "[1.0, 1.0, 0.0"))
    write_page(runs, tmp_path / "report.html")
    size(browser, 1280, 900)
    look(browser, "light")
    browser.get((tmp_path / "report.html").as_uri())
    yield browser
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def size(browser: Any, width: int, height: int) -> None:
    shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shape)


def look(browser: Any, scheme: str) -> None:
    wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    features = [{"name": name, "value": value} for name, value in wishes.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


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
    assert len(charts) == len(titles) == len(find(page, ".chart canvas"))
    assert {"Accuracy", "pass@k over k", "Loss", "Importance weights", "lr"} <= set(titles)
    assert all(shown for chart in charts for _, shown, _ in chart)
    curves = charts[titles.index("pass@k over k")]
    assert [run for run, _, _ in curves] == [0, 0, 1, 1, 2]  # before and after, and the benchmark
    blank = page.execute_script(
        "return [...document.querySelectorAll('.chart canvas')].filter((canvas) => "
        "!canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data"
        ".some((value) => value)).length"
    )
    assert blank == 0


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
    assert {"run", "axis", "smoothing", "theme"} == set(names)
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
    holder = find(page, ".chart")[0]
    page.execute_script(
        "arguments[0].scrollIntoView({behavior: 'instant', block: 'center'})", holder
    )
    over = holder.find_element(By.CSS_SELECTOR, ".u-over")
    webdriver.ActionChains(page).move_to_element_with_offset(over, 100, 0).perform()
    tips = [tip.text.split() for tip in find(page, ".tooltip") if tip.is_displayed()]
    assert tips == [["left", "50.0", "%", "step", "4", "right", "50.0", "%", "step", "4"]]


def test_day_and_night(page: Any) -> None:
    def ground() -> str:
        return page.execute_script("return getComputedStyle(document.body).backgroundColor")

    day = ground()
    switch(page, "theme", "dark")
    night = ground()
    assert day != night
    switch(page, "theme", "")
    assert ground() == day
    look(page, "dark")
    assert ground() == night
    switch(page, "theme", "light")
    assert ground() == day


def test_the_case_study_shows_both_sides(page: Any) -> None:
    left, right = find(page, ".side")
    assert left.find_element(By.TAG_NAME, "h3").text == "left, step 4"
    assert right.find_element(By.TAG_NAME, "h3").text == "right, step 4"
    heads = [head.text.split("\n") for head in left.find_elements(By.CSS_SELECTOR, ".head")]
    assert heads == [["✓ right", "2 of 4"], ["✓ right", "1 of 4"], ["✗ wrong", "1 of 4"]]
    assert "3 of 4 right · 2 different" in left.text
    Select(find(page, "#case-left")[0]).select_by_visible_text("aime")
    Select(find(page, "#case-right")[0]).select_by_visible_text("aime")
    assert page.switch_to.active_element.get_attribute("id") == "case-right"
    assert "How long?" in find(page, ".question")[0].text
    assert "204" in find(page, ".gold")[0].text
    assert "solution 204" in find(page, ".side")[0].text


def test_only_questions_on_which_they_differ(page: Any) -> None:
    assert "(1 of 1)" in find(page, ".pickers")[0].text
    for side in ("#case-left", "#case-right"):
        Select(find(page, side)[0]).select_by_visible_text("left, step 4")
    assert "(0 of 1)" in find(page, ".pickers")[0].text
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
    assert rows() == ["seed", "algorithm", "output", "train.steps", "train.learning_rate"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_down_only(page: Any, scheme: str) -> None:
    size(page, 390, 844)
    look(page, scheme)
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
