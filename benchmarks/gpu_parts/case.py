"""What is measured: a Qwen2 with random weights, that reads and writes random tokens.

An answer of such a model never ends by itself. Answers of equal length have no end token; where
they are to end as natural ones do, some soon and some late, each of many tokens is an end token:
one in m of the vocabulary, so that lengths are geometric with a mean of about m. The sampler and
its peers are given the same.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from evenflow.config import TrainConfig
from evenflow.data import Prompt
from evenflow.face import load
from evenflow.policy.loading import load_tokenizer
from evenflow.policy.policy import Policy
from evenflow.rollout.group import Group
from evenflow.training.build import Questions, policy_to_train
from evenflow.training.pretrain import word_tokenizer
from evenflow.training.settle import settle

LETTERS = "ab"
"""Tokens of the prompts in the whole step, whose trainer reads text."""

PLAIN = ("algorithm=dr-grpo", "log.reference_kl=false")
"""An update and nothing else: neither a reference nor a head."""


@dataclass(frozen=True)
class Case:
    """Sizes: of the model, and of what it reads and writes."""

    vocabulary: int = 151_936
    hidden: int = 896
    layers: int = 24
    heads: int = 14
    key_value_heads: int = 2
    intermediate: int = 4_864
    positions: int = 8_192
    questions: int = 32
    group: int = 8
    prompt: int = 200
    answer: int = 256
    """Tokens of each answer, where all are of one length."""
    natural_questions: int = 64
    natural_mean: int = 600
    natural_limit: int = 2_000
    slots: int = 256
    """Answers decoded at once."""
    update_answers: tuple[int, int] = (256, 1_024)
    """From and below how many tokens, the 64 answers of an update."""
    plain_batch: int = 8
    step_limit: int = 512
    gemm: int = 8_192
    """Side of the square matrices multiplied for the ceiling."""
    copy: int = 2**32
    """Bytes copied for the other."""
    repeats: int = 3

    def prompts(self, count: int) -> list[Prompt]:
        """Of one length, and random."""
        return [
            Prompt(str(i), "", tuple(self.tokens(self.prompt, f"prompt {i}")), {})
            for i in range(count)
        ]

    def texts(self) -> list[str]:
        """As many different prompts for the whole step."""
        drawn = [random.Random(i).choices(LETTERS, k=self.prompt) for i in range(self.questions)]
        return ["".join(letters) for letters in drawn]

    def tokens(self, count: int, seed: str) -> list[int]:
        """Random ones; 0 and 1 are padding and the tokenizer's end token."""
        return random.Random(seed).choices(range(2, self.vocabulary), k=count)

    def ends(self, mean: int) -> tuple[int, ...]:
        """Tokens, any of which ends an answer after `mean` on average."""
        count = max(1, round(self.vocabulary / mean))
        return tuple(sorted(random.Random(1).sample(range(self.vocabulary), count)))

    def learned(self) -> list[Group]:
        """64 answers of many lengths to 8 prompts, as an engine would give them."""
        lengths, groups = random.Random(2), []
        for place, prompt in enumerate(self.prompts(8)):
            answers = [
                self.tokens(lengths.randrange(*self.update_answers), f"answer {place} {i}")
                for i in range(8)
            ]
            logprobs = [[0.0] * len(answer) for answer in answers]
            groups.append(Group(place, prompt, answers, logprobs, [""] * 8, [True] * 8))
        return groups

    def save(self, folder: Path) -> None:
        """The model with its tokenizer, as `model.path` names one."""
        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_value_heads,
            intermediate_size=self.intermediate,
            max_position_embeddings=self.positions,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=0,
        )
        Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
        word_tokenizer(LETTERS, self.positions).save_pretrained(folder)

    def recipe(self, folder: Path, device: torch.device, *overrides: str) -> TrainConfig:
        """What trains the model."""
        return load(
            None,
            f"model.path={folder}",
            f"device={device.type}",
            f"rollout.questions={self.questions}",
            f"rollout.num_generations={self.group}",
            f"rollout.max_completion_length={self.step_limit}",
            f"data.max_prompt_length={self.positions}",
            "train.learning_rate=1e-6",
            "evaluation.every=0",
            "reward.functions={}",
            *overrides,
        )


TINY = Case(
    vocabulary=320,
    hidden=32,
    layers=2,
    heads=4,
    intermediate=48,
    positions=256,
    questions=2,
    group=2,
    prompt=5,
    answer=6,
    natural_questions=4,
    natural_mean=6,
    natural_limit=16,
    slots=4,
    update_answers=(3, 9),
    plain_batch=4,
    step_limit=8,
    gemm=64,
    copy=2**16,
    repeats=1,
)
"""For a look at whether all of it runs."""


def small_vocabulary(case: Case) -> Case:
    """The same trunk, whose projection to the vocabulary costs nothing."""
    return replace(case, vocabulary=min(case.vocabulary, 256))


def policy_of(config: TrainConfig, device: torch.device, prompts: list[Prompt]) -> Policy:
    """The policy as `evenflow train` would train it with such prompts."""
    policy = policy_to_train(config, device, load_tokenizer(config.model.path), None)
    settle(config, policy, Questions(prompts, [], None))
    return policy
