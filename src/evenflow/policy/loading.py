"""Models and tokenizers: from a folder, by name, or the built-in one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model as load_weights
from safetensors.torch import save_model as save_weights
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from evenflow.config import CriticConfig, HeadConfig, ModelConfig
from evenflow.errors import CannotLoad, UserError
from evenflow.inputs import expanded
from evenflow.objectives.partition import PartitionHead
from evenflow.policy.adapters import base_of, is_adapter, load_adapter, merged, new_adapter
from evenflow.policy.checks import require_files, require_weights, settle_generation_config
from evenflow.policy.critic import Critic
from evenflow.policy.gguf import is_gguf, unpacked
from evenflow.policy.masters import Masters
from evenflow.policy.policy import Policy, check_projection, evaluating
from evenflow.policy.recompute import recompute_activations
from evenflow.policy.states import can_share
from evenflow.policy.stops import vocabulary
from evenflow.run.console import console

BUILTIN = "builtin:"
ASSETS = Path(str(files("evenflow"))) / "assets"
# In a folder of their own: what loads models takes every *.safetensors beside the weights for some.
HEAD_FILE = "parts/partition_head.safetensors"
CRITIC_FILE = "parts/critic.safetensors"
REFERENCE_FILE = "parts/reference.safetensors"
"""Only where the reference is not the base model any more."""


def resolve(path: str) -> str:
    """The folder of a model, absolute because an adapter's checkpoint keeps it; a name as it is. A
    GGUF file is unpacked into one."""
    if path.startswith(BUILTIN):
        known = sorted(config.parent.name for config in ASSETS.glob("*/config.json"))
        name = path.removeprefix(BUILTIN)
        if name not in known:
            there = "; there are: " + (", ".join(BUILTIN + each for each in known) or "none")
            raise UserError(f"model.path: there is no built-in model {path!r}{there}")
        return str(ASSETS / name)
    folder = expanded(path)
    try:
        if folder.is_dir():
            return str(folder.resolve())
        if is_gguf(folder):
            return str(unpacked(folder))
        if folder.exists():
            raise UserError(
                f"model.path: {path} is no folder; a model is one, or a file that ends in .gguf"
            )
        # "org/name" is looked up on the hub, unless it lies in a folder that is here.
        local = path.startswith((".", "/", "~", "runs/")) or folder.parent.is_dir()
    except OSError as error:
        raise UserError(f"model.path: cannot read {path}: {error.strerror or error}") from error
    if local or path.count("/") != 1:
        kind = "file" if folder.suffix.lower() == ".gguf" else "folder"
        raise UserError(f"model.path: there is no {kind} {path}")
    return path


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model."""
    folder = resolve(path)
    with _reading("model", path):  # its config.json is read for the tokenizer, too
        require_files(folder)
        if (Path(folder) / "config.json").is_file():
            AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with _reading("tokenizer", path):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    # Without files of a tokenizer some families get one that knows nothing but its own signs.
    signs = {*tokenizer.all_special_tokens, "<mask>"}
    if len(tokenizer) <= len(signs) and not tokenizer.get_vocab().keys() - signs:
        raise CannotLoad(f"model.path: there is no tokenizer in {path}")
    return tokenizer


def require_same_tokens(path: str, reference: str) -> None:
    """A reference scores the token ids of the policy's tokenizer; UserError where its own tokenizer
    has others. One without a tokenizer of its own is taken at its word."""
    with contextlib.suppress(CannotLoad):
        if load_tokenizer(path).get_vocab() != load_tokenizer(reference).get_vocab():
            raise UserError(
                f"model.reference: the tokenizer of {reference} has other tokens than that of "
                f"{path}; a reference must have the policy's"
            )


def load_model(
    path: str, dtype: torch.dtype | Literal["auto"], attention: str = "sdpa"
) -> nn.Module:
    """A causal language model; a LoRA checkpoint comes as its base with the adapter merged in.

    `dtype` "auto": the type that its config.json names. Raises UserError for a model that cannot be
    loaded whole.
    """
    transformers_logging.disable_progress_bar()
    folder = resolve(path)
    with _reading("model", path):
        require_files(folder)
        if is_adapter(folder):
            base: Any = load_model(base_of(folder), dtype, attention)
            return merged(load_adapter(base, folder))
        load: Any = AutoModelForCausalLM.from_pretrained
        model, found = load(
            folder,
            dtype=dtype,
            # Unasked, Transformers takes SDPA for every family that can have it (Gemma 2 cannot).
            attn_implementation=None if attention == "sdpa" else attention,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # `require_weights` says which
            output_loading_info=True,
        )
    require_weights(found, model, path)
    settle_generation_config(model, path)
    return _own_memory(model)


