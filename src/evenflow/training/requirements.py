"""What a recipe needs beside its files: packages of extras, asked for before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator

from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.installation import how_to_install, is_installed
from evenflow.rewards.load import BUILT_IN


def require_packages(config: TrainConfig) -> None:
    """UserError that names every field whose package is not installed, and the commands."""
    lacking = [
        f"{field} needs the package {package}: {how_to_install(extra)}"
        for field, package, module, extra in needed(config)
        if not is_installed(module)
    ]
    if config.model.attention == "flash_attention_2" and not is_installed("flash_attn"):
        lacking.append(
            "model.attention: flash_attention_2 needs the package flash-attn, which is built for a "
            "GPU: pip install flash-attn; sdpa needs none"
        )
    if lacking:
        raise UserError("\n".join(lacking))


def needed(config: TrainConfig) -> Iterator[tuple[str, str, str, str]]:
    """(field, package, module, extra) of what the recipe asks for."""
    if config.model.path.lower().endswith(".gguf"):
        yield "model.path", "gguf", "gguf", "gguf"
    if config.model.lora is not None:
        yield "model.lora", "peft", "peft", "lora"
    for name in config.log.backends:
        yield f"log.backends={name}", name, name, name
    if {"math", BUILT_IN["math"]} & config.reward.functions.keys():
        yield "reward.functions=math", "math-verify", "math_verify", "math"
    for field, source in (("data.train", config.data.train), ("data.test", config.data.test)):
        if source is not None and source.endswith(".parquet"):
            yield field, "pyarrow", "pyarrow", "data"
