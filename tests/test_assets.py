"""The built-in base model: small, a base model, and not trained on what it is evaluated on."""

from __future__ import annotations

from pathlib import Path

import torch

from flowbalance.config import TrainConfig, load
from flowbalance.policy.loading import load_model, load_tokenizer, resolve
from flowbalance.training.evaluate import evaluate

RECIPES = Path(__file__).parents[1] / "recipes"
BASE = "builtin:countdown"


def test_size() -> None:
    folder = Path(resolve(BASE))
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8e6
    model = load_model(BASE, torch.float16)
    assert 0.5e6 < sum(p.numel() for p in model.parameters()) < 1e6
    assert load_tokenizer(BASE).eos_token_id == 1


def test_it_is_right_on_twenty_to_forty_percent_in_several_ways() -> None:
    config = load(
        TrainConfig, RECIPES / "countdown.yaml", ["evaluation.questions=60", "device=cpu"]
    )
    scores = evaluate(config)
    assert 0.2 < scores["accuracy"] < 0.4
    assert scores["effective_solutions"] > 2
    assert scores["pass@16"] > 0.75


def test_the_papers_recipe_differs_in_the_objective_only() -> None:
    ours = load(TrainConfig, RECIPES / "countdown.yaml", []).model_dump()
    paper = load(TrainConfig, RECIPES / "countdown_flowrl_paper.yaml", []).model_dump()
    for recipe in (ours, paper):
        for name in ("algorithm", "objective"):
            recipe.pop(name)
    assert ours == paper
