"""The model card of a checkpoint: what it was made from, how, and how well it does."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evenflow.config import TrainConfig, dump
from evenflow.errors import UserError
from evenflow.objectives import preset
from evenflow.policy.loading import BUILTIN, resolve
from evenflow.run.files import writable, write_atomic
from evenflow.run.provenance import command

CARD = "README.md"
FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.S)
UNKNOWN = "see the base model's own card"


def model_card(
    config: TrainConfig, step: int, before: Mapping[str, float], after: Mapping[str, float]
) -> str:
    """Markdown with the front matter that the Hugging Face Hub reads."""
    base, licence = config.model.path, licence_of(config.model.path)
    front = ["library_name: transformers", "pipeline_tag: text-generation", "tags: [evenflow, rl]"]
    if licence:
        front.append(f"license: {licence}")
    if is_hub_name(base):
        front.append(f"base_model: {base}")
    functions = config.reward.functions or {config.data.task or "given from Python": 1.0}
    facts = {
        "base model": f"{base}, licence: {licence or UNKNOWN}",
        "algorithm": f"{config.algorithm} ({preset(config.algorithm).source})",
        "questions": config.data.train or f"the built-in task {config.data.task}",
        "rewards": ", ".join(f"{name} × {weight:g}" for name, weight in functions.items()),
        "steps": f"{step} of {total_steps(config)}, {config.rollout.questions} questions × "
        f"{config.rollout.num_generations} answers each, seed {config.seed}",
    }
    rows = [f"- **{name}**: {value}" for name, value in facts.items()]
    return "\n".join(
        [
            "---",
            *front,
            "---",
            f"# {Path(base.removeprefix(BUILTIN)).name}, trained by {config.algorithm}",
            "",
            *rows,
            *scores(config, before, after),
            "",
            *fenced(command(), "sh"),
            "",
            "The recipe in full, which `evenflow train FILE` reads:",
            "",
            *fenced(dump(config).rstrip(), "yaml"),
            "",
        ]
    )


def fenced(text: str, language: str) -> list[str]:
    """A block of code in Markdown, within more backticks than the text has in a row: a template
    around the question may hold a block of its own."""
    fence = "`" * (1 + max([2, *map(len, re.findall("`+", text))]))
    return [f"{fence}{language}", text, fence]


def total_steps(config: TrainConfig) -> str:
    """Steps of the whole run; how many a budget of answers is enough for is not known where some
    are dropped, or the reference gives some."""
    needs = config.build_objective().needs
    more = config.rollout.dynamic_sampling or needs.reference_samples
    return f"{'at most ' if config.train.answers and more else ''}{config.most_steps}"


def write_card(folder: Path, *made: Any) -> None:
    """Put the card into a checkpoint, in the place of any other; `made` is what it says."""
    write_atomic(folder / CARD, writable(model_card(*made)))


def card_of(folder: Path) -> Path | None:
    """The card of a model's folder, if it has one."""
    return folder / CARD if (folder / CARD).is_file() else None


def scores(
    config: TrainConfig, before: Mapping[str, float], after: Mapping[str, float]
) -> list[str]:
    """The table of held-out scores, none where nothing was evaluated."""
    known = [name for name, value in after.items() if math.isfinite(value)]
    if not known:
        return []
    title = f"At most {config.evaluation.questions} held-out questions"
    lines = ["", f"{title}, before the first step and at the latest evaluation:", ""]
    lines += ["| score | before | after |", "|---|---|---|"]
    for name in known:
        old = before.get(name, math.nan)
        lines.append(f"| {name} | {'–' if math.isnan(old) else f'{old:.4g}'} | {after[name]:.4g} |")
    return lines


def licence_of(path: str) -> str | None:
    """The licence that the card in a model's folder names; None where there is none to read."""
    try:
        card = Path(resolve(path)) / CARD
        front = FRONT.match(card.read_text(encoding="utf-8")) if card.is_file() else None
    except (UserError, OSError, UnicodeDecodeError):
        return None
    found = re.search(r"^license:\s*([\w.+-]+)\s*$", front[1], re.M) if front else None
    return found[1] if found else None


def is_hub_name(path: str) -> bool:
    """Whether a model's path is a name on the Hugging Face Hub rather than a folder."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", path) is not None and not Path(path).exists()
