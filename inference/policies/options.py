"""Strict reading of a policy version's options, which are text on the command line and typed values in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inference.exceptions import PolicyConfigurationError


def number(options: Mapping[str, Any], name: str, *, default: float) -> float:
    """A finite number that is not negative."""
    value = options.get(name, default)
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            parsed = float(value)
        except ValueError:
            parsed = -1.0
        if 0 <= parsed < float("inf"):
            return parsed
    raise PolicyConfigurationError(f"The option '{name}' is a number, 0 or more, not {value!r}.")


def count(options: Mapping[str, Any], name: str, *, default: int) -> int:
    """A whole number, 1 or more."""
    value = optional_count(options, name)
    return default if value is None else value


def optional_count(options: Mapping[str, Any], name: str) -> int | None:
    """A whole number, 1 or more, or ``None`` where the option is absent."""
    value = options.get(name)
    if value is None:
        return None
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise PolicyConfigurationError(f"The option '{name}' is a whole number, 1 or more, not {value!r}.")


def names(options: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    """Different names, as a list or as text with commas, or ``None`` where the option is absent."""
    value = options.get(name)
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value
    if isinstance(parts, list | tuple) and all(isinstance(part, str) for part in parts):
        parsed = tuple(part.strip() for part in parts)
        if parsed and all(parsed) and len(set(parsed)) == len(parsed):
            return parsed
    raise PolicyConfigurationError(f"The option '{name}' is a list of different names, not {value!r}.")


def image_size(options: Mapping[str, Any], name: str, *, default: tuple[int, int]) -> tuple[int, int]:
    """Height and width in pixels, as ``[224, 224]`` or as text, ``224x224``."""
    value = options.get(name)
    if value is None:
        return default
    parts = value.split("x") if isinstance(value, str) else value
    if isinstance(parts, list | tuple) and len(parts) == 2:
        height, width = (count({name: part}, name, default=1) for part in parts)
        return height, width
    raise PolicyConfigurationError(f"The option '{name}' is a height and a width such as 224x224, not {value!r}.")


def flag(options: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """Yes or no: a truth value, or ``true``, ``false``, ``1``, ``0`` as text."""
    value = options.get(name, default)
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "1", "false", "0"):
        return value.lower() in ("true", "1")
    raise PolicyConfigurationError(f"The option '{name}' is true or false, not {value!r}.")


def text(options: Mapping[str, Any], name: str) -> str | None:
    """Text that is not empty, or ``None`` where the option is absent."""
    value = options.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    raise PolicyConfigurationError(f"The option '{name}' is text, not {value!r}.")


def sha256(options: Mapping[str, Any], name: str) -> str | None:
    """64 hexadecimal digits in lower case, or ``None`` where the option is absent."""
    value = text(options, name)
    if value is None:
        return None
    if len(value) != 64 or not set(value.lower()) <= set("0123456789abcdef"):
        raise PolicyConfigurationError(f"The option '{name}' is a SHA-256, 64 hexadecimal digits, not '{value}'.")
    return value.lower()
