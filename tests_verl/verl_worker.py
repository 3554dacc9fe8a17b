"""A worker of verl's inside this process, a rollout for it, and what plain Transformers makes of
the same rollout."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.distributed.tensor import distribute_tensor
from transformers import LlamaConfig, LlamaForCausalLM
from verl.trainer.config import CheckpointConfig
from verl.utils import tensordict_utils as tu
from verl.workers.config import (
    FSDPEngineConfig,
    FSDPOptimizerConfig,
    HFModelConfig,
    TrainingWorkerConfig,
)

from evenflow.objectives import Answers, Balance, PartitionHead, Scores
from evenflow.plugins import HEAD
from evenflow.plugins.choices import Head
from evenflow.plugins.verl.loss import hand_over
from evenflow.plugins.verl.worker import Learner

G = 4


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def begin_group(rank: int = 0, world: int = 1, port: int | None = None) -> None:
    """The process group that verl's workers expect from Ray."""
    os.environ |= {
        "MASTER_PORT": str(port or free_port()),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
    }
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world)


def save_model(folder: Path) -> str:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def worker(
    path: str,
    objective: Balance,
    head: Head | None = None,
    *,
    packed: bool = False,
    micro: int = 4,
    tokens: int | None = None,
    rate: float = 1e-3,
    lora: int = 0,
    precision: str = "fp32",
    seed: int = 42,
) -> Learner:
    """`micro` answers a micro-batch, or at most so many `tokens`."""
    model = HFModelConfig(
        path=path,
        load_tokenizer=False,
        use_remove_padding=packed,
        enable_gradient_checkpointing=False,
        override_config={"attn_implementation": "eager"},
        lora_rank=lora,
    )
    engine = FSDPEngineConfig(
        strategy="fsdp2",
        seed=seed,
        use_torch_compile=False,
        mixed_precision={
            "param_dtype": precision,
            "reduce_dtype": "fp32",
            "buffer_dtype": "fp32",
        },
        model_dtype="fp32",
        micro_batch_size_per_gpu=micro,
        infer_micro_batch_size_per_gpu=micro,
        use_dynamic_bsz=tokens is not None,
        max_token_len_per_gpu=tokens,
        infer_max_token_len_per_gpu=tokens,
        forward_only=False,
    )
    optimizer = FSDPOptimizerConfig(lr=rate, clip_grad=1e9, total_training_steps=10)
    config = TrainingWorkerConfig(
        model_type="language_model",
        model_config=model,
        engine_config=engine,
        optimizer_config=optimizer,
        checkpoint_config=CheckpointConfig(),
    )
    made = Learner(config, objective, head)
    made.reset()
    made.set_loss_fn(None)
    return made


@dataclass
class Rollout:
    """Answers as verl samples them: `padding` rows at the end, whose mask is 0 throughout."""

    prompts: list[Tensor]
    responses: list[Tensor]
    answers: Answers
    part: Tensor

    def data(self, objective: Balance, rows: list[int] | None = None) -> TensorDict:
        """The batch that a worker gets, prepared as the trainer does."""
        rows = list(range(len(self.prompts))) if rows is None else rows
        tokens = [response.tolist() for response in self.responses]
        handed = hand_over(objective, self.answers, self.part, tokens)
        fields: dict[str, Any] = {name: values[rows] for name, values in handed.items()}
        a, lengths = self.answers, [len(r) for r in self.responses]

        def nest(values: list[Tensor]) -> Tensor:
            return torch.nested.as_nested_tensor([values[i] for i in rows], layout=torch.jagged)

        def own(values: Tensor) -> Tensor:
            return nest([row[:length] for row, length in zip(values, lengths, strict=True)])

        pairs = list(zip(self.prompts, self.responses, strict=True))
        fields |= {
            "prompts": nest(self.prompts),
            "responses": nest(self.responses),
            "input_ids": nest([torch.cat(pair) for pair in pairs]),
            "position_ids": nest([torch.arange(len(p) + len(r)) for p, r in pairs]),
            "response_mask": own(a.mask.long()),
            "loss_mask": own(a.mask.long()),
            "old_log_probs": own(a.old_logprobs),
        }
        if a.ref_logprobs is not None:
            fields["ref_log_prob"] = own(a.ref_logprobs)
        if a.correction is not None:
            fields["rollout_is_weights"] = own(a.correction)
        data = TensorDict(fields, batch_size=[len(rows)])
        tu.assign_non_tensor(
            data,
            temperature=1.0,
            calculate_entropy=False,
            pad_mode="no_padding",
            global_batch_size=len(self.prompts),
            mini_batch_size=len(self.prompts),
            epochs=1,
            seed=1,
            dataloader_kwargs={"shuffle": False},
        )
        return data


