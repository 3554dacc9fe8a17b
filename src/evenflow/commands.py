"""What each command does, from its parsed arguments."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenflow.errors import UserError
from evenflow.report.files import flat

if TYPE_CHECKING:
    from evenflow.config import TrainConfig

# What may change when a run goes on; all else would make it another run.
FREE = (
    "device",
    "threads",
    "log",
    "evaluation",
    "checkpoint",
    "train.steps",
    "train.answers",
    "train.micro_batch_tokens",
    "rollout.max_batch",
    "reward.timeout",
    "model.logprob_chunk",
    "output",
)


def train(options: Namespace) -> None:
    """Train by a recipe, or go on with a run."""
    from evenflow.config import TrainConfig, load
    from evenflow.report.lock import only_one
    from evenflow.training.run import begin, own_folder, run_folder
    from evenflow.training.trainer import Trainer

    if options.resume is not None:
        # With --resume there is no recipe: what stands in its place is an override.
        overrides = [text for text in (options.recipe, *options.overrides) if text]
        run = run_to_resume(options.resume)
        with only_one(run):
            finish(resumed(run, overrides, changed_inputs=options.changed_inputs))
        return
    if options.changed_inputs:
        raise UserError("--changed-inputs: goes with --resume RUN")
    if options.recipe is None:
        raise UserError("train needs a recipe, e.g. recipes/countdown.yaml, or --resume RUN")
    config = from_checkpoint(load(TrainConfig, options.recipe, options.overrides))
    folder = run_folder(config.output, Path(options.recipe).stem)
    with own_folder(folder):
        begin(config, folder)
        finish(Trainer(config, folder))


def finish(trainer: Any) -> None:
    """Run; exit as shells expect (130, 143) if a signal ended it early."""
    trainer.run()
    if trainer.stopped_by:
        raise SystemExit(128 + trainer.stopped_by)


def run_to_resume(run: Path) -> Path:
    """The folder of a run in full; UserError if it is none."""
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run}: not the folder of a run (it has no config.yaml)")
    return run.resolve()


def resumed(run: Path, overrides: list[str], *, changed_inputs: bool = False) -> Any:
    """The trainer of a run, as its newest whole checkpoint left it."""
    from evenflow.config import TrainConfig, load
    from evenflow.training import checkpoint
    from evenflow.training.ending import has_ended
    from evenflow.training.run import save_config
    from evenflow.training.trainer import Trainer

    recipe = run / "config.yaml"
    config = load(TrainConfig, recipe, overrides)
    refuse_changes(load(TrainConfig, recipe, []), config)
    newest = checkpoint.latest_whole(run)
    trainer = Trainer(config, run, resume=newest, changed_inputs=changed_inputs)
    if trainer.done and has_ended(run, trainer.step):
        raise UserError(
            f"{run}: has all of its {trainer.step} steps; to go on, raise train.steps"
            + (" and train.answers" if config.train.answers else "")
        )
    save_config(run, config)
    return trainer


def refuse_changes(old: TrainConfig, new: TrainConfig) -> None:
    """Refuse overrides that would make a resumed run another one."""
    before, after = flat(old.model_dump()), flat(new.model_dump())
    for name in sorted(before.keys() | after.keys()):
        free = any(name == field or name.startswith(field + ".") for field in FREE)
        if not free and before.get(name) != after.get(name):
            raise UserError(
                f"{name}: cannot change when a run goes on; start a new run, or change only: "
                + ", ".join(FREE)
            )


def pretrain(options: Namespace) -> None:
    """Train a base model."""
    from evenflow.config import PretrainConfig, load
    from evenflow.training.pretrain import pretrain

    config = load(PretrainConfig, options.recipe, options.overrides)
    pretrain(config, Path(options.recipe).stem)


def eval(options: Namespace) -> None:
    """Measure a model on a benchmark, or on the held-out questions of a recipe."""
    import json

    if options.regrade is not None or options.recipe is None or "=" in options.recipe:
        benchmark(options)
        return

    from evenflow.config import TrainConfig, load
    from evenflow.report.files import finite
    from evenflow.training.evaluate import evaluate

    config = from_checkpoint(load(TrainConfig, options.recipe, options.overrides))
    print(json.dumps(finite(evaluate(config)), indent=1))


def benchmark(options: Namespace) -> None:
    """Sample, grade and count on a benchmark, or grade saved answers again."""
    from evenflow.training import benchmark as command

    overrides = [text for text in (options.recipe, *options.overrides) if text]
    if options.regrade is not None:
        command.regrade(options.regrade, overrides)
        return
    for key in ("model.path", "benchmark"):
        if not any(text.startswith(f"{key}=") for text in overrides):
            raise UserError(f"eval needs a recipe, or model.path=… benchmark=…; {key}=… is missing")
    command.evaluate(overrides)


def sample(options: Namespace) -> None:
    """Show answers to questions."""
    import torch

    from evenflow.bounds import LONG, MANY
    from evenflow.config import DataConfig
    from evenflow.machine import require_memory
    from evenflow.policy.loading import load_model, load_tokenizer
    from evenflow.policy.policy import Policy
    from evenflow.policy.reach import reach, remark
    from evenflow.policy.stops import stop_ids
    from evenflow.report.display import console
    from evenflow.rollout import Sampling
    from evenflow.rollout.experience import sample as sample_answers
    from evenflow.training.checkpoint import model_folder
    from evenflow.training.run import choose_device
    from evenflow.training.setup import TOKEN_BYTES, tokenize
    from evenflow.training.stopping import chat_ends, require_vocabulary

    path = model_folder(options.model)
    if not 1 <= options.n <= MANY:
        raise UserError(f"-n: must be from 1 to {MANY:,}, not {options.n}")
    if not 0 <= options.seed <= LONG:
        raise UserError(f"--seed: must be from 0 to 2^63 - 1, not {options.seed}")
    try:
        questions = options.prompt or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    except UnicodeDecodeError as error:
        raise UserError(f"standard input: is not UTF-8 text: {error}") from None
    if not questions:
        raise UserError("no question: give --prompt TEXT, or lines on standard input")
    tokenizer = load_tokenizer(path)
    model: Any = load_model(path, torch.float32).to(choose_device(options.device))
    recipe = recipe_of(options.model)  # questions are put, and answers ended, as in training
    data = recipe.data if recipe else DataConfig()
    data = data.model_copy(
        update={"chat": options.chat or data.chat, "max_prompt_length": sys.maxsize}
    )
    prompts = tokenize(
        [{data.prompt_column: question} for question in questions],
        tokenizer,
        data,
        recipe.head if recipe and recipe.build_objective().needs.log_z == "head" else None,
    )
    require_vocabulary(prompts, tokenizer, model)
    stop = [*(recipe.rollout.stop if recipe else []), *options.stop]
    stop += chat_ends(prompts, data, tokenizer, model)
    lengths = [len(prompt.ids) for prompt in prompts]
    limit = reach(model, lengths) or sys.maxsize
    room = limit - max(lengths)
    if room < 1:
        raise UserError(
            f"--prompt: too long for the model, which reads {limit} tokens{remark(model, limit)}"
        )
    longest = min(256, room) if options.max_tokens is None else options.max_tokens
    require_memory(
        len(prompts) * options.n * longest * TOKEN_BYTES, "questions × -n × --max-tokens"
    )
    try:
        sampling = Sampling(
            max_tokens=longest,
            temperature=options.temperature,
            top_p=options.top_p,
            stop_ids=stop_ids(stop, tokenizer, model, "--stop"),
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
        console.print(f"  {text}{'' if ended else ' …'}", markup=False)


def export(options: Namespace) -> None:
    """Write a checkpoint as a model's folder of its own."""
    import shutil

    import torch

    from evenflow.policy.loading import load_model, load_tokenizer, stored_dtype
    from evenflow.report.files import writing
    from evenflow.training.checkpoint import model_folder, save_model

    folder: Path = options.folder
    if folder.exists():
        raise UserError(f"{folder}: exists already; name a new folder")
    path = model_folder(options.model)
    if options.dtype == "auto":
        recipe = recipe_of(options.model)  # a checkpoint's weights are float32 whatever its base's
        dtype = stored_dtype(path, recipe.model.path if recipe else None)
    else:
        dtype = getattr(torch, options.dtype)
    # An adapter is merged in float32 and the sum rounded, rather than the parts.
    model = load_model(path, torch.float32).to(dtype)
    scratch = folder.with_name(f".{folder.name}.tmp")
    try:
        with writing(folder):
            scratch.mkdir(parents=True, exist_ok=True)
            save_model(model, load_tokenizer(path), scratch)
            scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"model: {folder}")


