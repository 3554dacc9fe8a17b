"""A model's folder on the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path

import huggingface_hub

from evenflow.errors import UserError

NAME = re.compile(r"[\w.-]+/[\w.-]+")


def require_login(name: str) -> None:
    """UserError where a folder could not be pushed under that name: asked for before anything is
    loaded."""
    if not NAME.fullmatch(name):
        raise UserError(f"--push: must be ORG/NAME, not {name}")
    if not huggingface_hub.get_token():
        raise UserError("--push: nobody is logged in; run `hf auth login`, or set HF_TOKEN")


def push(folder: Path, name: str) -> str:
    """Upload a model's folder, its card included; a repository that is not there is made, private.
    Gives its address."""
    api = huggingface_hub.HfApi()
    try:
        address = api.create_repo(name, private=True, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Export by evenflow")
    except Exception as error:  # no network, no permission: each has its own kind
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"--push {name}: {reason}; the model lies in {folder}") from error
    return str(address)
