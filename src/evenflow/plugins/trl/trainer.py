"""A GRPOTrainer whose loss is an objective of the balance family.

prompts → TRL: answers, old and reference log-probs, rewards
        → `prepare_groups`: what depends on whole groups, once a rollout
        → TRL: shuffled steps, several iterations
        → `_compute_loss`: the objective's loss on a step's rows
"""

from __future__ import annotations

import hashlib
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate.utils import gather_object
from torch import Tensor
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOTrainer  # pyright: ignore[reportMissingImports]

from evenflow.errors import UserError
from evenflow.objectives import Answers, Scores
from evenflow.plugins.trl.config import FlowRLConfig
from evenflow.plugins.trl.groups import OF_GROUP, prepare_groups
from evenflow.plugins.trl.head import Caught, LearnedLogZ
from evenflow.plugins.trl.metrics import reference_kl, summarise

CHECKPOINT = "evenflow_log_z.pt"
"""The head and its optimiser, or the running log Z of each question, in TRL's checkpoints."""
MODEL_INPUTS = (
    "pixel_values",
    "image_grid_thw",
    "num_images",
    "pixel_attention_mask",
    "spatial_shapes",
    "num_tiles",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
)
"""What of a batch a model that reads images may be given beside the tokens."""


class FlowRLTrainer(GRPOTrainer):
    """GRPOTrainer's arguments, with a FlowRLConfig.

    An answer of which no reward function knows a reward, or that is masked as truncated, is left
    out of its group. UserError for what the objective cannot be used with.
    """

    _tag_names: ClassVar = ["trl", "flowrl"]
    _name = "FlowRL"

    def __init__(
        self,
        model: Any,
        reward_funcs: Any,
        args: FlowRLConfig | None = None,
        *others: Any,
        **named: Any,
    ) -> None:
        args = FlowRLConfig(output_dir="flowrl") if args is None else args
        if not isinstance(args, FlowRLConfig):
            raise UserError(f"args: FlowRLTrainer needs a FlowRLConfig, not {type(args).__name__}")
        if args.use_liger_kernel and hasattr(GRPOTrainer, "compute_liger_loss"):
            raise UserError("use_liger_kernel: this release of TRL has a loss of its own with it")
        self.choices, head = args.chosen()
        self.needs = self.choices.needs
        self.memory = self.choices.memory(_no_samples)
        # A beta that is not 0 makes TRL build and score the reference; no penalty reads it here.
        args.beta = float(self.needs.reference)
        try:
            super().__init__(model, reward_funcs, args, *others, **named)
        finally:
            args.beta = 0.0
        self._rewards = torch.empty(0)
        self._rollouts = 0
        self._window: list[dict[str, Tensor]] = []
        self.head = None
        if self.needs.head:
            inner = getattr(self.model, "get_base_model", lambda: self.model)()
            self.head = LearnedLogZ(
                inner.config.get_text_config().hidden_size, head, args, self.accelerator
            )
            self._caught = Caught(inner.base_model)
            self.add_callback(_StepHead(self))

    # --- once a rollout --------------------------------------------------------------------------

    def _calculate_rewards(self, *inputs: Any) -> Tensor:
        """(all answers of all processes, functions); the weighted sum is kept, NaN if unknown."""
        found = super()._calculate_rewards(*inputs)
        total = (found * self.reward_weights.to(found.device)).nansum(1)
        self._rewards = total.masked_fill(found.isnan().all(1), torch.nan)
        return found

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        for name in ("old_per_token_logps", "ref_per_token_logps"):
            if name in output:
                output[name] = output[name].float()
        mode, mask = self._mode, loss_mask(output)
        if self.memory is not None and "pixel_values" in output:
            raise UserError("objective.log_z: running knows questions by their text: not of images")
        old = output.get("old_per_token_logps")
        if old is None and self.needs.old_logprobs:
            with torch.no_grad():
                old = self._score(self.model, output, learning=False)[0]
        here = {
            "mask": mask,
            "old_logprobs": torch.zeros(mask.shape, device=mask.device) if old is None else old,
            "ids": output["completion_ids"],
            "seen": output["completion_mask"],
        }
        if self.needs.reference:
            here["ref_logprobs"] = output["ref_per_token_logps"]
        whole = {name: self._gather(values) for name, values in here.items()}
        ids, seen = whole.pop("ids"), whole.pop("seen")
        size = self.num_generations if mode == "train" else self.num_generations_eval
        groups = torch.arange(len(ids), device=ids.device) // size
        rows_of = zip(ids, seen.bool(), strict=True) if self.needs.shares else ()
        tokens = [row[own].tolist() for row, own in rows_of]
        keys = [] if self.memory is None else gather_object(keys_of(output))
        answers = Answers(rewards=self._rewards, groups=groups, **whole)
        memory = self.memory if mode == "train" else deepcopy(self.memory)  # evaluations move none
        found = prepare_groups(self.choices, answers, tokens, memory, keys)
        for name, value in found.numbers.items():
            self._metrics[mode][name].append(value)
        self._rollouts += 1
        rows = found.rows | {"groups": groups + self._rollouts * len(groups)}
        first = self.accelerator.process_index * len(mask)
        for name, values in (rows | {"counts": found.counts}).items():
            output[name] = values[first : first + len(mask)]
        return output | {"total": torch.tensor(found.total, device=mask.device)}

    # --- each step -------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """The objective's loss on a process's part of a step, so that the mean over processes of
        the sums over the steps of an accumulation is the mean over answers."""
        logprobs, entropies, aux_loss, log_z = self._score_with_log_z(model, inputs)
        mode, mask, fixed = self._mode, loss_mask(inputs), logprobs.detach()
        steps = self.current_gradient_accumulation_steps if mode == "train" else 1
        rollouts = steps / (self.args.steps_per_generation if mode == "train" else 1)
        total = inputs["total"].clamp(min=1e-6) * rollouts / self.accelerator.num_processes
        answers = self._answers(inputs, fixed)
        index = inputs["counts"].nonzero()[:, 0]
        metrics: dict[str, Tensor] = {}
        if len(index):
            scores = Scores(logprobs[index], None if log_z is None else log_z[index])
            loss, metrics = self.choices.loss(scores, answers[index], total)
        else:  # every process takes part in the backward pass
            loss = 0.0 * (logprobs.sum() + (0.0 if log_z is None else log_z.sum()))
        if aux_loss is not None:
            loss = loss + self.router_aux_loss_coef * aux_loss / steps
            self._log(mode, "aux_loss", self.accelerator.gather_for_metrics(aux_loss).mean())
        self._log(mode, "entropy", self._token_mean(entropies, mask))
        if answers.ref_logprobs is not None:
            kl = reference_kl(fixed, answers.ref_logprobs)
            self._log(mode, "kl", self._token_mean(kl, mask))
        self._window.append(metrics | {"group": inputs["groups"][index]})
        if mode == "eval" or self.accelerator.sync_gradients:
            window, self._window = self._window, []
            for name, value in summarise(self.choices, window).items():
                self._metrics[mode][name].append(value)
        return loss

    def _answers(self, inputs: dict[str, Any], logprobs: Tensor) -> Answers:
        """A step's rows as the objective sees them; `logprobs` (B, T) without gradient."""
        mask, old = loss_mask(inputs), inputs.get("old_per_token_logps")
        weights = inputs.get("importance_sampling_ratio")
        return Answers(
            mask=mask,
            rewards=torch.zeros_like(logprobs[:, 0]),
            # Without old log-probs each rollout is learned from in one step.
            old_logprobs=logprobs if old is None else old,
            ref_logprobs=inputs.get("ref_per_token_logps"),
            correction=None if weights is None else weights.expand(mask.shape),
            **{name: inputs[name] for name in OF_GROUP if name in inputs},
        )

    def _score_with_log_z(self, model: Any, inputs: dict[str, Any]) -> tuple:
        """Log-probs, entropies, a mixture's auxiliary loss, and the head's log Z (B,)."""
        if self.head is None:
            return *self._score(model, inputs, learning=True), None
        with self._caught as caught:
            scores = self._score(model, inputs, learning=True)
        mask = inputs["prompt_mask"]
        hidden = caught.take()[:, : mask.shape[1]]
        return *scores, self.head(hidden, mask, training=self.model.training)

    def _score(self, model: Any, inputs: dict[str, Any], *, learning: bool) -> tuple:
        """Log-probs and, for `learning`, entropies (B, T) and a mixture's auxiliary loss; else a
        rollout is scored, step by step."""
        completion, args = inputs["completion_ids"], self.args
        train = self._mode == "train"
        size = args.per_device_train_batch_size if train else args.per_device_eval_batch_size
        logprobs, entropies, aux_loss = self._get_per_token_logps_and_entropies(
            model,
            torch.cat([inputs["prompt_ids"], completion], dim=1),
            torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1),
            completion.size(1),
            batch_size=None if learning else size,
            compute_entropy=learning,
            compute_aux_loss=learning and self.aux_loss_enabled,
            **{name: inputs.get(name) for name in MODEL_INPUTS},
        )
        return logprobs.float(), entropies, aux_loss

    # --- between processes, and on disk ----------------------------------------------------------

    @property
    def _mode(self) -> str:
        return "train" if self.model.training else "eval"

    def _gather(self, values: Tensor) -> Tensor:
        """(n, t) of each process, padded with 0 -> (N, T)."""
        return self.accelerator.gather(self.accelerator.pad_across_processes(values, dim=1))

    def _token_mean(self, values: Tensor, mask: Tensor) -> Tensor:
        """The mean over the tokens of all processes: (B, T), (B, T) -> a number."""
        values = torch.where(mask.bool(), values.detach(), 0.0)
        sums = self.accelerator.reduce(torch.stack([values.sum(), mask.sum()]), reduction="sum")
        return sums[0] / sums[1].clamp(min=1)

    def _log(self, mode: str, name: str, value: Tensor) -> None:
        self._metrics[mode][name].append(value.item())

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        kept = self.head or self.memory
        if kept is not None and self.args.should_save:
            name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            folder = Path(self._get_output_dir(trial=trial)) / name
            folder.mkdir(parents=True, exist_ok=True)
            state = {"log_z": self.choices.log_z, "state": kept.state_dict()}
            torch.save(state, folder / CHECKPOINT)
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        kept = self.head or self.memory
        if checkpoint is None or kept is None:
            return
        path, log_z = Path(checkpoint) / CHECKPOINT, self.choices.log_z
        if not path.is_file():
            raise UserError(
                f"{path}: there is no such file, which holds log Z ({log_z}): resume from a "
                "checkpoint of the same objective"
            )
        state = torch.load(path, map_location=self.accelerator.device, weights_only=True)
        if state["log_z"] != log_z:
            raise UserError(
                f"{path}: it holds a log Z of another kind ({state['log_z']}), and objective.log_z "
                f"is {log_z}: resume with the same"
            )
        kept.load_state_dict(state["state"])


