"""LoRA adapters, through PEFT: weights in float32 whatever the type of the model around them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn

from flowbalance.config import LoraConfig
from flowbalance.errors import CannotLoad, UserError

ADAPTER_CONFIG = "adapter_config.json"


def is_adapter(folder: str | Path) -> bool:
    """Whether a folder holds an adapter instead of a whole model."""
    return (Path(folder) / ADAPTER_CONFIG).is_file()


def base_of(folder: str | Path) -> str:
    """The model that the adapter in a folder belongs to: a folder, or a Hugging Face name."""
    path = Path(folder) / ADAPTER_CONFIG
    try:
        base = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: does not say which model the adapter belongs to") from error
    if Path(base).is_absolute() and not Path(base).is_dir():
        raise UserError(f"{path}: the adapter's base model {base} is gone; write there where it is")
    return base


def new_adapter(model: nn.Module, lora: LoraConfig) -> Any:
    """A PEFT model around `model`, which it equals until it is trained."""
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


def load_adapter(model: nn.Module, folder: str | Path) -> Any:
    """A PEFT model around `model` with the adapter of a folder, ready to be trained on."""
    peft = _peft()
    try:
        return peft.PeftModel.from_pretrained(model, str(folder), is_trainable=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CannotLoad(f"{folder}: cannot load the LoRA adapter: {reason}") from error


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise UserError("model.lora needs PEFT; pip install 'flowbalance[lora]'") from None
    return peft