def sample(path: str, questions: int = 3, padding: int = 0, spread: float = 0.0) -> Rollout:
    """Random answers of 1 to 6 tokens after prompts of 2 to 5, with old log-probs that are the
    model's own, up to `spread`."""
    torch.manual_seed(5)
    prompts = [torch.randint(4, 40, (int(torch.randint(2, 6, ())),)) for _ in range(questions)]
    prompts = [p for p in prompts for _ in range(G)] + [torch.full((5,), 2)] * padding
    count = questions * G
    responses = [torch.randint(4, 40, (int(torch.randint(1, 7, ())),)) for _ in range(count)]
    responses += [torch.full((1,), 2)] * padding
    width = max(map(len, responses))
    mask = torch.zeros(len(prompts), width)
    for i in range(count):
        mask[i, : len(responses[i])] = 1
    model = LlamaForCausalLM.from_pretrained(path, attn_implementation="eager")
    with torch.no_grad():
        own, _ = plain_scores(model, prompts, responses, width)
    old = own + spread * torch.randn(own.shape)
    answers = Answers(
        mask=mask,
        rewards=torch.tensor([1.0, 0, 0, 1, 0.5, 0, 0, 0, 1, 1, 0, 1] + [0.0] * padding),
        groups=torch.tensor([i // G for i in range(count)] + [99] * padding),
        old_logprobs=old * mask,
        ref_logprobs=(own + 0.3 * torch.randn(own.shape)) * mask,
        share=torch.ones(len(prompts)),
    )
    return Rollout(prompts, responses, answers, mask.any(1))


def plain_scores(
    model: nn.Module, prompts: list[Tensor], responses: list[Tensor], width: int
) -> tuple[Tensor, list[Tensor]]:
    """(N, T) log-probs, one answer at a time without any padding, and the prompts' last states."""
    rows, states = [], []
    for prompt, response in zip(prompts, responses, strict=True):
        ids = torch.cat([prompt, response])[None]
        out = model(ids, output_hidden_states=True)
        logprobs = out.logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        own = logprobs.gather(1, response[:, None])[:, 0]
        rows.append(nn.functional.pad(own, (0, width - len(response))))
        states.append(out.hidden_states[-1][0, : len(prompt)])
    return torch.stack(rows), states


def plain(
    path: str, rollout: Rollout, objective: Balance, head: PartitionHead | None = None
) -> tuple[float, float, float]:
    """Loss, the policy's gradient norm and the head's, by Transformers and the objective alone."""
    model = LlamaForCausalLM.from_pretrained(path, attn_implementation="eager")
    part = rollout.part
    answers = objective.prepare(rollout.answers[part])
    count, width = int(part.sum()), rollout.answers.mask.shape[1]
    logprobs, states = plain_scores(
        model, rollout.prompts[:count], rollout.responses[:count], width
    )
    answers = objective.estimate(answers.old_logprobs, answers)
    log_z = None
    if head is not None:
        padded = nn.utils.rnn.pad_sequence(states, batch_first=True)
        lengths = torch.tensor([len(s) for s in states])
        log_z = head(padded, torch.arange(padded.shape[1]) < lengths[:, None])
    loss, _ = objective.loss(Scores(logprobs, log_z), answers, objective.total(answers))
    loss.backward()
    return loss.item(), norm(model), 0.0 if head is None else norm(head)


def norm(module: nn.Module) -> float:
    grads = [p.grad for p in module.parameters() if p.grad is not None]
    return torch.stack([g.square().sum() for g in grads]).sum().sqrt().item() if grads else 0.0


def set_head(learner: Learner, choices: Head, size: int = 32) -> PartitionHead:
    """A head with a log Z that is not 0, in the worker and as a module of its own."""
    torch.manual_seed(3)
    head = PartitionHead(size, choices)
    nn.init.normal_(head.mlp[-1].weight, std=0.3)
    nn.init.constant_(head.mlp[-1].bias, 0.7)
    mine = learner.engine.module.get_submodule(HEAD)
    with torch.no_grad():
        for name, weight in mine.named_parameters():
            given = head.get_parameter(name)
            weight.copy_(distribute_tensor(given, weight.device_mesh, weight.placements))
    return head


def learn(learner: Learner, data: TensorDict) -> dict[str, Any]:
    """What is said of one update."""
    return tu.get(learner.train_mini_batch(data), "metrics")
