"""The built-in base models: small, right now and then, and in several ways."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from evenflow.commands.eval import evaluate
from evenflow.config import TrainConfig, load
from evenflow.policy.loading import load_model, load_tokenizer, resolve
from evenflow.run.tracking import read_jsonl

RECIPES = Path(__file__).parents[1] / "recipes"
BASES = ("countdown", "programs")


@pytest.mark.parametrize("name", BASES)
def test_size(name: str) -> None:
    base = f"builtin:{name}"
    folder = Path(resolve(base))
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2e6
    model = load_model(base, torch.float16)
    assert 0.5e6 < sum(p.numel() for p in model.parameters()) < 1e6
    assert load_tokenizer(base).eos_token_id == 1


@pytest.mark.parametrize(("name", "low", "high"), [("countdown", 0.2, 0.4), ("programs", 0.3, 0.5)])
def test_it_is_right_now_and_then_in_several_ways(name: str, low: float, high: float) -> None:
    config = load(TrainConfig, RECIPES / f"{name}.yaml", ["evaluation.questions=60", "device=cpu"])
    scores = evaluate(config)
    assert low < scores["accuracy"] < high
    assert scores["effective_solutions"] > 2
    assert scores["pass@16"] > 0.75


@pytest.mark.parametrize("name", BASES)
def test_the_card_reports_the_end_of_the_log(name: str) -> None:
    """Accuracy and effective solutions of the model card are those of the last line of the log."""
    folder = Path(resolve(f"builtin:{name}"))
    last = read_jsonl(folder / "training_log.jsonl")[-1]
    card = " ".join((folder / "README.md").read_text().split())
    assert f"accuracy {100 * last['test/accuracy']:.1f} %" in card
    assert f"effective solutions {last['test/effective_solutions']:.2f}" in card


def test_the_papers_recipe_differs_in_the_objective_only() -> None:
    ours = load(TrainConfig, RECIPES / "countdown.yaml", []).model_dump()
    paper = load(TrainConfig, RECIPES / "countdown_flowrl_paper.yaml", []).model_dump()
    for recipe in (ours, paper):
        for name in ("algorithm", "objective", "critic"):  # a preset brings its critic's rate
            recipe.pop(name)
    assert ours == paper
