"""Folders as training and evaluation leave them, small enough to know every number."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evenflow.report.page import write_page


def lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def training_run(tmp_path: Path) -> Callable[..., Path]:
    """A run of four steps, evaluated before and after; arguments replace what a step logs."""

    def make(name: str = "run", answers: list[str] | None = None, **metrics: float) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(
            f"seed: 0\nalgorithm: flowrl\noutput: {folder}\nobjective: {{}}\n"
            f"train: {{steps: 4, learning_rate: {len(name) / 10}}}\n"
        )
        before = {"accuracy": 0.25, "pass@2": 0.375, "pass@4": 0.5, "effective_solutions": 2.0}
        after = {"accuracy": 0.5, "pass@2": 0.625, "pass@4": 0.75, "effective_solutions": 1.5}
        rows: list[dict[str, Any]] = [{"step": 0} | {f"test/{k}": v for k, v in before.items()}]
        for step in range(1, 5):
            row = {"loss": 8.0 / step, "answers": 16.0 * step, "reward/mean": step / 8}
            row |= {"seconds/rollout": 2.0, "seconds/learning": 4.0, "reward/unknown": 0.0}
            rows.append({"step": step} | row | metrics)
        rows[-1] |= {f"test/{k}": v for k, v in after.items()}
        (folder / "metrics.jsonl").write_text(lines(rows))
        texts = answers or ["1+2=3", "2+1=3", "1*3=3", "1+1=2"]
        (folder / "samples.jsonl").write_text(
            lines(
                {
                    "step": step,
                    "prompt": "1,2,3>3:",
                    "answers": texts,
                    "rewards": [1.0, 1.0, 1.0, 0.0],
                    "finished": [True] * 4,
                    "classes": ["1+2", "1+2", "1*3", None],
                }
                for step in (0, 4)
            )
        )
        summary = {"algorithm": "flowrl", "seed": 0, "steps": 4, "before": before, "after": after}
        (folder / "summary.json").write_text(json.dumps(summary))
        return folder

    return make


@pytest.fixture
def pretraining(tmp_path: Path) -> Callable[..., Path]:
    """A model made from demonstrations: evaluated at every second step, never before the first."""

    def make(name: str = "base", steps: int = 4) -> Path:
        folder = tmp_path / name
        (folder / "model").mkdir(parents=True)
        (folder / "config.yaml").write_text(
            f"seed: 0\ntask: countdown\nsteps: {steps}\narchitecture: {{hidden_size: 8}}\n"
        )
        rows: list[dict[str, Any]] = [
            {"step": s, "loss": 8.0 / s, "grad_norm": 1.0 + s} for s in range(1, steps + 1)
        ]
        rows[1]["test/accuracy"], rows[3]["test/accuracy"] = 0.5, 0.75
        (folder / "metrics.jsonl").write_text(lines(rows))
        return folder

    return make


@pytest.fixture
def evaluation(tmp_path: Path) -> Callable[..., Path]:
    """An evaluation of one question, four answers: two right ones alike, a wrong, an unknown."""

    def make(name: str = "aime") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        scores = {
            "kind": "benchmark",
            "benchmark": "aime24",
            "model": "m",
            "questions": 1,
            "num_generations": 4,
            "avg@k": {"value": 0.5, "low": 0.25, "high": 0.75},
            "pass@k": {
                "1": {"value": 0.5, "low": 0.25, "high": 0.75},
                "4": {"value": 1.0, "low": None, "high": None},
            },
            "maj@k": {"4": {"value": 1.0, "low": 1.0, "high": 1.0}},
            "length": 12.5,
            "cut_off": 0.25,
            "unknown": 0.25,
            "seconds": 61.0,
        }
        (folder / "result.json").write_text(json.dumps(scores))
        answers = [
            ("so \\boxed{204}", "right", "204", True),
            ("thus \\boxed{204}", "right", "204", True),
            ("\\boxed{7}", "wrong", "7", True),
            ("hm", "unknown", None, False),
        ]
        (folder / "answers.jsonl").write_text(
            lines(
                {
                    "id": "I-1",
                    "sample": i,
                    "prompt": "How long?",
                    "gold": "204",
                    "response": text,
                    "tokens": 3,
                    "finished": ended,
                    "verdict": verdict,
                    "reason": "",
                    "class": form,
                }
                for i, (text, verdict, form, ended) in enumerate(answers)
            )
        )
        judged = {"judge": {"value": 2.28, "low": 2.0, "high": 2.5}, "words": 0.5}
        (folder / "diversity.json").write_text(json.dumps({"scores": judged}))
        return folder

    return make


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.support.ui import WebDriverWait

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium here: apt-get install chromium chromium-driver")

    class Patient(webdriver.Chrome):
        """The driver's own wait now and then ends while the document is loading: its switches
        are drawn and do nothing yet."""

        def get(self, url: str) -> None:
            super().get(url)
            self.wait_until("document.readyState === 'complete'")

        def refresh(self) -> None:
            super().refresh()
            self.wait_until("document.readyState === 'complete'")

        def wait_until(self, holds: str) -> None:
            WebDriverWait(self, 60, 0.01).until(lambda _: self.execute_script(f"return {holds}"))

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = Patient(options, webdriver.ChromeService(driver))
    yield found
    found.quit()


@pytest.fixture
def size(browser: Any) -> Callable[[int, int], None]:
    """Give the window a size; below 500 pixels it is a phone's."""

    def give(width: int, height: int) -> None:
        shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shape)

    return give


@pytest.fixture
def look(browser: Any) -> Callable[[str], None]:
    """Let the system ask for light or dark colours."""

    def ask(scheme: str) -> None:
        wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wishes.items()]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    return ask


@pytest.fixture
def shown(browser: Any, size: Any, look: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Show a page of other runs; nothing may complain."""

    def show(*folders: Path, at: str = "") -> Any:
        write_page(folders, tmp_path / "report.html")
        size(1280, 900)
        look("light")
        browser.get("about:blank")  # an address that differs in its # alone loads nothing
        browser.get((tmp_path / "report.html").as_uri() + at)
        return browser

    yield show
    assert [entry["message"] for entry in browser.get_log("browser")] == []
