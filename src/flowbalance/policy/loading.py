"""Models and tokenizers: from a folder, by name, or the built-in one."""

from __future__ import annotations

import copy
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from flowbalance.config import HeadConfig, LoraConfig, ModelConfig
from flowbalance.errors import UserError
from flowbalance.policy.heads import PartitionHead
from flowbalance.policy.policy import Policy, check_projection

BUILTIN = "builtin:"
HEAD_FILE = "partition_head.safetensors"


def resolve(path: str) -> str:
    """The folder of a built-in model; any other path or name as it is, a missing folder refused."""
    if path.startswith(BUILTIN):
        folder = Path(str(files("flowbalance") / "assets" / path.removeprefix(BUILTIN)))
        if not folder.is_dir():
            raise UserError(f"model.path: there is no built-in model {path!r}")
        return str(folder)
    looks_local = path.startswith((".", "/", "~")) or path.count("/") != 1
    if looks_local and not Path(path).expanduser().is_dir():
        raise UserError(f"model.path: there is no folder {path}")
    return str(Path(path).expanduser()) if Path(path).expanduser().is_dir() else path


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model."""
    return _loaded(AutoTokenizer.from_pretrained, path, "tokenizer")


def load_model(path: str, dtype: torch.dtype, attention: str = "sdpa") -> nn.Module:
    """A causal language model; a LoRA checkpoint comes as its base with the adapter merged in."""
    transformers_logging.disable_progress_bar()
    folder = resolve(path)
    if (Path(folder) / "adapter_config.json").is_file():
        return load_adapter(folder, dtype, attention).merge_and_unload()
    return _loaded(
        AutoModelForCausalLM.from_pretrained,
        path,
        "model",
        dtype=dtype,
        attn_implementation=attention,
    )


def load_adapter(folder: str, dtype: torch.dtype, attention: str = "sdpa") -> Any:
    """A PEFT model: the adapter in a folder around the base model that it names."""
    peft = _peft()
    base = peft.PeftConfig.from_pretrained(folder).base_model_name_or_path
    model = load_model(base, dtype, attention)
    return peft.PeftModel.from_pretrained(model, folder, is_trainable=True)


def _loaded(loader: Any, path: str, what: str, **arguments: Any) -> Any:
    try:
        return loader(resolve(path), **arguments)
    except (OSError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"model.path: cannot load the {what} {path}: {reason}") from error


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise UserError("LoRA needs PEFT; pip install 'flowbalance[lora]'") from None
    return peft


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
    reference: bool,
    temperature: float,
    device: torch.device,
    tokenizer: PreTrainedTokenizerBase,
    checkpoint: Path | None = None,
) -> Policy:
    """The policy to train: weights in float32 (with LoRA: the adapter's), reference frozen beside it.

    With a `checkpoint` the policy's weights and the head's come from there, the reference does not.
    """
    compute = compute_dtype(config, device)
    start = str(checkpoint or config.path)
    separator = separator_id(head, tokenizer)
    if config.lora is not None:
        dtype = torch.float32 if compute == torch.float32 else compute
        if checkpoint is None:
            model = _adapt(load_model(config.path, dtype, config.attention), config.lora)
        else:
            model = load_adapter(start, dtype, config.attention)
        frozen = None
    else:
        model = load_model(start, torch.float32, config.attention)
        frozen = _reference(config, model, compute, checkpoint) if reference else None
    for each in (model, frozen):
        if each is not None and separator is not None:
            _make_room(each, separator)
    check_projection(model)
    if config.gradient_checkpointing or (
        config.gradient_checkpointing is None and device.type == "cuda"
    ):
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if config.lora is not None:
            model.enable_input_require_grads()
    partition = None
    if head is not None:
        partition = PartitionHead(model.config.get_text_config().hidden_size, head)
        if checkpoint is not None:
            load_head(partition, checkpoint)
    return Policy(
        model,
        head=partition,
        reference=frozen,
        temperature=temperature,
        chunk=config.logprob_chunk,
        compute_dtype=compute,
    ).to(device)


def _reference(
    config: ModelConfig, model: nn.Module, compute: torch.dtype, checkpoint: Path | None
) -> nn.Module:
    if config.reference is None and checkpoint is None:
        return copy.deepcopy(model).to(compute)
    return load_model(config.reference or config.path, compute, config.attention)


def _adapt(model: nn.Module, lora: LoraConfig) -> Any:
    peft = _peft()
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
    )
    try:
        return peft.get_peft_model(model, settings)
    except ValueError as error:
        raise UserError(f"model.lora.target_modules: {' '.join(str(error).split())}") from error


def separator_id(head: HeadConfig | None, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The id of the token put after each prompt where the head pools by separator; added if new."""
    if head is None or head.pooling != "separator":
        return None
    if head.separator not in tokenizer.get_vocab():
        tokenizer.add_tokens([head.separator], special_tokens=True)
    return tokenizer.convert_tokens_to_ids(head.separator)


def _make_room(model: Any, token: int) -> None:
    if token >= model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(token + 1)


def save_head(head: PartitionHead, folder: Path) -> None:
    """Write the head beside the model's files."""
    state = {name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()}
    save_file(state, folder / HEAD_FILE)


def load_head(head: PartitionHead, folder: Path) -> None:
    """Read the head from beside the model's files."""
    path = folder / HEAD_FILE
    try:
        head.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: cannot load the partition head: {reason}") from error
