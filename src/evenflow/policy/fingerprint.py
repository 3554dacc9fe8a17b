"""Which model gave the answers: a mark that differs where weights or tokenizer do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from transformers import AutoConfig

from evenflow.policy.adapters import base_of, is_adapter
from evenflow.policy.loading import resolve

READ = (
    *("*.safetensors", "*.bin", "config.json", "generation_config.json", "adapter_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "chat_templates/*.jinja"),
    *("vocab.json", "vocab.txt", "merges.txt", "added_tokens.json", "special_tokens_map.json"),
    *("*.model", "tekken.json"),  # SentencePiece's, under several names, and Mistral's
)
"""The files that decide what a model answers."""
BLOCK, BLOCKS = 1 << 20, 64
"""Of a file with more than BLOCKS blocks so many are read, evenly spread: a model of 14 GB would
else take a minute, and training moves all of a file."""


def mark_of(path: str) -> str | None:
    """A hash over a folder's files (with an adapter, its base's too), or the commit of a Hugging
    Face name; None where that is not known."""
    resolved = resolve(path)
    folder = Path(resolved)
    if not folder.is_dir():
        return _commit(resolved)
    digest = hashlib.sha256()
    for file in sorted({file for pattern in READ for file in folder.glob(pattern)}):
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        for block in _blocks(file):
            digest.update(block)
    if is_adapter(folder):
        digest.update(str(mark_of(base_of(folder))).encode())
    return f"sha256 {digest.hexdigest()}"


def _blocks(file: Path) -> Iterator[bytes]:
    """The file's blocks, or `BLOCKS` of them: the first, the last, and others between."""
    last = max(0, file.stat().st_size - BLOCK)
    whole = last <= BLOCK * (BLOCKS - 1)
    places = range(0, last + BLOCK, BLOCK) if whole else _spread(last)
    with file.open("rb") as stream:
        for place in places:
            stream.seek(place)
            yield stream.read(BLOCK)


def _spread(last: int) -> Iterator[int]:
    return (last * block // (BLOCKS - 1) for block in range(BLOCKS))


def _commit(name: str) -> str | None:
    try:
        found = getattr(AutoConfig.from_pretrained(name), "_commit_hash", None)
    except (OSError, ValueError):  # what is wrong is said when the model is loaded
        return None
    return found and f"commit {found}"
