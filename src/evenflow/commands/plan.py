"""`evenflow plan`: what a recipe needs on a device, before anything is loaded."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from evenflow.commands.words import add_words, file_and_settings
from evenflow.errors import UserError
from evenflow.terminal import counted

if TYPE_CHECKING:
    from evenflow.config import TrainConfig
    from evenflow.training.devices import Device
    from evenflow.training.plan import Lengths, Plan

HELP = "memory, tokens, FLOPs and seconds of a recipe on a device, without loading weights"
EPILOG = "example: evenflow plan gsm8k model.path=MODEL --device h100 --answer 300"
GIB = 2**30


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow plan` takes."""
    add_words(parser, "a recipe (a YAML file, or a name that `evenflow recipes` lists)", "train")
    add = parser.add_argument
    add(
        "--device",
        metavar="NAME",
        default="here",
        help="h100, h200, a100-80gb, a100-40gb, l40s, rtx4090, t4, cpu (a core of a server), or "
        "here: this machine, whose ceilings are measured for a second (default)",
    )
    add("--gemm", metavar="TFLOPS", type=float, help="its measured rate of matrix products")
    add("--copy", metavar="TBS", type=float, help="its measured rate of copying, in TB/s")
    add("--prompt", metavar="N", type=float, help="tokens of a prompt (default: the questions')")
    add("--answer", metavar="N", type=float, help="tokens of an answer (default: the limit)")
    add("--gpus", metavar="N", type=int, help="memory of each of N such GPUs, by `evenflow verl`")
    parser.epilog = EPILOG


def run(options: Namespace) -> None:
    """Print the plan."""
    recipe, settings = file_and_settings(options.words)
    if recipe is None:
        raise UserError("plan needs a recipe, e.g. countdown")
    from evenflow.run.checkpoints import from_checkpoint
    from evenflow.run.console import show_rows
    from evenflow.run.folder import set_threads
    from evenflow.training.plan import plan, read_lengths

    for name in ("gemm", "copy", "prompt", "answer", "gpus"):
        value = getattr(options, name)
        if value is not None and not 0 < value < 1e9:
            bound = "below 1e9" if value > 0 else "above 0"
            raise UserError(f"--{name}: must be {bound}, got {value:g}")
    config = from_checkpoint(load_recipe(recipe, settings))
    set_threads(config)
    device = chosen(options, config)
    lengths = read_lengths(config, options.prompt)
    found = plan(config, device, lengths, options.answer)
    said = list(rows(config, device, lengths, found))
    if options.gpus is not None:
        said = said[:4] + list(sharded(config, device, lengths, found, options.gpus))
    show_rows(f"evenflow plan: {config.algorithm}", said)


def load_recipe(recipe: str, settings: list[str]) -> TrainConfig:
    """The recipe; training questions that it leaves open may stay so."""
    from evenflow.config import GIVEN, TrainConfig, load, read_yaml

    values = read_yaml(Path(recipe))
    if "task" in values:
        raise UserError(f"{recipe}: is a recipe of evenflow pretrain; plan takes those of train")
    data = values.get("data")
    is_open = isinstance(data, dict) and data.get("train") == "???"
    if is_open and not any(setting.startswith("data.train=") for setting in settings):
        settings = [*settings, f"data.train={GIVEN}"]
    return load(TrainConfig, recipe, settings)


def chosen(options: Namespace, config: TrainConfig) -> Device:
    """The device, with the ceilings that the command line knows better."""
    from dataclasses import replace

    from evenflow.training.devices import device_of

    device = device_of(options.device)
    if options.device == "cpu" and config.threads:
        device = replace(
            device, title=counted(config.threads, "CPU core"), gemm=device.gemm * config.threads
        )
    if options.gemm is not None:
        device = replace(device, gemm=options.gemm * 1e12, source="as given")
    if options.copy is not None:
        device = replace(device, copy=options.copy * 1e12, source="as given")
    return device


def rows(
    config: TrainConfig, device: Device, lengths: Lengths, found: Plan
) -> Iterator[tuple[str, str]]:
    """The plan in words."""
    from evenflow.run.console import duration

    work, shape = found.work, found.shape
    trained = f"{shape.parameters:,} parameters, {work.trained:,} trained"
    yield "model", f"{config.model.path}, {trained}"
    rates = f"{device.gemm / 1e12:.3g} TFLOP/s, {device.copy / 1e12:.3g} TB/s"
    yield "device", f"{device.title}: {rates} ({device.source})"
    limit = ", the limit" if work.answer == work.limit else ""
    asked = f"{work.questions} questions × {work.group} answers of {work.answer:,.0f} tokens{limit}"
    yield "a step", f"{asked}; prompts of {work.prompt:,.0f} ({lengths.source})"
    learned = f"{work.epochs * work.read:,.0f} read in learning"
    yield "tokens", f"{work.written:,.0f} sampled, {learned}"
    for phase in found.phases:
        share = f"{phase.seconds / found.seconds:.0%}"
        yield phase.name, f"{phase.flops / 1e12:.3g} TFLOP, {phase.seconds:.3g} s ({share})"
    steps = f"{config.most_steps} steps in {duration(config.most_steps * found.seconds)}"
    aside = "rewards, evaluation and checkpoints aside"
    yield "time", f"{found.seconds:.3g} s a step, {steps}; {aside}"
    parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in found.memory.items())
    yield "memory", f"about {sum(found.memory.values()) / GIB:.2f} GiB ({parts})"
    room = f"{found.room / GIB:.1f} GiB to be had"
    yield "fits", f"yes, {room}" if found.remedy is None else f"no, {room}: {found.remedy}"
    longest, limit = lengths.longest + work.limit, found.positions
    if limit is not None and longest > limit:
        together = f"a prompt of {lengths.longest:,} tokens and an answer of {work.limit:,}"
        yield (
            "take care",
            f"{together} are more than the model's {limit:,} positions: train refuses",
        )


def sharded(
    config: TrainConfig, device: Device, lengths: Lengths, found: Plan, gpus: int
) -> Iterator[tuple[str, str]]:
    """What each of several GPUs holds, in words; nothing is said of seconds there."""
    from evenflow.training.plan import parts_beside
    from evenflow.training.sharded import on_each

    beside = parts_beside(config, found.shape)
    each = on_each(config, found.shape, beside, device, gpus, lengths.longest)
    for name, parts in (("always", each.stays), ("learning", each.learning)):
        listed = ", ".join(f"{part} {size / GIB:.2f}" for part, size in parts.items())
        yield name, f"{sum(parts.values()) / GIB:.2f} GiB on each of {gpus} GPUs ({listed})"
    split = f"its weights over {counted(each.tensor_parallel, 'GPU')}"
    yield "sampling", f"{each.sampling / GIB:.2f} GiB for vLLM (rollout.gpu_share), {split}"
    room = f"{each.room / GIB:.1f} GiB to be had"
    yield "fits", f"yes, {room}" if each.remedy is None else f"no, {room}: {each.remedy}"
