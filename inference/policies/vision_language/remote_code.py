"""Python that a checkpoint brings along: run only where an administrator allowed these very bytes."""

from __future__ import annotations

from pathlib import Path

from inference.exceptions import PolicyLoadError
from inference.policies.checkpoint_folder import read_json

_NAMING_FILES = ("config.json", "processor_config.json", "preprocessor_config.json", "tokenizer_config.json")


def classes_named(folder: Path) -> dict[str, str]:
    """What the checkpoint's ``auto_map`` entries name: role to ``module.Class``."""
    named: dict[str, str] = {}
    for file in _NAMING_FILES:
        entries = read_json(folder / file).get("auto_map", {})
        for role, reference in entries.items() if isinstance(entries, dict) else ():
            for one in reference if isinstance(reference, list) else [reference]:
                if one:
                    named[role] = str(one)
    return named


def check_permission(folder: Path, *, sha256: str, allowed: str | None, name: str) -> None:
    """Raise ``PolicyLoadError`` unless ``allowed`` is ``sha256``, the digest of the checkpoint with its code.

    Code that would come from another repository is not part of the digest, and so is never run.
    """
    elsewhere = sorted(reference for reference in classes_named(folder).values() if "--" in reference)
    if elsewhere:
        raise PolicyLoadError(f"The code of '{name}' lies in another repository ({elsewhere[0]}): it is not run.")
    if allowed is None:
        raise PolicyLoadError(
            f"'{name}' needs Python code that it brings along, which is not run unasked. Whoever has read it allows "
            f"this checkpoint, and no other, with the option trust_remote_code={sha256}."
        )
    if allowed != sha256:
        raise PolicyLoadError(
            f"'trust_remote_code' allows another checkpoint than '{name}', whose SHA-256 is {sha256}: "
            "its code, or anything else in it, has changed since."
        )
