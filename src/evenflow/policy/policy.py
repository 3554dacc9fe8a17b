"""The policy: a causal language model, its frozen reference, its partition head, its critic."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from evenflow.errors import UserError
from evenflow.objectives.objective import Scores
from evenflow.policy.heads import Critic, PartitionHead
from evenflow.policy.logprobs import token_logprobs
from evenflow.policy.tokens import Tokens, collate, micro_batches

TOKEN_KINDS = ("token_type_ids", "mm_token_type_ids")
"""What models call the tensor that tells tokens of text, 0, from marks of images."""


class Policy(nn.Module):
    """π(y|x), log Zφ(x), V(x, y_<t) and, frozen, π_ref(y|x); log-probs are of the tempered policy.

    `model` is any `AutoModelForCausalLM`, or a PEFT model around one: then the reference is the
    model with the adapter switched off, and `reference` stays None.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        head: PartitionHead | None = None,
        critic: Critic | None = None,
        reference: nn.Module | None = None,
        temperature: float = 1.0,
        chunk: int = 4096,
        compute_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.model = model
        self.head = head
        self.critic = critic
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

    def forward(self, tokens: Tokens, *, entropy: bool = False) -> Scores:
        """Log-probs of the answers' tokens, and what heads and critic say; all with gradient."""
        with self.autocast():
            hidden, project = hidden_states(self.model, tokens.ids)
            logprobs, spread = self._answer_logprobs(hidden, project, tokens, entropy=entropy)
            log_z = self.head(hidden, tokens.prompt_mask) if self.head is not None else None
            values = self._values(hidden, tokens) if self.critic is not None else None
        return Scores(logprobs, log_z, values, spread)

    def require_like_reference(self) -> None:
        """Refuse a reference that could not become what the policy is."""
        own, other = (
            {name: value.shape for name, value in model.state_dict().items()}
            for model in (self.model, cast(nn.Module, self.reference))
        )
        if own != other:
            raise UserError(
                "model.reference: is of another architecture than model.path, so it cannot be "
                "reset to the policy; leave it null or leave reset out"
            )

    def reset_reference(self) -> None:
        """Make the policy, as it is now, the reference."""
        assert self.reference is not None
        self.reference.load_state_dict(self.model.state_dict())

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
        self,
        hidden: Tensor,
        project: Callable[[Tensor], Tensor],
        tokens: Tokens,
        *,
        entropy: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        # Only the states that predict an answer's token meet the vocabulary: neither prompts nor
        # padding cost logits.
        places = predictors(tokens)
        picked = token_logprobs(
            hidden[places.rows, places.before],
            tokens.ids[places.rows, places.before + 1],
            project,
            temperature=self.temperature,
            chunk=self.chunk,
            entropy=entropy,
        )
        logprobs = places.spread(picked[:, 0])
        return logprobs, places.spread(picked[:, 1]) if entropy else None

    def _values(self, hidden: Tensor | None, tokens: Tokens) -> Tensor:
        """(B, T) V before each token, from the policy's states or the critic's own."""
        assert self.critic is not None
        if self.critic.trunk is not None:
            trunk = self.critic.trunk(**inputs_of(self.critic.trunk, tokens.ids))
            hidden = trunk.last_hidden_state
        elif hidden is None:
            hidden, _ = hidden_states(self.model, tokens.ids)
        assert hidden is not None
        places = predictors(tokens)
        return places.spread(self.critic(hidden[places.rows, places.before]))

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
        scorer = self.as_reference() if reference else evaluating(self.model)
        with scorer as model:

            def logprobs(tokens: Tokens) -> Tensor:
                return self._answer_logprobs(*hidden_states(model, tokens.ids), tokens)[0]

            return self._batched(logprobs, prompts, answers, budget)

    @torch.no_grad()
    def score_values(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        *,
        budget: int = 16384,
    ) -> Tensor:
        """(N, T) the critic's values before each token of given answers, as in `score`."""
        with evaluating(self.model):
            return self._batched(
                lambda tokens: self._values(None, tokens), prompts, answers, budget
            )

    def _batched(
        self,
        of: Callable[[Tokens], Tensor],
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        budget: int,
    ) -> Tensor:
        width = max(map(len, answers))
        result = torch.zeros(len(answers), width, device=self.device)
        lengths = [len(p) + len(a) for p, a in zip(prompts, answers, strict=True)]
        with self.autocast():
            for rows in micro_batches(lengths, budget):
                tokens = collate(
                    [prompts[i] for i in rows],
                    [answers[i] for i in rows],
                    width=width,
                    device=self.device,
                )
                result[rows] = of(tokens)
        return result


class Predictors(NamedTuple):
    """Where the states stand that predict the M tokens of a batch of answers."""

    rows: Tensor
    """(M,)"""
    columns: Tensor
    """(M,) the token's place in its answer."""
    before: Tensor
    """(M,) the place of the state: one before the token's own."""
    shape: tuple[int, int]

    def spread(self, values: Tensor) -> Tensor:
        """(M,) -> (B, T), 0 on padding."""
        blank = torch.zeros(self.shape, device=values.device)
        return blank.index_put((self.rows, self.columns), values)


def predictors(tokens: Tokens) -> Predictors:
    """The places of a batch's answers."""
    mask = tokens.answer_mask  # (B, T)
    rows, columns = mask.nonzero(as_tuple=True)
    return Predictors(
        rows, columns, tokens.prompt_lengths[rows] + columns - 1, (mask.shape[0], mask.shape[1])
    )


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
    trunk = language_model.base_model
    hidden = trunk(**inputs_of(trunk, ids)).last_hidden_state
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


def inputs_of(trunk: nn.Module, ids: Tensor) -> dict[str, Any]:
    """What the forward pass of a model's trunk asks for; one that reads images, too, may ask in
    training which tokens are marks of one: none."""
    inputs: dict[str, Any] = {"input_ids": ids, "use_cache": False}
    config = cast(Any, trunk).config
    if config.get_text_config() is not config:
        taken = inspect.signature(trunk.forward).parameters
        inputs |= {name: torch.zeros_like(ids) for name in TOKEN_KINDS if name in taken}
    return inputs


@torch.no_grad()
def check_projection(model: nn.Module) -> None:
    """Raise a UserError unless `hidden_states` reproduces the model's own logits."""
    rows = cast(Any, model).get_input_embeddings().weight.shape[0]
    ids = torch.arange(1, 9, device=next(model.parameters()).device)[None] % rows
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
