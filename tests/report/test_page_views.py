"""What the page lets one see and take away, in a real browser."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenflow.report.page import write_page

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
Make = Callable[..., Path]
SAVED = """
const done = arguments[arguments.length - 1];
const [selector, kind] = arguments;
const original = URL.createObjectURL;
URL.createObjectURL = (blob) => {
  URL.createObjectURL = original;
  const reader = new FileReader();
  reader.onload = () => done([blob.type, reader.result]);
  reader[kind === 'PNG' ? 'readAsDataURL' : 'readAsText'](blob);
  return 'data:,';
};
HTMLAnchorElement.prototype.click = () => {};
[...document.querySelector(selector).closest('figure').querySelectorAll('.save button')]
  .find((button) => button.textContent === kind).click();
"""


def saved(page: Any, selector: str, kind: str) -> list[str]:
    """Type and contents of what a chart's button saves."""
    return page.execute_async_script(SAVED, selector, kind)


def seeds(training_run: Make) -> list[Path]:
    """Two seeds of one algorithm, and another algorithm."""
    runs = [training_run(name, loss=value) for name, value in (("s0", 1.0), ("s1", 3.0))]
    config = runs[1] / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 1"))
    return [*runs, training_run("another", loss=7.0)]


def test_seeds_share_a_colour_a_mean_and_a_band(shown: Any, training_run: Make) -> None:
    page = shown(*seeds(training_run))
    shades = page.execute_script(
        "return [...document.querySelectorAll('.runs .swatch')].map((s) => s.className)"
    )
    assert shades == ["swatch run-0", "swatch run-0", "swatch run-1"]
    script = (
        "return document.querySelector('[data-section=optimisation] .chart').series"
        ".map((s) => [s.label ?? '', !!s.faint, !!s.edge, s.y[0]])"
    )
    assert page.execute_script(script)[1:5] == [
        ["s1", True, False, 3],
        ["", False, True, 1],
        ["", False, True, 3],
        ["flowrl, learning_rate 0.2, mean of 2 seeds", False, False, 2],
    ]
    assert "thin lines are single runs" in page.page_source
    page.execute_script("document.querySelector('input[name=run][value=\"1\"]').click()")
    labels = [label for label, *_ in page.execute_script(script)]
    assert "s0" in labels
    assert not any("mean of" in label for label in labels)


def test_accuracy_against_diversity_comes_first(shown: Any, training_run: Make) -> None:
    page = shown(*seeds(training_run))
    assert page.execute_script("return document.querySelector('main section').id") == "frontier"
    series = page.execute_script(
        "return document.querySelector('#frontiers .plot').series"
        ".map((s) => [s.label, !!s.faint, !!s.dial, s.x, s.y])"
    )
    path = [[0.25, 0.5], [2.0, 1.5]]
    dial = [[0.5, 0.5], [1.5, 1.5]]
    assert series == [
        ["s0", True, False, *path],
        ["s1", True, False, *path],
        ["flowrl, learning_rate 0.2, mean of 2 seeds", False, False, *path],
        ["another", False, False, *path],
        ["flowrl: train.learning_rate 0.2, 0.7", False, True, *dial],
    ]
    told = page.execute_script(
        "return [...document.querySelectorAll('#frontiers circle title')].map((t) => t.textContent)"
    )
    assert "another, step 4: accuracy 50.0 %, effective solutions 1.5" in told


def test_other_questions_are_another_chart(shown: Any, training_run: Make) -> None:
    runs = [training_run("a"), training_run("bb")]
    for run, count in zip(runs, (10, 20), strict=True):
        text = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(f"{text}evaluation: {{questions: {count}}}\n")
    page = shown(*runs)
    titles = page.execute_script(
        "return [...document.querySelectorAll('#frontiers h3')].map((h) => h.textContent)"
    )
    assert titles == [f"Accuracy and diversity on at most {n} questions" for n in (10, 20)]
    assert "scored on 2 different sets of questions" in page.page_source
    sets = page.execute_script(
        "return [...document.querySelectorAll('.final .set')].map((row) => row.textContent.trim())"
    )
    assert sets == ["Set 1: at most 10 questions", "Set 2: at most 20 questions"]


def test_charts_are_saved(shown: Any, training_run: Make) -> None:
    page = shown(training_run("a, b"))
    kind, text = saved(page, "[data-section=optimisation] .chart", "CSV")
    assert kind == "text/csv"
    assert text.splitlines()[:2] == ["series,step,Loss", '"a, b (raw)",1,8']
    kind, text = saved(page, "[data-section=optimisation] .chart", "SVG")
    assert kind == "image/svg+xml"
    assert all(word in text for word in (">Loss</text>", ">step</text>", ">a, b</text>"))
    kind, text = saved(page, "#frontiers .plot", "PNG")
    assert kind == "image/png"
    assert text.startswith("data:image/png;base64,iVBOR")
    _, text = saved(page, "#frontiers .plot", "CSV")
    assert text.splitlines()[1] == '"a, b",0,0.25,2'


