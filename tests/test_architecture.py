"""docs/architecture.md: what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

from evenflow.config import DiversityConfig, load
from tests.test_package import LAYERS, SOURCE

PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"
README = PAGE.parents[1] / "README.md"
TEXT = PAGE.read_text(encoding="utf-8")
CODE = re.findall(r"`([^`\n]+)`", TEXT.replace("```", ""))
SOURCES = {path: path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}


def test_files_and_links_are_there() -> None:
    files = [name for name in CODE if re.fullmatch(r"[\w/]+\.py", name)]
    assert len(files) > 20
    places = (SOURCE, PAGE.parents[1])
    assert [name for name in files if not any((at / name).is_file() for at in places)] == []
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert len(links) > 5
    assert [link for link in links if not (PAGE.parent / link).is_file()] == []


def test_names_stand_in_the_file_that_is_said_to_have_them() -> None:
    pairs = re.findall(r"`([\w/]+\.py)`: ((?:`[\w.]+`(?:, )?)+)", TEXT)
    assert len(pairs) > 8
    for file, names in pairs:
        for name in re.findall(r"`([\w.]+)`", names):
            text = SOURCES[SOURCE / file]
            kind, _, method = name.partition(".")
            assert re.search(rf"^(class |def )?{kind}\b", text, re.MULTILINE), (file, name)
            assert not method or f"def {method}(" in text, (file, name)


def test_other_names_stand_somewhere() -> None:
    everything = "\n".join([*SOURCES.values(), "LAYERS"])
    names = [name for name in CODE if re.fullmatch(r"[A-Za-z_]+(\.[a-z_]+)?", name)]
    assert len(names) > 30
    for name in names:
        for part in name.split("."):
            assert re.search(rf"\b{part}\b", everything), name


def test_the_picture_is_that_of_the_layers() -> None:
    (picture,) = re.findall(r"```\n(cli.*?)```", TEXT, re.DOTALL)
    floors = [line.split("  ")[0] for line in picture.splitlines() if line.strip(" ↓")]
    assert [floor.split(", ") for floor in floors] == [layer.split() for layer in LAYERS]
    assert len(TEXT.splitlines()) <= 110


def test_the_readme_trains_in_python(tmp_path: Path, monkeypatch) -> None:
    """The ten lines at its top, for two steps of a few questions."""
    text = README.read_text(encoding="utf-8")
    assert "(docs/architecture.md)" in text
    code = next(c for c in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "Trainer" in c)
    assert '"steps": 100' in code
    assert len(code.splitlines()) <= 14
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code.replace('"steps": 100', '"steps": 2'), names)
    assert names["result"].steps == 2  # type: ignore[attr-defined]


def test_the_readme_measures_diversity_with_settings_that_exist() -> None:
    text = README.read_text(encoding="utf-8")
    (words,) = re.findall(r"^evenflow diversity \S+ (\S+ \S+)$", text, re.MULTILINE)
    assert load(DiversityConfig, None, words.split()).judge.model == "MODEL"
