"""`evenflow sample`: answers of a checkpoint to questions."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from evenflow.errors import UserError
from evenflow.terminal import complain

if TYPE_CHECKING:
    from evenflow.rollout.group import Group
    from evenflow.rollout.sampling import Sampling

HELP = "show answers of a checkpoint"
MAX_BATCH = 256
"""Answers decoded at once."""
OPTIONS = {
    "rollout.engine": "--engine",
    "rollout.server": "--server",
    "device": "--device",
    "max_tokens": "--max-tokens: max_tokens",
    "temperature": "--temperature: temperature",
    "top_p": "--top-p: top_p",
}
"""What the library's sentences begin with → the same with the option that was typed."""


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow sample` takes."""
    parser.add_argument("model", help="a run, a checkpoint, a model's folder or name")
    parser.add_argument(
        "--prompt", action="append", help="a question (repeatable); default: standard input"
    )
    parser.add_argument("-n", type=int, default=4, help="answers to each question (default 4)")
    parser.add_argument("--temperature", type=float, default=1.0, help="default 1; 0 is greedy")
    parser.add_argument("--top-p", type=float, default=1.0, help="default 1")
    parser.add_argument(
        "--max-tokens", type=int, help="default 256, or what the model has room for"
    )
    parser.add_argument("--stop", action="append", default=[], help="a token that ends an answer")
    parser.add_argument(
        "--chat",
        action=BooleanOptionalAction,
        help="apply the chat template; default: as in the model's run, else where it has one",
    )
    parser.add_argument(
        "--engine", default="embedded", help="what samples: embedded, vllm, or my_module:MyEngine"
    )
    parser.add_argument(
        "--server", metavar="URL", action="append", help="with --engine vllm: a server (repeatable)"
    )
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default auto)")


def questions_in(text: str) -> list[str]:
    """The lines that hold anything, of Unix or Windows, with or without a byte-order mark."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    return [line for line in lines if line.strip()]


def in_options(text: str) -> str:
    """A sentence of the library's in the words of this command: options by their names, prompts
    counted from 1."""
    first = re.match(r"[\w.]+", text)
    if first and first[0] in OPTIONS:
        text = OPTIONS[first[0]] + text[first.end() :]
    if prompt := re.match(r"prompt (\d+) ", text):
        option = "--max-tokens" if "max_tokens" in text else "--prompt"
        text = f"{option}: prompt {int(prompt[1]) + 1} {text[prompt.end() :]}"
    return text.replace("rollout.engine=", "--engine ")


@contextmanager
def by_options() -> Iterator[None]:
    """Around what the library refuses: `in_options`."""
    try:
        yield
    except UserError as error:
        raise UserError(in_options(str(error))) from error


def sampling_of(options: Namespace, max_tokens: int, stop_ids: tuple[int, ...] = ()) -> Sampling:
    """How answers are sampled; UserError for what cannot be."""
    from evenflow.rollout.sampling import Sampling

    try:
        return Sampling(max_tokens, options.temperature, options.top_p, stop_ids=stop_ids)
    except ValueError as error:
        raise UserError(str(error)) from error


def run(options: Namespace) -> None:
    """Show answers to questions."""
    with by_options():
        show(options)


def show(options: Namespace) -> None:
    """Show answers; what is refused is told in the words of a recipe."""
    import torch

    from evenflow.bounds import LONG, MANY
    from evenflow.config import DataConfig, refuse_server
    from evenflow.machine import require_memory
    from evenflow.policy.loading import load_model, load_tokenizer
    from evenflow.policy.policy import Policy
    from evenflow.policy.stops import stop_ids
    from evenflow.prompting import unread
    from evenflow.rollout.engine import build_engine, engine_class, limits_of
    from evenflow.rollout.engine import sample as sample_answers
    from evenflow.rollout.stopping import chat_ends, require_vocabulary
    from evenflow.run.checkpoints import model_folder, recipe_of, speaks_in_chat
    from evenflow.run.console import console
    from evenflow.run.folder import choose_device
    from evenflow.training.build import tokenize

    path = model_folder(options.model)
    if not 1 <= options.n <= MANY:
        raise UserError(f"-n: must be from 1 to {MANY:,}, not {options.n}")
    if problem := refuse_server(options.engine, options.server):
        raise UserError(f"--{problem}")
    if not 0 <= options.seed <= LONG:
        raise UserError(f"--seed: must be from 0 to 2^63 - 1, not {options.seed}")
    try:
        questions = options.prompt or questions_in(sys.stdin.read())
    except UnicodeDecodeError as error:
        raise UserError(f"standard input: is not UTF-8 text: {error}") from None
    if not questions:
        raise UserError("no question: give --prompt TEXT, or lines on standard input")
    if not all(question.strip() for question in questions):
        raise UserError("--prompt: is empty")
    engine_class(options.engine, options.server)
    device = choose_device(options.device)
    sampling_of(options, 1 if options.max_tokens is None else options.max_tokens)
    tokenizer = load_tokenizer(path)
    model: Any = load_model(path, torch.float32).to(device)
    recipe = recipe_of(options.model)  # questions are put, and answers ended, as in training
    data = recipe.data if recipe else DataConfig()
    chat = speaks_in_chat(options.model, tokenizer, options.chat)
    if options.chat and data.chat_template == "auto" and not tokenizer.chat_template:
        raise UserError("--chat: the model's tokenizer has no chat template; take --no-chat")
    data = data.model_copy(update={"chat": chat, "max_prompt_length": sys.maxsize})
    prompts = tokenize(
        [{data.prompt_column: question} for question in questions],
        tokenizer,
        data,
        recipe.head if recipe and recipe.build_objective().needs.head else None,
    )
    require_vocabulary(prompts, tokenizer, model)
    for question, prompt in zip(questions, prompts, strict=True):
        if lacking := unread(prompt.ids, tokenizer):
            complain(f"take care: {question!r}: {lacking}")
    stop = [*(recipe.rollout.stop if recipe else []), *options.stop]
    stop += chat_ends(prompts, data, tokenizer, model)
    engine = build_engine(options.engine, tokenizer, MAX_BATCH, server=options.server)
    engine.update(Policy(model), 0)
    limits = limits_of(engine, prompts)
    limit = limits.positions or sys.maxsize
    room = limit - max(len(prompt.ids) for prompt in prompts)
    if room < 1:
        raise UserError(
            f"--prompt: too long for the model, which reads {limit} tokens{limits.remark}"
        )
    longest = min(256, room) if options.max_tokens is None else options.max_tokens
    require_memory(
        len(prompts) * options.n * longest * limits.token_bytes, "questions × -n × --max-tokens"
    )
    sampling = sampling_of(options, longest, stop_ids(stop, tokenizer, model, "--stop"))
    try:
        groups = sample_answers(engine, prompts, options.n, sampling, seed=options.seed)
        for group in in_order(groups):
            console.print(questions[group.place], style="bold", markup=False)
            answers = zip(group.texts, group.finished, strict=True)
            for number, (text, ended) in enumerate(answers, 1):
                console.print(numbered(number, f"{text}{'' if ended else ' …'}"), markup=False)
    except ValueError as error:
        raise UserError(str(error)) from error


def in_order(groups: Iterable[Group]) -> Iterator[Group]:
    """The groups by their places, each as soon as all before it are there."""
    early: dict[int, Group] = {}
    place = 0
    for group in groups:
        early[group.place] = group
        while place in early:
            yield early.pop(place)
            place += 1


def numbered(number: int, text: str) -> str:
    """An answer with its number; further lines stand beneath its first, so that two answers cannot
    be taken for one."""
    head = f"{number:>3}  "
    return head + text.replace("\n", "\n" + " " * len(head))
