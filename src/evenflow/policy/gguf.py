"""A model from a GGUF file: read by Transformers, dequantised, kept as a folder like any other."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evenflow.errors import CannotLoad, UserError
from evenflow.installation import how_to_install
from evenflow.run.console import console
from evenflow.run.files import system_errors, writing

MAGIC = b"GGUF"


def is_gguf(path: Path) -> bool:
    """Whether a path names a file of that kind, by its ending."""
    return path.suffix.lower() == ".gguf" and path.is_file()


def unpacked(file: Path) -> Path:
    """The folder with the model of a GGUF file, made on first use in the user's cache.

    Another file, or the same one changed, has another folder. Weights of 32 or 16 bits are kept as
    they are, all others in bfloat16. UserError for what Transformers cannot read.
    """
    file = file.resolve()
    at = file.stat()
    name = hashlib.sha256(f"{file}:{at.st_size}:{at.st_mtime_ns}".encode()).hexdigest()[:12]
    folder = cache() / f"{file.stem}-{name}"
    if folder.is_dir():
        return folder
    with file.open("rb") as opened:
        if opened.read(4) != MAGIC:
            raise CannotLoad(f"model.path: {file.name} is no GGUF file; its first bytes say so")
    if importlib.util.find_spec("gguf") is None:
        raise UserError(f"model.path: a GGUF file needs a package: {how_to_install('gguf')}")
    with writing(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: another process may make it, too, and this one may be stopped.
    scratch = Path(tempfile.mkdtemp(prefix=f".{file.stem}-", dir=folder.parent))
    try:
        with writing(folder):
            dequantise(file, scratch)
        scratch.chmod(0o755)
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


def dequantise(file: Path, folder: Path) -> None:
    """Write model and tokenizer as Transformers keeps them."""
    from gguf import GGUFReader

    where: Any = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        opened = GGUFReader(file)
        tokenizer = AutoTokenizer.from_pretrained(**where)
        say_end(tokenizer, opened)
        read: Any = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
        config = read.config
        # Said of the file that was read; what is written is not quantised.
        vars(config).pop("quantization_config", None)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.load_state_dict(read.state_dict())
        dtype = widest(opened)
    except Exception as error:  # whatever a file of any origin makes of three readers
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise CannotLoad(
            f"model.path: Transformers cannot read {file.name}: {reason}; where the model's own "
            "folder is to be had, name that"
        ) from error
    config.dtype = dtype
    with system_errors():
        model.to(dtype).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


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
