"""What each command does, from its parsed arguments."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from flowbalance.errors import UserError


def train(options: Namespace) -> None:
    """Train by a recipe, or go on with a run."""
    from flowbalance.config import TrainConfig, load
    from flowbalance.training import checkpoint
    from flowbalance.training.run import open_run, point_latest, save_config
    from flowbalance.training.trainer import Trainer

    if options.resume is None:
        if options.recipe is None:
            raise UserError("train needs a recipe, e.g. recipes/countdown.yaml, or --resume RUN")
        config = load(TrainConfig, options.recipe, options.overrides)
        trainer = Trainer(config, open_run(config, Path(options.recipe).stem))
    else:
        run = options.resume.resolve()
        # With --resume there is no recipe: what stands in its place is an override.
        overrides = [text for text in (options.recipe, *options.overrides) if text]
        if not (run / "config.yaml").is_file():
            raise UserError(f"{options.resume}: not the folder of a run (it has no config.yaml)")
        config = load(TrainConfig, run / "config.yaml", overrides)
        newest = checkpoint.latest_whole(run)
        trainer = Trainer(config, run, resume=newest)
        save_config(run, config)
        point_latest(run)
    trainer.run()


def pretrain(options: Namespace) -> None:
    """Train a base model."""
    from flowbalance.config import PretrainConfig, load
    from flowbalance.training.pretrain import pretrain

    config = load(PretrainConfig, options.recipe, options.overrides)
    pretrain(config, Path(options.recipe).stem)


def eval(options: Namespace) -> None:
    """Measure a model on the held-out questions of a recipe."""
    import json

    from flowbalance.config import TrainConfig, load
    from flowbalance.report.display import console
    from flowbalance.training.evaluate import evaluate

    config = load(TrainConfig, options.recipe, options.overrides)
    console.print_json(json.dumps(evaluate(config)))


def sample(options: Namespace) -> None:
    """Show answers to questions."""
    import torch

    from flowbalance.data import build_prompts
    from flowbalance.policy.loading import load_model, load_tokenizer
    from flowbalance.policy.policy import Policy
    from flowbalance.report.display import console
    from flowbalance.rollout import Sampling
    from flowbalance.rollout.experience import sample as sample_answers
    from flowbalance.training.run import choose_device
    from flowbalance.training.setup import stop_ids

    path = model_folder(options.model)
    tokenizer = load_tokenizer(path)
    model: Any = load_model(path, torch.float32).to(choose_device(options.device))
    questions = options.prompt or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not questions:
        raise UserError("no question: give --prompt TEXT, or lines on standard input")
    prompts = build_prompts(
        [{"prompt": question} for question in questions],
        tokenizer,
        chat=options.chat,
        max_prompt_length=model.config.get_text_config().max_position_embeddings,
    )
    try:
        sampling = Sampling(
            max_tokens=options.max_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            stop_ids=stop_ids(options.stop, tokenizer, model),
        )
        answers = sample_answers(
            Policy(model),
            tokenizer,
            prompts,
            options.n,
            sampling,
            seed=options.seed,
            max_batch=256,
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    for i, (text, ended) in enumerate(zip(answers.texts, answers.finished.tolist(), strict=True)):
        if i % options.n == 0:
            console.print(questions[i // options.n], style="bold", markup=False)
        console.print(f"  {text}{'' if ended else ' …'}", markup=False, soft_wrap=True)


def export(options: Namespace) -> None:
    """Write a checkpoint as a model's folder of its own."""
    import torch

    from flowbalance.policy.loading import load_model, load_tokenizer
    from flowbalance.report.display import console
    from flowbalance.training.checkpoint import save_model
    from flowbalance.training.run import writing

    if options.folder.exists():
        raise UserError(f"{options.folder}: exists already; name a new folder")
    path = model_folder(options.model)
    model = load_model(path, getattr(torch, options.dtype))
    with writing(options.folder):
        options.folder.mkdir(parents=True)
        save_model(model, load_tokenizer(path), options.folder)
    console.print(f"model: {options.folder}")


def config(options: Namespace) -> None:
    """Print every field with its type, default and meaning."""
    import textwrap

    from flowbalance.config import PretrainConfig, TrainConfig, fields
    from flowbalance.objectives import PRESETS, Balance, Surrogate

    kind = TrainConfig if options.kind == "train" else PretrainConfig
    listed = [(kind, "")]
    if kind is TrainConfig:
        listed += [(Balance, "objective."), (Surrogate, "objective.")]
    for part, prefix in listed:
        rows = [
            row for row in fields(part, prefix) if not options.search or options.search in row[0]
        ]
        if part in (Balance, Surrogate) and rows:
            names = [name for name, row in PRESETS.items() if isinstance(row.objective, part)]
            print(f"\n# objective of the presets {', '.join(names)}:\n")
        for name, annotation, default, meaning in rows:
            print(f"{name}: {annotation} = {default!r}")
            print(textwrap.indent(textwrap.fill(meaning, 92), "    "))


def model_folder(name: str) -> str:
    """A run's newest checkpoint; any other model's folder or name as it is."""
    from flowbalance.training.checkpoint import checkpoints, latest_whole

    return str(latest_whole(Path(name))) if checkpoints(Path(name)) else name