def _own_memory(model: nn.Module) -> nn.Module:
    """The model with its weights copied out of the file that they are mapped from: they would stand
    where the file's header ends, and a CPU's kernels round by the place; so would a checkpoint
    learn other last bits than the run it was saved by. Nor does the file change them any more."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    return model


def stored_dtype(path: str, trained_from: str | None = None) -> torch.dtype:
    """The type of the weights of the base that a checkpoint was trained from, else of the model's
    own; float32 where no config.json says."""
    for each in (trained_from, path):
        try:
            folder = resolve(each) if each else ""
            while is_adapter(folder):
                folder = resolve(base_of(folder))
            dtype = AutoConfig.from_pretrained(folder).dtype if folder else None
        except (UserError, OSError, ValueError):  # the base is gone
            continue
        if dtype is not None:
            return dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype)
    return torch.float32


@contextmanager
def _reading(what: str, path: str) -> Iterator[None]:
    """Whatever a file can do to Transformers, as a sentence: configurations that make no sense
    raise all kinds of errors, and the Rust libraries bare Exceptions."""
    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "trust_remote_code" in reason:
            reason = "it needs code that it brings itself, which is not run here; take a model of "
            reason += "an architecture that Transformers knows"
        elif isinstance(error, KeyError):
            reason = f"it names {reason}, which Transformers does not know"
        hub = not path.startswith(BUILTIN) and not expanded(path).exists()
        path += " (no folder here, so a name on the Hugging Face Hub)" * hub
        raise CannotLoad(f"model.path: cannot load the {what} {path}: {reason[:300]}") from error


def compute_dtype(config: ModelConfig, device: torch.device) -> torch.dtype:
    """The type of weights and forward pass: what the recipe says, or what the device is good at;
    float32 on a GPU that has no bfloat16, which is said where the recipe asks for it."""
    if config.dtype == "float32" or (config.dtype == "auto" and device.type != "cuda"):
        return torch.float32
    # Emulated, it would be slower than float32.
    if device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    if config.dtype == "bfloat16":
        console.print("model.dtype: this GPU has no bfloat16; float32 is taken instead")
    return torch.float32


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
    """The policy to train: weights in the type of the forward pass, with float32 masters
    (`Policy.masters`) where that is bfloat16; head, critic's MLP and LoRA adapter in float32. The
    reference is held alike, a second model or, with LoRA, the base; so that policy and reference
    are the same function until the first step.

    With a `checkpoint` the weights of the policy, the head and the critic come from there, those of
    the reference only where it was reset.
    """
    compute = compute_dtype(config, device)
    separator = separator_id(head, tokenizer)
    exact: list[tuple[nn.Module, nn.Module]] = []

    def load(path: str, dtype: torch.dtype) -> Any:
        loaded = load_model(path, dtype, config.attention)
        make_room(loaded, separator)
        _switch_dropout_off(loaded)
        return loaded

    def load_trained(path: str) -> Any:
        loaded = load(path, compute)
        if compute != torch.float32:
            exact.append((loaded, load(path, torch.float32)))
        return loaded

    model: Any
    frozen = None
    if config.lora is not None:
        model = _adapted(config, compute, separator, checkpoint)
    else:
        model = load_trained(str(checkpoint or config.path))
        if reference:
            if config.reference is not None:
                require_same_tokens(config.path, config.reference)
            frozen = load(config.reference or config.path, compute)
            if checkpoint is not None and part_file(checkpoint, REFERENCE_FILE).is_file():
                load_part(frozen, part_file(checkpoint, REFERENCE_FILE))
    width = model.get_output_embeddings().weight.shape[1]
    partition = None
    if head is not None:
        partition = PartitionHead(width, head)
        if checkpoint is not None:
            load_part(partition, part_file(checkpoint, HEAD_FILE))
    judge = None
    if critic is not None:
        trunk = load_trained(config.path).base_model if critic.trunk == "own" else None
        judge = Critic(width, critic, trunk)
    policy = Policy(
        model,
        head=partition,
        critic=judge,
        reference=frozen,
        temperature=temperature,
        chunk=config.logprob_chunk,
        compute_dtype=compute,
    ).to(device)
    policy.masters = Masters(exact)
    if judge is not None and checkpoint is not None:
        with policy.masters.exposed():
            load_part(judge, part_file(checkpoint, CRITIC_FILE))
    with policy.autocast():  # and on the device: flash attention knows neither float32 nor a CPU
        check_projection(model)
        if frozen is not None:
            check_projection(frozen)
    if config.gradient_checkpointing:
        recompute_activations(policy)
    else:
        with policy.autocast(), evaluating(model):  # an adapter's dropout would differ
            policy.shares_prompts = can_share(model)
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
            "another; merge it first with evenflow export"
        )
    base: Any = load_model(config.path, dtype, config.attention)
    if separator is not None and separator >= vocabulary(base):
        # Nothing but our own loader would know of a row added beneath an adapter.
        raise UserError(
            f"head.separator: the embeddings of {config.path} have no room for a new token, and a "
            "LoRA checkpoint cannot add one; name a token that the model has, choose another "
            "head.pooling, or train without model.lora"
        )
    _switch_dropout_off(base)
    return new_adapter(base, config.lora) if checkpoint is None else load_adapter(base, checkpoint)


def _switch_dropout_off(model: nn.Module) -> None:
    """GPT-2 and its contemporaries drop out by default; the policy that is trained would then not
    be the one that sampled. An adapter's dropout, put on later, is the recipe's own choice."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "drop" in name and isinstance(value, float):  # given to attention as a number
                setattr(module, name, 0.0)


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
    rows = vocabulary(model)
    if token is None or token < rows:
        return
    model.resize_token_embeddings(token + 1, mean_resizing=False)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        layer.weight[rows:] = layer.weight[:rows].mean(0)


def save_parts(policy: Policy, folder: Path, *, reference: bool) -> None:
    """Write what the policy has beside the model: its head, its critic, a reset reference."""
    parts = {HEAD_FILE: policy.head, CRITIC_FILE: policy.critic}
    if reference:
        parts[REFERENCE_FILE] = policy.reference
    for name, part in parts.items():
        if part is not None:
            (folder / name).parent.mkdir(exist_ok=True)
            save_weights(part, str(folder / name))


def part_file(checkpoint: Path, name: str) -> Path:
    """Where a part lies; early checkpoints have it beside the model's files."""
    early = checkpoint / Path(name).name
    return early if early.is_file() else checkpoint / name


def load_part(part: nn.Module, path: Path) -> None:
    """Read a part from beside the model's files."""
    try:
        load_weights(part, path)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: cannot load this part of the policy: {reason}") from error
