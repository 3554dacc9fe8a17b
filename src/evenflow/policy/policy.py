"""The policy: a causal language model, its frozen reference, its partition head, its critic."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from torch import Tensor, nn

from evenflow.errors import UserError
from evenflow.objectives.objective import Scores
from evenflow.objectives.partition import PartitionHead
from evenflow.policy.critic import Critic
from evenflow.policy.logprobs import token_logprobs
from evenflow.policy.masters import Masters
from evenflow.policy.states import (
    States,
    hidden_states,
    language_model,
    projection,
    states_of,
    trunk_of,
)
from evenflow.policy.tokens import Tokens, collate, micro_batches

if TYPE_CHECKING:
    from evenflow.policy.compiled import Compiler


class Policy(nn.Module):
    """π(y|x), log Zφ(x), V(x, y_<t) and, frozen, π_ref(y|x); log-probs are of the tempered policy.

    `model` is any `AutoModelForCausalLM`, or a PEFT model around one: then the reference is the
    model with the adapter switched off, and `reference` stays None. `shares_prompts`: a prompt of
    several answers is read once for them; `can_share` knows whether the model allows it. What holds
    its parameters in bfloat16 and trains them has `masters`, in float32.
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
        shares_prompts: bool = False,
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
        self.shares_prompts = shares_prompts
        self.masters = Masters()
        self.adapted = hasattr(model, "disable_adapter")
        # A model held in the type of the forward pass needs no casts; an adapter around it does.
        self.casts = self.adapted or next(model.parameters()).dtype != compute_dtype
        self.compiler: Compiler | None = None  # `compiled.compile_policy`
        self.linear_scores: Callable[..., Tensor] | None = None
        self.recomputes = False  # activations, in backward; `recompute.recompute_activations`

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The precision of every forward pass, sampling included."""
        lower = self.casts and self.compute_dtype != torch.float32
        return torch.autocast(self.device.type, dtype=self.compute_dtype, enabled=lower)

    def train(self, mode: bool = True) -> Self:
        """Training mode for head and critic, and for what in the models is the recipe's own (an
        adapter's dropout) or computes activations again; the reference stays as it is evaluated.

        A model that draws at random in training mode (dropout, jitter, a choice of experts) would
        not be the one that sampled.
        """
        super().train(mode)
        for model in (self.model, self.critic.trunk if self.critic is not None else None):
            for name, module in model.named_modules() if model is not None else ():
                again = getattr(module, "gradient_checkpointing", False) is True
                module.training = mode and (not name or again or "lora_dropout" in name)
        if self.reference is not None:
            self.reference.eval()
        return self

    def forward(self, tokens: Tokens, *, entropy: bool = False) -> Scores:
        """Log-probs of the answers' tokens, and what heads and critic say; all with gradient."""
        with self.autocast():
            states = self._states(trunk_of(self.model), tokens)
            logprobs, spread = self._answer_logprobs(self.model, states, tokens, entropy=entropy)
            log_z = values = None
            if self.head is not None:
                prompts = tokens.prompts[tokens.rows]
                log_z = self.head.of_answers(states.prompts, tokens.prompt_mask, prompts)
            if self.critic is not None:
                values = self._values(states, tokens)
        return Scores(logprobs, log_z, values, spread)

    def micro_batches(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], budget: int
    ) -> list[list[int]]:
        """How answers are cut so that no more than `budget` tokens are read at a time."""
        return micro_batches(prompts, answers, budget, shared=self.shares_prompts)

    def _states(self, trunk: nn.Module, tokens: Tokens) -> States:
        with self.compiler.reading() if self.compiler is not None else contextlib.nullcontext():
            return states_of(trunk, tokens, shared=self.shares_prompts)

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
        self, model: nn.Module, states: States, tokens: Tokens, *, entropy: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        # Only the states that predict an answer's token meet the vocabulary: neither prompts nor
        # padding cost logits.
        picked = token_logprobs(
            states.before,
            tokens.targets,
            projection(model),
            temperature=self.temperature,
            chunk=self.chunk,
            entropy=entropy,
            compiled=self.linear_scores,
        )
        columns = [spread(picked[:, i], tokens) for i in range(picked.shape[1])]
        return columns[0], columns[1] if entropy else None

    def _values(self, states: States | None, tokens: Tokens) -> Tensor:
        """(B, T) V before each token, from the policy's states or the critic's own."""
        assert self.critic is not None
        if self.critic.trunk is not None:
            states = self._states(self.critic.trunk, tokens)
        elif states is None:
            states = self._states(trunk_of(self.model), tokens)
        return spread(self.critic(states.before), tokens)

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
                states = self._states(trunk_of(model), tokens)
                return self._answer_logprobs(model, states, tokens)[0]

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
        with self.autocast():
            for rows in self.micro_batches(prompts, answers, budget):
                tokens = collate(
                    [prompts[i] for i in rows],
                    [answers[i] for i in rows],
                    width=width,
                    device=self.device,
                )
                result[rows] = of(tokens)
        return result


def spread(values: Tensor, tokens: Tokens) -> Tensor:
    """A value for each token of U different answers, one after the other, -> (B, T), 0 on
    padding."""
    mask = tokens.answer_mask
    return torch.zeros(mask.shape, device=mask.device).masked_scatter(mask, values)[tokens.rows]


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """The model with dropout off; every module's own mode comes back whatever happens."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield model
    finally:
        for module in training:
            module.training = True


@torch.no_grad()
def check_projection(model: nn.Module) -> None:
    """Raise a UserError unless `hidden_states` reproduces the model's own logits, and no state
    depends on the tokens behind it."""
    rows = cast(Any, model).get_input_embeddings().weight.shape[0]
    ids = torch.arange(1, 9, device=next(model.parameters()).device)[None] % rows
    name = type(language_model(model)).__name__
    with evaluating(model):
        try:
            hidden, project = hidden_states(model, ids)
            found = project(hidden)
            own = cast(Any, model)(input_ids=ids, use_cache=False).logits
            prefix, _ = hidden_states(model, ids[:, :4])
        except torch.OutOfMemoryError:
            raise
        except (ValueError, TypeError, AttributeError, RuntimeError, IndexError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"model.path: {name} cannot be read as layers and an output layer ({reason}); "
                "please report the architecture"
            ) from error
    # In bfloat16 the model rounds after each operation on its logits, and `project` does not.
    tolerance = 1e-3 if own.dtype == torch.float32 else 3e-2
    if own.shape != found.shape or not torch.allclose(
        found, own.float(), rtol=tolerance, atol=tolerance
    ):
        raise UserError(
            f"{name} turns hidden states into logits in a way that the chunked "
            "log-probs do not know; please report the architecture"
        )
    before = hidden[:, :4].float()
    gaps = (prefix.float() - before).abs().mean(-1)
    # Each of them, and by more than any rounding: that may send a single token to other experts.
    if (gaps > (1e-3 if hidden.dtype == torch.float32 else 0.05) * before.abs().mean()).all():
        raise UserError(
            f"model.path: {name} reads the tokens behind one, too, and so is no causal language "
            "model; is is_decoder missing in its config.json?"
        )
