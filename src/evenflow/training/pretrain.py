"""`evenflow pretrain`: a small base model, with its tokenizer, from a task's demonstrations."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import cast

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from torch.nn.utils import clip_grad_norm_
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from evenflow.config import ArchitectureConfig, PretrainConfig
from evenflow.errors import UserError
from evenflow.evaluation.exact import by_question, combine, solution_masses
from evenflow.machine import require_memory
from evenflow.policy.policy import Policy
from evenflow.policy.tokens import Tokens, collate
from evenflow.run.console import Display, console
from evenflow.run.files import writing
from evenflow.run.folder import (
    begin,
    choose_device,
    own_folder,
    point_latest,
    run_folder,
    set_threads,
)
from evenflow.run.interrupt import Interrupt
from evenflow.run.provenance import provenance
from evenflow.run.tracking import MetricsLog
from evenflow.tasks import DemonstratedTask, get_task
from evenflow.training.checkpoint import save_model
from evenflow.training.optim import adamw, parameter_groups, rate_factor, set_rate


def word_tokenizer(vocabulary: Sequence[str], max_length: int) -> PreTrainedTokenizerFast:
    """One token for each word, longer words first, and <pad> (0), <eos> (1), <unk> (2) before
    them. A character that no word covers is <unk>."""
    words = {word: i for i, word in enumerate(["<pad>", "<eos>", "<unk>", *vocabulary])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    longer = sorted((word for word in vocabulary if len(word) > 1), key=len, reverse=True)
    pattern = "|".join([*map(re.escape, longer), "."]) if longer else ""
    tokenizer.pre_tokenizer = Split(Regex(pattern), "isolated")  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = Fuse()  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def build_model(
    architecture: ArchitectureConfig, tokenizer: PreTrainedTokenizerFast
) -> LlamaForCausalLM:
    """A Llama of the given size with random weights and tied embeddings."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            num_key_value_heads=architecture.num_attention_heads,
            tie_word_embeddings=True,
            pad_token_id=cast(int, tokenizer.pad_token_id),
            eos_token_id=cast(int, tokenizer.eos_token_id),
            bos_token_id=None,
            **architecture.model_dump(),
        )
    )


def require_room(config: PretrainConfig, vocabulary: int) -> None:
    """UserError for a model or a batch that memory cannot hold, before either is made."""
    shape = config.architecture
    width, layers = shape.hidden_size, shape.num_hidden_layers
    of_layer = width * (4 * width + 3 * shape.intermediate_size)
    require_memory(  # weights, gradients and Adam's two moments
        16 * (vocabulary * width + layers * of_layer),
        "architecture.hidden_size, intermediate_size, num_hidden_layers",
    )
    # At least a token of a prompt and one of an answer each, 34 bytes for each of their numbers.
    require_memory(2 * 34 * config.batch * width * layers, "batch")


def answer_loss(policy: Policy, tokens: Tokens) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens, in nats; prompts are given, not learned."""
    return -policy(tokens).logprobs.sum() / tokens.answer_lengths[tokens.rows].sum()


def pretrain(config: PretrainConfig, name: str) -> Path:
    """Train, measure the exact held-out accuracy on the way, save; the run's folder.

    A signal ends it after the step at hand; what there is by then is saved.
    """
    set_threads(config)
    device = choose_device(config.device)
    folder = run_folder(config.output, name)
    with own_folder(folder):
        begin(config, folder)
        pretrained(config, folder, device)
    return folder


def pretrained(config: PretrainConfig, folder: Path, device: torch.device) -> None:
    """Pretrain in a folder that is ours alone."""
    torch.manual_seed(config.seed)
    task = cast(DemonstratedTask, get_task(config.task, config.task_options))
    tokenizer = word_tokenizer(task.vocabulary, config.architecture.max_position_embeddings)
    require_room(config, len(tokenizer))
    model = build_model(config.architecture, tokenizer)
    policy = Policy(model).to(device)
    questions = task.rows("test", config.evaluation_questions)
    solutions = [task.row_solutions(question) for question in questions]
    demonstrations = task.demonstrations(config.seed, config.mistakes)
    optimizer = adamw(
        parameter_groups(policy.parameters(), config.learning_rate, config.weight_decay),
        betas=(0.9, 0.95),
    )
    end = cast(int, tokenizer.eos_token_id)

    def encode(pairs: Iterable[tuple[str, str]]) -> tuple[list[list[int]], list[list[int]]]:
        prompts, answers = zip(*pairs, strict=True)
        return [tokenizer.encode(p) for p in prompts], [
            [*tokenizer.encode(a), end] for a in answers
        ]

    def score(prompts: Sequence[str], answers: Sequence[str]) -> torch.Tensor:
        return policy.score(*encode(zip(prompts, answers, strict=True)), budget=4096).sum(1)

    first = encode(islice(task.demonstrations(config.seed, config.mistakes), config.batch))
    longest, limit = collate(*first).ids.shape[1], config.architecture.max_position_embeddings
    if longest > limit:
        raise UserError(
            f"architecture.max_position_embeddings: a demonstration has {longest} tokens, and "
            f"{limit} are allowed; raise it"
        )
    point_latest(folder)
    stopped_by, refused = 0, None
    with (
        closing(MetricsLog(folder, config.log.backends, project=config.log.project)) as log,
        provenance(folder, device),
        Display("pretrain", config.steps) as display,
        Interrupt() as interrupt,
    ):
        try:
            for step in range(1, config.steps + 1):
                began, of_each = time.monotonic(), None
                tokens = collate(*encode(islice(demonstrations, config.batch)), device=device)
                set_rate(
                    optimizer,
                    rate_factor(step - 1, "cosine", config.warmup_steps, config.steps, floor=0.1),
                )
                loss = answer_loss(policy, tokens)
                loss.backward()
                norm = clip_grad_norm_(policy.parameters(), 1.0)
                if not norm.isfinite():  # no step would lead back from there
                    raise UserError(
                        f"step {step}: the gradient is not finite, and no model is saved; lower "
                        "learning_rate, or raise warmup_steps"
                    )
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                values = {
                    "loss": loss.item(),
                    "grad_norm": norm.item(),
                    "learning_rate": optimizer.param_groups[0]["lr"],
                    "tokens_per_second": tokens.ids.numel() / (time.monotonic() - began),
                }
                if step % config.evaluate_every == 0 or step == config.steps:
                    found = solution_masses(score, [q["prompt"] for q in questions], solutions)
                    masses = [of_question.values() for of_question in found]
                    scores, of_each = combine(masses).table(), by_question(masses)
                    values |= {f"test/{key}": value for key, value in scores.items()}
                    shown = "  ".join(f"{key} {value:.3f}" for key, value in scores.items())
                    console.print(f"step {step}  held out: {shown}")
                log.log(step, values, (), of_each)
                display.update(step, {"loss": f"{loss.item():.3f}"})
                if interrupt.requested and step < config.steps:
                    stopped_by = interrupt.number
                    console.print(
                        f"stopped after step {step} of {config.steps}; saved as it is there"
                    )
                    break
        except OSError as error:  # nobody reads the output any more: what was learned is kept
            refused = error
    scratch = folder / ".model.tmp"
    with writing(folder / "model"):
        shutil.rmtree(scratch, ignore_errors=True)
        save_model(model.half(), tokenizer, scratch)
        scratch.rename(folder / "model")
    if refused is not None:
        raise refused
    console.print(f"model  {folder / 'model'}", markup=False)
    if stopped_by:
        raise SystemExit(128 + stopped_by)
