"""A checkpoint that is a folder: a local one or the hub's, known by one SHA-256, with weights in safetensors only."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from inference.exceptions import PolicyLoadError

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# What a checkpoint is made of. Pickled weights (.bin, .pt, .pth) are neither fetched nor read.
_WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.py")


def resolve(checkpoint: str, *, revision: str | None = None) -> Path:
    """The folder of ``checkpoint``: a path, or ``organisation/name`` on the hub, fetched unless it is cached.

    Raises ``PolicyLoadError`` when there is neither, or nothing in it is a safetensors file.
    """
    folder = Path(checkpoint).expanduser()
    if not folder.is_dir():
        if not _HUB_NAME.fullmatch(checkpoint):
            raise PolicyLoadError(f"There is no folder '{checkpoint}', and a name on the hub is organisation/name.")
        folder = _from_hub(checkpoint, revision)
    if not any(folder.glob("*.safetensors")):
        raise PolicyLoadError(f"The checkpoint '{checkpoint}' holds no safetensors file; pickled weights are not read.")
    return folder


def digest(folder: Path) -> str:
    """One SHA-256 for all files of ``folder``, its code and statistics too, as ``sha256sum`` lists them by name::

        find -L . -type f -not -path '*/.*' -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum

    Hidden files and folders do not count.
    """
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    listing = hashlib.sha256()
    for name in sorted(files, key=lambda name: name.encode()):
        if not any(part.startswith(".") for part in name.split("/")):
            listing.update(f"{file_digest(files[name])}  {name}\n".encode())
    return listing.hexdigest()


def file_digest(path: Path) -> str:
    """The SHA-256 of one file, read in pieces: it may be larger than the memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(found: str, *, expected: str | None, name: str) -> None:
    """Raise ``PolicyLoadError`` unless ``found`` is the SHA-256 that was ``expected`` of the checkpoint ``name``."""
    if expected is not None and found != expected.lower():
        raise PolicyLoadError(f"The checkpoint '{name}' does not have the SHA-256 that was asked for; it has {found}.")


def read_json(path: Path) -> dict[str, Any]:
    """The object in ``path``, empty where there is no such file. Raises ``PolicyLoadError``: it is damaged."""
    if not path.is_file():
        return {}
    try:
        parsed = json.loads(path.read_bytes())
    except ValueError as error:
        raise PolicyLoadError(f"The file '{path.name}' of the checkpoint is not JSON: {error}.") from error
    if not isinstance(parsed, dict):
        raise PolicyLoadError(f"The file '{path.name}' of the checkpoint is not a JSON object.")
    return parsed


def _from_hub(name: str, revision: str | None) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(_WANTED)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise PolicyLoadError(f"'{name}' is neither a folder nor to be had from the hub: {reason}") from error
