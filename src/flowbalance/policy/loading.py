"""Models and tokenizers: from a folder, by name, or the built-in one."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model as load_weights
from safetensors.torch import save_model as save_weights
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as transformers_logging

from flowbalance.config import CriticConfig, HeadConfig, ModelConfig
from flowbalance.errors import UserError
from flowbalance.policy.adapters import base_of, is_adapter, load_adapter, new_adapter
from flowbalance.policy.heads import Critic, PartitionHead
from flowbalance.policy.policy import Policy, check_projection

BUILTIN = "builtin:"
ASSETS = Path(str(files("flowbalance"))) / "assets"
HEAD_FILE = "partition_head.safetensors"
CRITIC_FILE = "critic.safetensors"
REFERENCE_FILE = "reference.safetensors"
"""Only where the reference is not the base model any more."""


def resolve(path: str) -> str:
    """The folder of a model, absolute because an adapter's checkpoint keeps it; a name as it is."""
    if path.startswith(BUILTIN):
        known = sorted(config.parent.name for config in ASSETS.glob("*/config.json"))
        name = path.removeprefix(BUILTIN)
        if name not in known:
            listed = ", ".join(BUILTIN + each for each in known) or "none"
            raise UserError(f"model.path: there is no built-in model {path!r}; there are: {listed}")
        return str(ASSETS / name)
    folder = Path(path).expanduser()
    if folder.is_dir():
        return str(folder.resolve())
    # "org/name" is looked up on the hub, unless it lies in a folder that is here.
    local = path.startswith((".", "/", "~", "runs/")) or folder.parent.is_dir()
    if local or path.count("/") != 1:
        raise UserError(f"model.path: there is no folder {path}")
    return path


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model."""
    try:
        return AutoTokenizer.from_pretrained(resolve(path))
    except UserError:
        raise
    except Exception as error:  # the Rust library raises bare Exceptions for a damaged file
        raise _cannot_load("tokenizer", path, error) from error


def load_model(path: str, dtype: torch.dtype, attention: str = "sdpa") -> nn.Module:
    """A causal language model; a LoRA checkpoint comes as its base with the adapter merged in."""
    transformers_logging.disable_progress_bar()
    folder = resolve(path)
    if is_adapter(folder):
        base = load_model(base_of(folder), dtype, attention)
        return load_adapter(base, folder).merge_and_unload()
    load: Any = AutoModelForCausalLM.from_pretrained
    # Unasked, Transformers takes SDPA for every family that can have it (Gemma 2 cannot).
    kernel = None if attention == "sdpa" else attention
    try:
        model, found = load(
            folder, dtype=dtype, attn_implementation=kernel, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise _cannot_load("model", path, error) from error
    if missing := sorted(found["missing_keys"]):
        # Transformers would go on with random numbers in their place.
        raise UserError(
            f"model.path: {path} lacks {len(missing)} of the weights that {type(model).__name__} "
            f"has ({', '.join(missing[:3])} …); is it a whole causal language model?"
        )
    return model


def _cannot_load(what: str, path: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:300]
    return UserError(f"model.path: cannot load the {what} {path}: {reason}")


def compute_dtype(config: ModelConfig, device: torch.device) -> torch.dtype:
    """The type of the forward pass: what the recipe says, or what the device is good at."""
    if config.dtype != "auto":
        return getattr(torch, config.dtype)
    good = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if good else torch.float32


def build_policy(
    config: ModelConfig,
    head: HeadConfig | None,
    *,
    critic: CriticConfig | None = None,
    reference: bool,
    temperature: float,
    device: torch.device,
    tokenizer: PreTrainedTokenizerBase,
    checkpoint: Path | None = None,
) -> Policy:
    """The policy to train: weights (with LoRA: the adapter's) in float32. What is frozen is held so
    that policy and reference are the same function until the first step: with LoRA one base in the
    type of the forward pass, else a second model as `halve_matrices` leaves it.

    With a `checkpoint` the weights of the policy, the head and the critic come from there, those of
    the reference only where it was reset.
    """
    compute = compute_dtype(config, device)
    separator = separator_id(head, tokenizer)
    model: Any
    frozen = None
    if config.lora is not None:
        model = _adapted(config, compute, separator, checkpoint)
    else:
        model = load_model(str(checkpoint or config.path), torch.float32, config.attention)
        make_room(model, separator)
        _switch_dropout_off(model)
        if reference:
            frozen = load_model(config.reference or config.path, torch.float32, config.attention)
            make_room(frozen, separator)
            if checkpoint is not None and (checkpoint / REFERENCE_FILE).is_file():
                load_part(frozen, checkpoint / REFERENCE_FILE)
            halve_matrices(frozen, compute)
    width = model.get_output_embeddings().weight.shape[1]
    partition = None
    if head is not None:
        partition = PartitionHead(width, head)
        if checkpoint is not None:
            load_part(partition, checkpoint / HEAD_FILE)
    judge = None
    if critic is not None:
        trunk = None
        if critic.trunk == "own":
            second: Any = load_model(config.path, torch.float32, config.attention)
            make_room(second, separator)
            _switch_dropout_off(second)
            trunk = second.base_model
        judge = Critic(width, critic, trunk)
        if checkpoint is not None:
            load_part(judge, checkpoint / CRITIC_FILE)
    policy = Policy(
        model,
        head=partition,
        critic=judge,
        reference=frozen,
        temperature=temperature,
        chunk=config.logprob_chunk,
        compute_dtype=compute,
    ).to(device)
    with policy.autocast():  # and on the device: flash attention knows neither float32 nor a CPU
        check_projection(model)
        if frozen is not None:
            check_projection(frozen)
    recompute = config.gradient_checkpointing
    if recompute or (recompute is None and device.type == "cuda"):
        for trained in (model, judge.trunk if judge is not None else None):
            if trained is not None:
                _recompute_activations(trained)
    return policy.train()


def _adapted(
    config: ModelConfig, dtype: torch.dtype, separator: int | None, checkpoint: Path | None
) -> Any:
    """The base model with a new adapter, or with a checkpoint's."""
    assert config.lora is not None
    if is_adapter(resolve(config.path)):
        # Its checkpoints would name the first adapter's base, and so lose the first adapter.
        raise UserError(
            f"model.path: {config.path} is a LoRA checkpoint, and one adapter cannot stand on "
            "another; merge it first with flowbalance export"
        )
    base: Any = load_model(config.path, dtype, config.attention)
    if separator is not None and separator >= _vocabulary(base):
        # Nothing but our own loader would know of a row added beneath an adapter.
        raise UserError(
            f"head.separator: the embeddings of {config.path} have no room for a new token, and a "
            "LoRA checkpoint cannot add one; name a token that the model has, choose another "
            "head.pooling, or train without model.lora"
        )
    _switch_dropout_off(base)
    return new_adapter(base, config.lora) if checkpoint is None else load_adapter(base, checkpoint)


def halve_matrices(model: nn.Module, dtype: torch.dtype) -> None:
    """Hold a frozen model's linear layers in the type of the forward pass, the rest in float32.

    Autocast rounds a linear layer's weights before each product, so that its result is the same
    bit for bit; embeddings and norms it takes as they are, and rounding those would make another
    policy of the same weights. A layer that shares its weights with the embeddings stays as well.
    """
    users = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if type(module) in (nn.Linear, Conv1D) and all(users[id(p)] == 1 for p in own):
            module.to(dtype)


def _switch_dropout_off(model: nn.Module) -> None:
    """GPT-2 and its contemporaries drop out by default; the policy that is trained would then not
    be the one that sampled. An adapter's dropout, put on later, is the recipe's own choice."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "drop" in name and isinstance(value, float):  # given to attention as a number
                setattr(module, name, 0.0)


def _recompute_activations(model: Any) -> None:
    named = hasattr(model, "activation_checkpointing_enable")  # since late in Transformers 5
    name = "activation_checkpointing_enable" if named else "gradient_checkpointing_enable"
    try:
        getattr(model, name)({"use_reentrant": False})
    except ValueError as error:
        raise UserError(f"model.gradient_checkpointing: {error}; set it to false") from error


def separator_id(head: HeadConfig | None, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The id of the token put after each prompt where the head pools by separator; added if new."""
    if head is None or head.pooling != "separator":
        return None
    if head.separator not in tokenizer.get_vocab():
        tokenizer.add_tokens([head.separator], special_tokens=True)
    return cast(int, tokenizer.convert_tokens_to_ids(head.separator))


@torch.no_grad()
def make_room(model: Any, token: int | None) -> None:
    """Give a token an embedding if it has none: the mean of all others, so that a policy, its
    reference and a resumed run agree on it."""
    rows = _vocabulary(model)
    if token is None or token < rows:
        return
    model.resize_token_embeddings(token + 1, mean_resizing=False)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        layer.weight[rows:] = layer.weight[:rows].mean(0)


def _vocabulary(model: Any) -> int:
    return model.get_input_embeddings().weight.shape[0]


def save_parts(policy: Policy, folder: Path, *, reference: bool) -> None:
    """Write what the policy has beside the model: its head, its critic, a reset reference."""
    parts = {HEAD_FILE: policy.head, CRITIC_FILE: policy.critic}
    if reference:
        parts[REFERENCE_FILE] = policy.reference
    for name, part in parts.items():
        if part is not None:
            save_weights(part, str(folder / name))


def load_part(part: nn.Module, path: Path) -> None:
    """Read a part from beside the model's files."""
    try:
        load_weights(part, path)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: cannot load this part of the policy: {reason}") from error
