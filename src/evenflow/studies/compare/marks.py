"""What the runs of a comparison read beside their recipe, as marks that differ where the contents
do."""

from __future__ import annotations

import hashlib
from contextlib import suppress

from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.inputs import expanded, files_of
from evenflow.policy.fingerprint import mark_of


def marks_of(config: TrainConfig) -> dict[str, str]:
    """Field → mark, of questions in files and of models; without those whose mark is not known,
    and those that cannot be read, which is said where they are loaded."""
    data, model = config.data, config.model
    read = [
        ("data.train", data.train, mark_of_file),
        ("data.test", data.test, mark_of_file),
        ("model.path", model.path, mark_of),
        ("model.reference", model.reference, mark_of),
    ]
    found = {}
    for field, source, marked in read:
        with suppress(UserError, OSError):
            if source is not None and (mark := marked(source)):
                found[field] = mark
    return found


def mark_of_file(source: str) -> str | None:
    """A hash of a file's bytes, or of those of a pattern's files in their order; None for what is
    no file, such as the name of a dataset."""
    hashes = []
    for path in map(expanded, files_of(source)):
        if not path.is_file():
            return None
        with path.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    together = hashlib.sha256(" ".join(hashes).encode()).hexdigest()
    return f"sha256 {hashes[0] if len(hashes) == 1 else together}"