def test_a_histogram_is_saved_as_weights_and_as_steps(shown: Any, training_run: Make) -> None:
    counts = [0] * 62 + [2, 4, 2] + [0] * 64
    page = shown(training_run(**{"weight/p01": 0.9, "weight/histogram": counts}))
    _, text = saved(page, "#histogram .chart", "CSV")
    assert text.splitlines()[:5] == [
        "series,weight,share of the answers",
        "run,0.878,0",  # 2^(-3/16)
        "run,0.917,0.25",
        "run,0.958,0.5",
        "run,1,0.25",
    ]
    assert len(text.splitlines()) == 6  # without the right edge of the last bin
    _, text = saved(page, "#histogram .chart", "SVG")
    (corners,) = re.findall(r'<path d="M([^"]*)"', text)
    x, y = zip(*(corner.split() for corner in corners.split("L")), strict=True)
    assert all((x[i] == x[i + 1]) != (y[i] == y[i + 1]) for i in range(1, len(x) - 2))


def test_a_zoomed_chart_is_saved_without_what_lies_beside_it(
    shown: Any, training_run: Make
) -> None:
    page = shown(training_run())
    page.execute_script(
        "document.querySelector('#pass-chart .chart').chart.setScale('x', { min: 2, max: 4 })"
    )
    _, text = saved(page, "#pass-chart .chart", "SVG")
    assert re.findall(r'<text[^>]*text-anchor="middle"[^>]*>(\d+)</text>', text) == ["2", "4"]
    assert text.count("<circle") == 4  # two of three points before, and two after


def test_only_raw_values_are_called_raw_where_seeds_step_back(
    shown: Any, training_run: Make
) -> None:
    page = shown(*seeds(training_run)[:2])
    _, text = saved(page, "[data-section=optimisation] .chart", "CSV")
    labels = {label for label, *_ in csv.reader(text.splitlines()[1:])}
    assert labels == {"s0", "s1", "flowrl, mean of 2 seeds"}


def test_scales_from_zero_and_logarithmic(shown: Any, training_run: Make) -> None:
    page = shown(training_run(resets=3.0), training_run("other", resets=5.0))

    def scale(name: str, section: str) -> list[float]:
        page.execute_script(f"document.querySelector('input[value={name}]').click()")
        return page.execute_script(
            f"const {{ y }} = document.querySelector('[data-section={section}] .chart')"
            ".chart.scales; return [y.distr, y.min, y.max]"
        )

    assert scale("fit", "optimisation")[1] > 0
    assert scale("zero", "optimisation")[1] == 0
    assert scale("zero", "held-out")[1] == 0
    assert scale("log", "optimisation")[0] == 3
    scale("fit", "distance")
    ticks = page.execute_script(
        "const { chart } = document.querySelector('[data-section=distance] .chart');"
        "return [chart.axes[0]._splits, chart.axes[1]._splits]"
    )
    assert all(float(v).is_integer() for axis in ticks for v in axis)  # whole steps, whole resets


def test_a_link_leads_to_a_question(shown: Any, training_run: Make) -> None:
    folder = training_run()
    text = (folder / "samples.jsonl").read_text()
    others = (text.replace("1,2,3>3:", f"{n},2,3>3:") for n in (4, 5))
    (folder / "samples.jsonl").write_text(text + "".join(others))
    page = shown(folder, at="#q=3")
    asked = "return document.querySelector('.question').textContent"
    assert page.execute_script(asked) == "5,2,3>3:"
    place = "return document.getElementById('cases').getBoundingClientRect().top"
    assert 0 <= page.execute_script(place) < 400
    page.execute_script("document.getElementById('case-previous').click()")
    assert page.current_url.endswith("#q=2")
    page.execute_script("location.hash = '#q=1'")
    page.wait_until("document.querySelector('.question').textContent === '1,2,3>3:'")


def test_the_question_that_differs_most_comes_first_and_search_finds_others(
    shown: Any, training_run: Make
) -> None:
    folder = training_run()
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    for row in list(rows):
        rewards = [1.0] * 4 if row["step"] else [0.0] * 4
        rows.append(row | {"prompt": "apart", "rewards": rewards})
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = shown(folder)
    asked = "return document.querySelector('.question')?.textContent ?? ''"
    assert page.execute_script(asked) == "apart"
    search = page.find_element("id", "case-search")
    search.send_keys("1,2,3")
    assert page.execute_script(asked) == "1,2,3>3:"
    assert page.switch_to.active_element == search
    search.send_keys("nowhere")
    assert "No question holds these words" in page.find_element("id", "case-study").text