class _StepHead(TrainerCallback):
    """Takes the head's step beside the policy's, along the same schedule."""

    def __init__(self, trainer: FlowRLTrainer) -> None:
        self.trainer = trainer

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs) -> None:
        assert self.trainer.head is not None
        assert optimizer is not None
        group = optimizer.param_groups[0]
        first = group.get("initial_lr", 0.0)
        norm = self.trainer.head.step(group["lr"] / first if first else 1.0)
        self.trainer._metrics["train"]["grad_norm/head"].append(norm)


def loss_mask(inputs: dict[str, Any]) -> Tensor:
    """(B, T), 1 on what the policy wrote: an answer's tokens without those of tools."""
    mask = inputs["completion_mask"]
    return mask * inputs["tool_mask"] if "tool_mask" in inputs else mask


def keys_of(inputs: dict[str, Any]) -> list[str]:
    """A key for each answer's question: the hash of its prompt's tokens."""
    prompts = zip(inputs["prompt_ids"].tolist(), inputs["prompt_mask"].tolist(), strict=True)
    return [
        hashlib.sha256(repr([i for i, seen in zip(*row, strict=True) if seen]).encode()).hexdigest()
        for row in prompts
    ]


def _no_samples(keys: list[str]) -> tuple[Tensor, Tensor]:
    raise NotImplementedError("an offline log Z is refused by FlowRLConfig")
