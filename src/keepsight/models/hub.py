"""From what the user wrote (a directory or a Hugging Face id) to a directory on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from keepsight.types import KeepsightError

__all__ = ["model_directory"]

_WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]


def model_directory(location: str, *, code: bool = False) -> Path:
    """The directory that holds a model's files: `location` itself, or the snapshot of a hub id.

    A snapshot already on this machine is used as it is, so that the same command gives the same answers next year.
    Weights are fetched as safetensors only; Python files only with `code`.

    Raises:
        KeepsightError: no such directory, or a hub id that is neither cached nor reachable.
    """
    path = Path(location).expanduser()
    if os.path.isdir(path):
        return path
    if os.path.exists(path) or not _can_be_hub_id(location):
        raise KeepsightError(
            f"model directory {location} does not exist; give a directory or a Hugging Face id"
        )
    wanted = [*_WANTED, "*.py"] if code else _WANTED
    return _cached_snapshot(location) or _download(location, wanted)


def _can_be_hub_id(location: str) -> bool:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(location)
    except HFValidationError:
        return False
    return True


def _cached_snapshot(hub_id: str) -> Path | None:
    """The newest complete snapshot in the local cache; an interrupted download does not count."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = Path(snapshot_download(hub_id, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    complete = os.path.isfile(found / "config.json") and any(found.glob("*.safetensors"))
    return found if complete else None


def _download(hub_id: str, wanted: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=wanted))
    except RepositoryNotFoundError as error:
        raise KeepsightError(
            f"model {hub_id} is neither a directory here nor a model you can read on the Hugging Face hub; "
            "check the spelling, or log in with `hf auth login` if it is gated"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise KeepsightError(
            f"model {hub_id} is neither a directory nor in the local Hugging Face cache, and the hub cannot be "
            "reached (offline?); download it first with `hf download`, or give a directory"
        ) from error
