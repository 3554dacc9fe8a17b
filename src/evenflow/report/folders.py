"""Which folders the page is of: a comparison stands for its runs, and a run counts once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from evenflow.errors import UserError

TRAINING = ("config.yaml", "metrics.jsonl", "samples.jsonl", "summary.json")
EVALUATION = ("result.json", "answers.jsonl")
RECORDS = ("metrics.jsonl", "answers.jsonl")
"""What no two runs have alike, for it holds times and random draws."""


def each_once(folders: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The folders of runs and evaluations in order, a comparison by its runs; and in a sentence
    each which of them are links to, or copies of, an earlier one and left out."""
    kept: list[Path] = []
    again: list[str] = []
    places: dict[Path, Path] = {}
    contents: dict[tuple[str, ...], Path] = {}
    for folder in (inner for given in folders for inner in expanded(given)):
        place, mark = folder.resolve(), contents_of(folder)
        first = places.get(place) or (contents.get(mark) if mark else None)
        if first is not None:
            again.append(f"{folder} is {first} again and counts once")
            continue
        places[place] = folder
        if mark:
            contents[mark] = folder
        kept.append(folder)
    return kept, again


def expanded(folder: Path) -> Iterator[Path]:
    """The folder itself, or the runs of a comparison."""
    if not folder.is_dir():
        is_file = folder.is_file()
        raise UserError(
            f"{folder}: {'is a file, no folder' if is_file else 'there is no such folder'}"
        )
    if holds(folder, (*TRAINING, *EVALUATION)):
        yield folder
        return
    inside = folder / "runs"
    runs = sorted(inside.iterdir()) if inside.is_dir() else []
    runs = [r for r in runs if r.is_dir() and not r.is_symlink() and holds(r, TRAINING)]
    if not runs:
        raise UserError(
            f"{folder}: is neither a run nor an evaluation (it has none of "
            f"{', '.join((*TRAINING, *EVALUATION))}), nor a comparison with runs in its runs/; "
            "give the folders of runs, evaluations or comparisons"
        )
    yield from runs


def holds(folder: Path, files: Sequence[str]) -> bool:
    """Whether one of the files lies there."""
    return any((folder / name).is_file() for name in files)


def contents_of(folder: Path) -> tuple[str, ...] | None:
    """What tells a run from all but its copies; None where it has recorded nothing."""
    files = [folder / name for name in RECORDS if (folder / name).is_file()]
    marks = [sha256(contents) for path in files if (contents := path.read_bytes())]
    if not marks:
        return None
    config = folder / "config.yaml"
    marks += [sha256(config.read_bytes())] if config.is_file() else []
    return tuple(mark.hexdigest() for mark in marks)