def test_formulas_are_set_and_what_is_none_stays(shown: Any, training_run: Make) -> None:
    texts = ["\\(x^2\\) for $5 and $6", "so \\boxed{\\frac{1}{2}}", "\\(\\undefined{\\)", "$<b>$"]
    page = shown(training_run(answers=texts))
    shown_formulas = page.execute_script(
        "return [...document.querySelectorAll('.side:first-child .formula')].map((f) => f.title)"
    )
    assert {"\\(x^2\\)", "\\boxed{\\frac{1}{2}}", "$<b>$"} <= set(shown_formulas)
    loaded = "return document.fonts.load('12px KaTeX_Math').then((faces) => faces.length)"
    assert page.execute_script(loaded) >= 1
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    page.execute_script("document.getElementById('typeset').click()")
    assert page.execute_script("return document.querySelectorAll('.formula').length") == 0


def test_a_watched_page_keeps_its_choices(browser: Any, training_run: Make, tmp_path: Path) -> None:
    write_page([training_run("a"), training_run("bb")], tmp_path / "watched.html", 1.0)
    browser.get((tmp_path / "watched.html").as_uri())
    browser.execute_script(
        "document.querySelector('input[value=zero]').click();"
        "document.querySelector('input[name=run][value=\"1\"]').click(); window.old = true"
    )
    browser.wait_until("!window.old && document.readyState === 'complete'")
    kept = browser.execute_script(
        "return [document.querySelector('input[value=zero]').checked, "
        "document.querySelector('[data-run=\"1\"]').hidden, "
        "document.querySelector('[data-section=optimisation] .chart').chart.scales.y.min]"
    )
    assert kept == [True, True, 0]
    browser.get("about:blank")


CUT = """
const wide = document.documentElement.clientWidth;
return [...document.querySelectorAll('main *, header *, form *')].filter((element) => {
  if (!element.textContent.trim()) return false;
  if (element.closest('.scroll, .tooltip, .u-legend, svg, .katex')) return false;
  const box = element.getBoundingClientRect();
  if (!box.width || element.closest('[hidden]')) return false;
  const style = getComputedStyle(element);
  const clipped = style.overflowX === 'hidden' && element.scrollWidth > element.clientWidth + 1;
  const unseen = style.clipPath !== 'none';
  return !unseen && (clipped || box.right > wide + 1 || box.left < -1);
}).map((element) => `${element.tagName}.${element.className}: ${element.textContent.slice(0, 40)}`);
"""
"""Elements with text that leave the window, or that are cut by their own edge."""
AXES = """
return [...document.querySelectorAll('.plot text')].filter((text) => {
  const box = text.getBoundingClientRect();
  const frame = text.closest('svg').getBoundingClientRect();
  const across = box.left < frame.left - 1 || box.right > frame.right + 1;
  return across || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
}).map((text) => text.textContent);
"""


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_cut(
    shown: Any, size: Any, training_run: Make, evaluation: Make, width: int
) -> None:
    runs = [
        *seeds(training_run),
        training_run("a-run-with-a-rather-long-name-of-one-word"),
        evaluation(),
    ]
    entry = {"command": "evenflow train countdown " + "x" * 90, "started": "2026-01-01T00:00:00"}
    (runs[0] / "provenance.json").write_text(json.dumps({"starts": [entry]}))
    page = shown(*runs)
    size(width, 900)
    page.refresh()
    assert page.execute_script(CUT) == []
    assert page.execute_script(AXES) == []
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_a_phone_shows_scores_as_cards(shown: Any, size: Any, training_run: Make) -> None:
    page = shown(training_run())
    size(390, 844)
    page.refresh()
    cell = "const td = document.querySelector('.final td'); "
    name = page.execute_script(cell + "return getComputedStyle(td, '::before').content")
    assert name == '"accuracy"'
    fits = "const box = document.querySelector('.final').closest('.scroll');"
    assert page.execute_script(fits + "return box.scrollWidth <= box.clientWidth")


def test_a_tooltip_leaves_its_card_and_stays_in_the_window(shown: Any, training_run: Make) -> None:
    page = shown(*(training_run(f"a-rather-long-name-of-a-run-{'x' * n}") for n in range(9)))
    place = page.execute_script(
        "const holder = document.querySelector('[data-section=held-out] .chart');"
        "holder.scrollIntoView({behavior: 'instant', block: 'center'});"
        "holder.chart.setCursor({left: 200, top: 5});"
        "const tip = [...document.querySelectorAll('body > .tooltip')].find((t) => !t.hidden);"
        "const box = tip.getBoundingClientRect();"
        "return [box.left, innerWidth - box.right, box.top, innerHeight - box.bottom, "
        "tip.querySelectorAll('li').length]"
    )
    assert min(place[:4]) >= 0
    assert place[4] == 9
