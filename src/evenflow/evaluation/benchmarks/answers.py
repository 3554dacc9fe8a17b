"""The folder of an evaluation: what was asked, every answer, and where it stopped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evenflow.config import BenchmarkConfig, check, dump, read_yaml
from evenflow.errors import UserError
from evenflow.inputs import an_object, read_json
from evenflow.run.files import json_line, read_jsonl, write_atomic, write_json, writing
from evenflow.run.kinds import ANSWERS, CONFIG

RESULT, SAMPLING = "result.json", "sampling.json"
# What may change when an evaluation goes on; all else would draw or grade other answers.
FREE = {
    *("device", "threads", "max_batch", "output", "server", "timeout", "gpu_share"),
    *("contest_ratings", "user_ratings", "grading_timeout"),
}
REGRADED = {*FREE, "grader", "right", "data", "gold_column"}
"""What may change when saved answers are graded again."""
FIELDS: dict[str, type] = {
    **dict.fromkeys(("id", "prompt", "response", "verdict", "reason"), str),
    **dict.fromkeys(("sample", "tokens"), int),
    "finished": bool,
}
"""What every line of answers.jsonl has, beside `gold` and `class`, which may be null."""


def save_config(folder: Path, config: BenchmarkConfig) -> None:
    """Write what was asked."""
    write_atomic(folder / CONFIG, dump(config))


def saved_config(folder: Path) -> BenchmarkConfig:
    """What was asked."""
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"{folder}: not the folder of an evaluation (it has no {CONFIG})")
    values = read_yaml(path)
    if "benchmark" not in values:
        raise UserError(f"{folder}: holds something else than an evaluation on a benchmark")
    return check(BenchmarkConfig, values)


def refuse_changes(old: BenchmarkConfig, new: BenchmarkConfig, free: set[str]) -> None:
    """UserError that names a field that may not differ."""
    before, after = _fields(old), _fields(new)
    for name, value in after.items():
        if name not in free and before[name] != value:
            raise UserError(
                f"{name}: is {value!r}, and the answers saved there were made with "
                f"{before[name]!r}; choose another folder with output=…, or change only: "
                + ", ".join(sorted(free))
            )


def _fields(config: BenchmarkConfig) -> dict[str, Any]:
    """Every option by name, the model's with a dot."""
    values = config.model_dump()
    model = {f"model.{name}": value for name, value in values.pop("model").items()}
    return model | values


class Answers:
    """The lines of answers.jsonl, question by question."""

    def __init__(self, folder: Path) -> None:
        """Read what is there; UserError for a line that is damaged, unless it is a cut last one."""
        self.folder = folder
        self.lines: list[dict[str, Any]] = read_jsonl(folder / ANSWERS, strict=True)
        for number, line in enumerate(self.lines, 1):
            wrong = [
                name
                for name, kind in FIELDS.items()
                if not isinstance(line, dict) or not isinstance(line.get(name), kind)
            ]
            if wrong:
                raise UserError(
                    f"{folder / ANSWERS}, line {number}: is no answer of an evaluation: "
                    f"{wrong[0]} is missing, or no {FIELDS[wrong[0]].__name__}"
                )

    def whole(self, count: int) -> set[str]:
        """Ids of the questions whose `count` answers are all there."""
        seen: dict[str, int] = {}
        for line in self.lines:
            seen[line["id"]] = seen.get(line["id"], 0) + 1
        return {key for key, number in seen.items() if number == count}

    def keep(self, keys: Sequence[str], count: int) -> None:
        """Let go of all but whole questions among `keys`, and put these in that order."""
        whole, place = self.whole(count), {key: at for at, key in enumerate(keys)}
        kept = [line for line in self.lines if line["id"] in whole and line["id"] in place]
        self.lines = sorted(kept, key=lambda line: (place[line["id"]], line["sample"]))

    def add(self, lines: Sequence[dict[str, Any]]) -> None:
        """Append the answers to a question; they are on their way to the disk when this returns."""
        path = self.folder / ANSWERS
        with writing(path), path.open("a", encoding="utf-8") as file:
            file.write(_text(lines))
        self.lines += lines

    def save(self) -> None:
        """Write all lines anew: the old file, or the new one, never a part."""
        if self.lines or (self.folder / ANSWERS).exists():
            write_atomic(self.folder / ANSWERS, _text(self.lines))


def _text(lines: Iterable[Mapping[str, Any]]) -> str:
    return "".join(map(json_line, lines))


def read_facts(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file of the folder; empty if it is not there."""
    path = folder / name
    if not path.is_file():
        return {}
    return an_object(read_json(path), str(path))


def write_facts(folder: Path, name: str, facts: Mapping[str, Any]) -> None:
    """Replace a JSON file of the folder; NaN becomes null."""
    write_json(folder / name, dict(facts))