def compare(options: Namespace) -> None:
    """Algorithms × seeds from one base model, as one table."""
    from evenflow.comparison import command

    command.compare(options)


def exact(options: Namespace) -> None:
    """Every algorithm where all answers can be listed, and what its choices rest at."""
    from evenflow.enumeration import command

    command.exact(options)


def grade(options: Namespace) -> None:
    """Verdicts on a file of responses."""
    from evenflow.grading import command

    command.grade(options)


def diversity(options: Namespace) -> None:
    """How different the answers in a file are."""
    from evenflow.evaluation.diversity import command

    command.diversity(options)


def report(options: Namespace) -> None:
    """One page of runs and evaluations."""
    from evenflow.report.page import command

    command.report(options)


def sandbox(options: Namespace) -> None:
    """What holds untrusted code on this machine; run a file in it."""
    from evenflow.sandbox import command

    command.sandbox(options)


def config(options: Namespace) -> None:
    """Print every field with its type, default and meaning."""
    import json
    import textwrap

    from evenflow.config import BenchmarkConfig, PretrainConfig, TrainConfig, fields
    from evenflow.objectives import PRESETS, Balance, Surrogate

    kind = BenchmarkConfig if options.kind == "eval" else PretrainConfig
    parts: list[tuple[Any, str, str]] = [(kind, "", "")]
    if options.kind == "train":
        parts = [(TrainConfig, "", "")]
        for family in (Balance, Surrogate):
            names = [name for name, row in PRESETS.items() if isinstance(row.objective, family)]
            parts.append((family, "objective.", f"objective of {', '.join(names)}"))
    found = False
    for part, prefix, title in parts:
        rows = [row for row in fields(part, prefix) if (options.search or "") in row[0]]
        if rows and title:
            print(f"\n# {title}\n")
        for name, kind, default, meaning in rows:
            shown = json.dumps(default, ensure_ascii=False, default=lambda _: "???")  # no default
            print(f"{name}: {kind} = {shown}")
            print(textwrap.indent(textwrap.fill(meaning, 92), "    "))
            found = True
    if not found:
        raise UserError(f"no field of a {options.kind} recipe has {options.search!r} in its name")


def recipe_of(name: str) -> TrainConfig | None:
    """The recipe of a training run, named by its folder or by a checkpoint in it; else None."""
    from evenflow.config import TrainConfig, check, read_yaml

    for folder in (Path(name), Path(name).parent):
        recipe = folder / "config.yaml"
        if recipe.is_file() and "rollout" in (values := read_yaml(recipe)):
            return check(TrainConfig, values)
    return None


def from_checkpoint(config: TrainConfig) -> TrainConfig:
    """The recipe with the newest checkpoint where `model.path` is the folder of a run."""
    from evenflow.training.checkpoint import model_folder

    model = config.model.model_copy(update={"path": model_folder(config.model.path)})
    return config.model_copy(update={"model": model})
