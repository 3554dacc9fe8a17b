"""LoRA adapters, through PEFT: weights in float32 whatever the type of the model around them."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

from evenflow.config import LoraConfig
from evenflow.errors import CannotLoad, UserError
from evenflow.installation import how_to_install

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


def is_adapter(folder: str | Path) -> bool:
    """Whether a folder holds an adapter instead of a whole model."""
    return (Path(folder) / ADAPTER_CONFIG).is_file()


def base_of(folder: str | Path) -> str:
    """The model that the adapter in a folder belongs to: a folder, or a Hugging Face name.

    Raises UserError where that is not said, is gone, or leads back to the folder itself.
    """
    base = _named_base(folder)
    seen, at = [Path(folder).resolve()], Path(base)
    while is_adapter(at):
        if at.resolve() in seen:
            raise UserError(
                f"{Path(folder) / ADAPTER_CONFIG}: the adapter is based on itself; write the whole "
                "model that it belongs to under base_model_name_or_path"
            )
        seen.append(at.resolve())
        at = Path(_named_base(at))
    return base


def _named_base(folder: str | Path) -> str:
    path = Path(folder) / ADAPTER_CONFIG
    try:
        base = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
        gone = Path(base).is_absolute() and not Path(base).is_dir()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: does not say which model the adapter belongs to") from error
    if gone:
        raise UserError(f"{path}: the adapter's base model {base} is gone; write there where it is")
    return base


def new_adapter(model: nn.Module, lora: LoraConfig) -> Any:
    """A PEFT model around `model`, which it equals until it is trained."""
    peft = _peft()
    if not lora.target_modules:
        raise UserError("model.lora.target_modules: names no module; leave it out for all-linear")
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
    )
    with _without_warnings():
        try:
            adapted = peft.get_peft_model(model, settings)
        except ValueError as error:
            reason = " ".join(str(error).split())[:300]
            if lora.target_modules == "all-linear":  # of experts PEFT 0.19 takes it for letters
                reason = (
                    f"all-linear: PEFT {peft.__version__} does not find them in "
                    f"{type(model).__name__}; update it, or name them"
                )
            raise UserError(f"model.lora.target_modules: {reason}") from error
    if isinstance(lora.target_modules, list):
        found = {f".{name}" for name in adapted.targeted_module_names}
        # PEFT says so only where it found none of them.
        for target in lora.target_modules:
            if not any(name.endswith(f".{target}") for name in found):
                raise UserError(
                    f"model.lora.target_modules: {type(model).__name__} has no module {target}"
                )
    return adapted


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Without what PEFT says of what is seen to here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`")  # see `merged`
        warnings.filterwarnings("ignore", "Found missing adapter keys")  # see `_require_fit`
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")
        yield


def load_adapter(model: nn.Module, folder: str | Path) -> Any:
    """A PEFT model around `model` with the adapter of a folder, ready to be trained on."""
    peft = _peft()
    try:
        with _without_warnings():
            adapted = peft.PeftModel.from_pretrained(model, str(folder), is_trainable=True)
        _require_fit(adapted, folder)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CannotLoad(f"{folder}: cannot load the LoRA adapter: {reason}") from error
    return adapted


def _require_fit(adapted: Any, folder: str | Path) -> None:
    """Refuse an adapter of a deeper or shallower model, which PEFT would load in part."""
    path = Path(folder) / ADAPTER_WEIGHTS
    if not path.is_file():  # an older format, or on the hub
        return
    with safe_open(path, framework="pt") as file:
        saved = {name for name in file.keys() if "lora_" in name}  # noqa: SIM118
    own = _peft().get_peft_model_state_dict(adapted, save_embedding_layers=False)
    odd = sorted(saved ^ {name for name in own if "lora_" in name})
    if odd:
        where = "the adapter alone" if odd[0] in saved else "the model alone"
        raise ValueError(f"it belongs to another model: {where} has {odd[0]} ({len(odd)} such)")


def merged(adapted: Any) -> Any:
    """The whole model that a PEFT model is; its embeddings are untied where the adapter changes one
    of the two, for a sum written into shared weights would change the other as well."""
    if not hasattr(adapted, "merge_and_unload"):
        kind = adapted.active_peft_config.peft_type
        raise UserError(
            f"model.path: an adapter of the kind {kind} cannot be merged; use LoRA instead"
        )
    _untie(adapted)
    return adapted.merge_and_unload()


def _untie(adapted: Any) -> None:
    """Give adapted layers weights of their own where they share them with another layer."""
    owners = Counter(
        id(weight) for module in adapted.modules() for weight in module.parameters(recurse=False)
    )
    for layer in [module for module in adapted.modules() if hasattr(module, "get_base_layer")]:
        base = layer.get_base_layer()
        for name, weight in list(base.named_parameters(recurse=False)):
            if owners[id(weight)] > 1:
                setattr(base, name, nn.Parameter(weight.detach().clone()))
    model = adapted.get_base_model()
    if model.get_input_embeddings().weight is not model.get_output_embeddings().weight:
        for config in (model.config, model.config.get_text_config()):
            if getattr(config, "tie_word_embeddings", False):
                config.tie_word_embeddings = False


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise UserError(f"model.lora needs PEFT; {how_to_install('lora')}") from None
    return peft
