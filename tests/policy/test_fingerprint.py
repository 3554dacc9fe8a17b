"""The mark of a model differs where what decides its answers does, and only there."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from evenflow.policy import fingerprint as weights
from evenflow.policy.fingerprint import mark_of


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def test_the_same_files_have_the_same_mark(tiny_model: Path, copy: Path) -> None:
    mark = mark_of(str(tiny_model))
    assert mark is not None
    assert mark.startswith("sha256 ")
    assert mark_of(str(copy)) == mark
    (copy / "README.md").write_text("notes")
    assert mark_of(str(copy)) == mark


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_one_other_byte_is_another_model(name: str, tiny_model: Path, copy: Path) -> None:
    file = copy / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert mark_of(str(copy)) != mark_of(str(tiny_model))


@pytest.mark.parametrize(
    "name", ["vocab.txt", "spiece.model", "tekken.json", "chat_templates/tools.jinja"]
)
def test_every_kind_of_tokenizer_has_its_files_in_the_mark(name: str, copy: Path) -> None:
    before = mark_of(str(copy))
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("a")
    one = mark_of(str(copy))
    (copy / name).write_text("b")
    assert len({before, one, mark_of(str(copy))}) == 3


def test_of_large_files_the_first_block_the_last_and_some_between_are_read(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "BLOCK", 4)
    monkeypatch.setattr(weights, "BLOCKS", 3)
    file = copy / "model.safetensors"
    marks = []
    for content in (b"a" * 101, b"b" + b"a" * 100, b"a" * 100 + b"b", b"a" * 50 + b"b" + b"a" * 50):
        file.write_bytes(content)
        marks.append(mark_of(str(copy)))
    assert len(set(marks)) == 4
    file.write_bytes(b"a" * 20 + b"b" + b"a" * 80)  # between the blocks
    assert mark_of(str(copy)) == marks[0]
    file.write_bytes(b"a" * 102)
    assert mark_of(str(copy)) not in marks
    for place in range(12):  # three blocks: all is read
        file.write_bytes(b"a" * place + b"b" + b"a" * (11 - place))
        marks.append(mark_of(str(copy)))
    assert len(set(marks[4:])) == 12


def test_an_adapter_is_marked_with_its_base(tiny_model: Path, copy: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"low rank")
    (adapter / "adapter_config.json").write_text(f'{{"base_model_name_or_path": "{copy}"}}')
    mark = mark_of(str(adapter))
    (copy / "model.safetensors").write_bytes(b"other")
    assert mark_of(str(adapter)) != mark


def test_names_are_marked_by_their_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def known(name: str) -> SimpleNamespace:
        return SimpleNamespace(_commit_hash=f"{name}'s")

    monkeypatch.setattr(weights.AutoConfig, "from_pretrained", known)
    assert mark_of("org/name") == "commit org/name's"

    def unreachable(name: str) -> None:
        raise OSError("no network")

    monkeypatch.setattr(weights.AutoConfig, "from_pretrained", unreachable)
    assert mark_of("org/name") is None
    assert mark_of("builtin:countdown") is not None


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "added_tokens.json"])
def test_files_of_a_slow_tokenizer_count(name: str, copy: Path) -> None:
    before = mark_of(str(copy))
    (copy / name).write_text("{}")
    assert mark_of(str(copy)) != before
