"""`flowbalance pretrain`: a small base model, with its tokenizer, from a task's demonstrations."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from flowbalance.config import ArchitectureConfig, PretrainConfig
from flowbalance.evaluation.exact import exact_scores
from flowbalance.policy.policy import Policy
from flowbalance.policy.tokens import Tokens, collate
from flowbalance.report.display import Display, console
from flowbalance.report.metrics import MetricsLog
from flowbalance.tasks.countdown import Countdown
from flowbalance.training.optim import adamw, parameter_groups, schedule
from flowbalance.training.run import choose_device, open_run, set_threads

ALPHABET = "0123456789+-*/=,>:"


def character_tokenizer(alphabet: str, max_length: int) -> PreTrainedTokenizerFast:
    """One token a character, and <pad> (0), <eos> (1) and <unk> (2) before them."""
    words = {word: i for i, word in enumerate(["<pad>", "<eos>", "<unk>", *alphabet])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex(""), "isolated")  # pyright: ignore[reportAttributeAccessIssue]
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
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
            **architecture.model_dump(),
        )
    )


def answer_loss(policy: Policy, tokens: Tokens) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens, in nats; prompts are given, not learned."""
    mask = tokens.answer_mask
    rows, columns = mask.nonzero(as_tuple=True)
    places = tokens.prompt_lengths[rows] + columns
    with policy.autocast():
        logits = policy.model(input_ids=tokens.ids).logits
    return cross_entropy(logits[rows, places - 1].float(), tokens.ids[rows, places])


def pretrain(config: PretrainConfig, name: str) -> Path:
    """Train, measure the exact held-out accuracy on the way, save; the run's folder."""
    set_threads(config)
    device = choose_device(config.device)
    folder = open_run(config, name)
    torch.manual_seed(config.seed)
    task = Countdown(**config.task_options)
    tokenizer = character_tokenizer(ALPHABET, config.architecture.max_position_embeddings)
    policy = Policy(build_model(config.architecture, tokenizer).to(device))
    eos = tokenizer.eos_token_id

    questions = task.questions("test", config.evaluation_questions, config.seed)
    solutions = [task.solutions(question) for question in questions]
    demonstrations = task.demonstrations(config.seed, config.mistakes)
    optimizer = adamw(
        parameter_groups(policy.parameters(), config.learning_rate, config.weight_decay),
        betas=(0.9, 0.95),
    )
    rates = schedule(optimizer, "cosine", config.warmup_steps, config.steps, floor=0.1)

    def score(prompts, answers):  # type: ignore[no-untyped-def]
        return policy.score(
            [tokenizer.encode(prompt) for prompt in prompts],
            [[*tokenizer.encode(answer), eos] for answer in answers],
        ).sum(1)

    log = MetricsLog(folder, config.log.backends, project=config.log.project)
    with Display("pretrain", config.steps) as display:
        for step in range(1, config.steps + 1):
            began = time.monotonic()
            pairs = list(islice(demonstrations, config.batch))
            tokens = collate(
                [tokenizer.encode(prompt) for prompt, _ in pairs],
                [[*tokenizer.encode(answer), eos] for _, answer in pairs],
                device=device,
            )
            loss = answer_loss(policy, tokens)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            rates.step()
            values = {
                "loss": loss.item(),
                "grad_norm": norm.item(),
                "learning_rate": rates.get_last_lr()[0],
                "tokens_per_second": tokens.ids.numel() / (time.monotonic() - began),
            }
            if step % config.evaluate_every == 0 or step == config.steps:
                policy.eval()
                scores = exact_scores(score, [q.prompt for q in questions], solutions).table()
                policy.train()
                values |= {f"test/{key}": value for key, value in scores.items()}
                console.print(
                    f"step {step}: loss {loss.item():.3f}, held out: "
                    + ", ".join(f"{key} {value:.3f}" for key, value in scores.items())
                )
            log.log(step, values)
            display.update(step, {"loss": f"{loss.item():.3f}"})
    log.close()
    model = policy.model.to(torch.float16)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    console.print(f"model: {folder / 'model'}")
    return folder
