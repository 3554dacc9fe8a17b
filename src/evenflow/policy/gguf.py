"""A model from a GGUF file: read by Transformers, dequantised, kept as a folder like any other."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
)

from evenflow.errors import CannotLoad, UserError, brief
from evenflow.installation import how_to_install
from evenflow.policy.checks import require_weights
from evenflow.run.console import console
from evenflow.run.files import share_weights, system_errors

MAGIC = b"GGUF"
PART = re.compile(r"-\d{5}-of-(\d{5})$")
"""How llama.cpp names the parts of a split file."""
LAYER = re.compile(r"blk\.(\d+)\.")
READING = 2
"""Raised where files are read otherwise: what an earlier reading made is made again."""


def is_gguf(path: Path) -> bool:
    """Whether a path names a file of that kind, by its ending."""
    return path.suffix.lower() == ".gguf" and path.is_file()


def unpacked(file: Path) -> Path:
    """The folder with the model of a GGUF file, made on first use in the user's cache.

    Another file, or the same one changed, has another folder. Weights of 32 or 16 bits are kept as
    they are, all others in bfloat16. UserError for what Transformers cannot read, and for a file
    that lacks weights.
    """
    file = file.resolve()
    at = file.stat()
    what = f"{READING}:{file}:{at.st_size}:{at.st_mtime_ns}"
    name = hashlib.sha256(what.encode()).hexdigest()[:12]
    folder = cache() / f"{file.stem}-{name}"
    if folder.is_dir():
        return folder
    if not at.st_size:
        raise CannotLoad(f"model.path: {file.name} is empty")
    with file.open("rb") as opened:
        if opened.read(4) != MAGIC[: at.st_size]:
            raise CannotLoad(f"model.path: {file.name} is no GGUF file; its first bytes say so")
    if importlib.util.find_spec("gguf") is None:
        raise UserError(f"model.path: a GGUF file needs a package: {how_to_install('gguf')}")
    with caching(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Whole or not at all: another process may make it, too, and this one may be stopped.
        scratch = Path(tempfile.mkdtemp(prefix=f".{file.stem}-", dir=folder.parent))
        try:
            dequantise(file, scratch)
            scratch.chmod(0o755)
            share_weights(scratch)
            if not folder.is_dir():
                scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    console.print(f"{file.name}: dequantised, once, into {folder}", markup=False)
    return folder


def cache() -> Path:
    """Where such folders are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "evenflow" / "gguf"


@contextmanager
def caching(folder: Path) -> Iterator[None]:
    """A refusal to write there as a sentence."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write there ({error.strerror or error}); it is the cache of "
            "dequantised GGUF files, and XDG_CACHE_HOME names another place for it"
        ) from error


def dequantise(file: Path, folder: Path) -> None:
    """Write model and tokenizer as Transformers keeps them."""
    # Alone: Transformers would take a tokenizer that lies beside the file before the file's own.
    alone = folder / "alone"
    alone.mkdir()
    (alone / file.name).symlink_to(file)
    where: Any = {"pretrained_model_name_or_path": str(alone), "gguf_file": file.name}
    opened = open_whole(file)
    try:
        refuse_part(file, opened)
        kind = AutoConfig.from_pretrained(**where)
        if type(kind) not in MODEL_FOR_CAUSAL_LM_MAPPING:
            raise CannotLoad(
                f"model.path: {file.name}: {kind.model_type} is no causal language model"
            )
        tokenizer = AutoTokenizer.from_pretrained(**where)
        say_end(tokenizer, opened)
        load: Any = AutoModelForCausalLM.from_pretrained
        read, found = load(
            **where,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # `require_weights` says which
            output_loading_info=True,
        )
        config = read.config
        # Transformers passes over these without a word; `require_weights` says which.
        more = {t.name for t in opened.tensors if layer_of(t.name) >= config.num_hidden_layers}
        found["unexpected_keys"] = {*found["unexpected_keys"], *more}
        require_weights(found, read, file.name)
        # Said of the file that was read; what is written is not quantised.
        vars(config).pop("quantization_config", None)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.load_state_dict(read.state_dict())
        dtype = widest(opened)
    except UserError:
        raise
    except Exception as error:  # whatever a file of any origin makes of three readers
        raise CannotLoad(
            f"model.path: Transformers cannot read {file.name}: {brief(error)}; where the model's "
            "own folder is to be had, name that"
        ) from error
    shutil.rmtree(alone)
    config.dtype = dtype
    with system_errors():
        model.to(dtype).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def open_whole(file: Path) -> Any:
    """The header of a file, and where its weights lie; UserError where it does not hold them."""
    from gguf import GGUFReader

    try:
        return GGUFReader(file)
    except Exception as error:
        if "version" in str(error):
            raise CannotLoad(f"model.path: cannot read {file.name}: {brief(error)}") from error
        raise CannotLoad(
            f"model.path: {file.name} is cut short or damaged: its {file.stat().st_size:,} bytes "
            "do not hold what its header says; get it again"
        ) from error


def refuse_part(file: Path, opened: Any) -> None:
    """UserError for one of several files that make a model together: it lacks most weights."""
    named, count = PART.search(file.stem), opened.fields.get("split.count")
    parts = max(int(named[1]) if named else 1, int(count.parts[-1][0]) if count else 1)
    if parts > 1:
        raise UserError(
            f"model.path: {file.name} is one of {parts} parts of a model, and Transformers reads "
            "whole files; join them (llama-gguf-split --merge), or name the model's own folder"
        )


def layer_of(name: str) -> int:
    """The layer that a weight of a GGUF file belongs to; -1 for one of none."""
    layer = LAYER.match(name)
    return int(layer[1]) if layer else -1


def say_end(tokenizer: Any, opened: Any) -> None:
    """Let the tokenizer's end token be the file's: earlier releases of Transformers take the one of
    the model's family, which the file's vocabulary need not have."""
    of_file = opened.fields.get("tokenizer.ggml.eos_token_id")
    if of_file is not None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(int(of_file.parts[-1][0]))


def widest(opened: Any) -> torch.dtype:
    """The type that holds the file's matrices: float32 or float16 where they are, else bfloat16."""
    kinds = {t.tensor_type.name for t in opened.tensors if len(t.shape) > 1}
    if kinds == {"F16"}:
        return torch.float16
    return torch.float32 if "F32" in kinds and kinds <= {"F32", "F16", "BF16"} else torch.bfloat16
