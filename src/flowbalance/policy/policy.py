"""The policy: a causal language model, its frozen reference and its partition head."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from flowbalance.errors import UserError
from flowbalance.policy.heads import PartitionHead
from flowbalance.policy.logprobs import token_logprobs
from flowbalance.policy.tokens import Tokens, collate, micro_batches


class Policy(nn.Module):
    """π(y|x), log Zφ(x) and, frozen, π_ref(y|x); all log-probs are of the tempered policy.

    `model` is any `AutoModelForCausalLM`, or a PEFT model around one: then the reference is the
    model with the adapter switched off, and `reference` stays None.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        head: PartitionHead | None = None,
        reference: nn.Module | None = None,
        temperature: float = 1.0,
        chunk: int = 4096,
        compute_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.model = model
        self.head = head
        self.reference = reference
        if reference is not None:
            reference.requires_grad_(False).eval()
        self.temperature = temperature
        self.chunk = chunk
        self.compute_dtype = compute_dtype
        self.adapted = hasattr(model, "disable_adapter")

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The precision of every forward pass, sampling included."""
        lower = self.compute_dtype != torch.float32
        return torch.autocast(self.device.type, dtype=self.compute_dtype, enabled=lower)

    def train(self, mode: bool = True) -> Self:
        """Training mode for the model and the head; the reference stays as it is evaluated."""
        super().train(mode)
        if self.reference is not None:
            self.reference.eval()
        return self

    def forward(self, tokens: Tokens) -> tuple[Tensor, Tensor | None]:
        """Log-probs of the answers' tokens (B, T), 0 on padding, and log Zφ (B,) with a head."""
        with self.autocast():
            hidden, project = hidden_states(self.model, tokens.ids)
            logprobs = self._answer_logprobs(hidden, project, tokens)
            log_z = self.head(hidden, tokens.prompt_mask) if self.head is not None else None
        return logprobs, log_z

    @contextlib.contextmanager
    def as_reference(self) -> Iterator[nn.Module]:
        """The reference model, for scoring or sampling."""
        if self.adapted:
            with evaluating(self.model) as model, cast(Any, model).disable_adapter():
                yield model
        elif self.reference is not None:
            yield self.reference
        else:
            raise ValueError("this policy was built without a reference")

    def _answer_logprobs(
        self, hidden: Tensor, project: Callable[[Tensor], Tensor], tokens: Tokens
    ) -> Tensor:
        # The state that predicts an answer's t-th token stands one before it. Only these states
        # meet the vocabulary: neither prompts nor padding cost logits.
        mask = tokens.answer_mask  # (B, T)
        rows, columns = mask.nonzero(as_tuple=True)
        places = tokens.prompt_lengths[rows] + columns
        picked = token_logprobs(
            hidden[rows, places - 1],
            tokens.ids[rows, places],
            project,
            temperature=self.temperature,
            chunk=self.chunk,
        )
        return torch.zeros(mask.shape, device=mask.device).index_put((rows, columns), picked)

    @torch.no_grad()
    def score(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        *,
        budget: int = 16384,
        reference: bool = False,
    ) -> Tensor:
        """(N, T) log-probs of given answers under the policy or its reference.

        Without gradient or dropout, and at most `budget` tokens (padding included) at a time.
        """
        width = max(map(len, answers))
        result = torch.zeros(len(answers), width, device=self.device)
        lengths = [len(p) + len(a) for p, a in zip(prompts, answers, strict=True)]
        scorer = self.as_reference() if reference else evaluating(self.model)
        with scorer as model, self.autocast():
            for rows in micro_batches(lengths, budget):
                tokens = collate(
                    [prompts[i] for i in rows],
                    [answers[i] for i in rows],
                    width=width,
                    device=self.device,
                )
                result[rows] = self._answer_logprobs(*hidden_states(model, tokens.ids), tokens)
        return result


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """The model with dropout off; its mode comes back whatever happens."""
    training = model.training
    model.eval()
    try:
        yield model
    finally:
        model.train(training)


def hidden_states(model: nn.Module, ids: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Last-layer hidden states (B, S, H), and the map from them to float32 logits (…, V)."""
    language_model = cast(Any, model)
    if hasattr(model, "get_base_model"):  # a PEFT model: its layers are adapted in place
        language_model = language_model.get_base_model()
    hidden = language_model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    output = language_model.get_output_embeddings()
    config = language_model.config.get_text_config()
    # Three families scale or cap their logits after the projection (Cohere, Granite, Gemma 2).
    scale = getattr(config, "logit_scale", None) or 1.0
    scale /= getattr(config, "logits_scaling", None) or 1.0
    cap = getattr(config, "final_logit_softcapping", None)

    def project(states: Tensor) -> Tensor:
        logits = output(states).float()
        if scale != 1.0:
            logits = logits * scale
        return torch.tanh(logits / cap) * cap if cap else logits

    return hidden, project


@torch.no_grad()
def check_projection(model: nn.Module) -> None:
    """Raise a UserError unless `hidden_states` reproduces the model's own logits."""
    ids = torch.arange(1, 9, device=next(model.parameters()).device)[None]
    with evaluating(model):
        hidden, project = hidden_states(model, ids)
        own = cast(Any, model)(input_ids=ids, use_cache=False).logits
    # In bfloat16 the model rounds after each operation on its logits, and `project` does not.
    tolerance = 1e-3 if own.dtype == torch.float32 else 3e-2
    if not torch.allclose(project(hidden), own.float(), rtol=tolerance, atol=tolerance):
        raise UserError(
            f"{type(model).__name__} turns hidden states into logits in a way that the chunked "
            "log-probs do not know; please report the architecture"
        )
