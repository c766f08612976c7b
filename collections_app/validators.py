"""What fields of these models must fulfil together. Each raises Django's ``ValidationError`` that names the field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

_MAPPED = {"instruction", "state", "cameras"}


def validate_distinct(field: str, values: Sequence[str]) -> None:
    """Every one of ``values`` is there once."""
    if len(set(values)) != len(values):
        raise ValidationError({field: _("Name each one only once.")})


def validate_same_length(field: str, values: Sequence[str], others: Sequence[str]) -> None:
    """``values`` are none, or one for each of ``others``."""
    if values and len(values) != len(others):
        message = _("Give none, or one for each of the %(count)d entries.") % {"count": len(others)}
        raise ValidationError({field: message})


def validate_observation_mapping(mapping: Any, *, cameras: Sequence[str]) -> None:
    """Only known parts, each naming observation keys, and only cameras that the collection has."""
    reason = _mapping_fault(mapping, cameras)
    if reason:
        raise ValidationError({"observation_mapping": reason})


def _mapping_fault(mapping: Any, cameras: Sequence[str]) -> str:
    if not isinstance(mapping, dict) or not mapping.keys() <= _MAPPED:
        return _('Give an object with the keys "instruction", "state" and "cameras", or none of them.')
    if not isinstance(mapping.get("instruction", ""), str):
        return _('"instruction" is the name of one observation key.')
    if not _is_list_of_text(mapping.get("state", [])):
        return _('"state" is a list of observation keys, whose values follow one another.')
    sources = mapping.get("cameras", {})
    if not isinstance(sources, dict) or not _is_list_of_text(list(sources.values())):
        return _('"cameras" maps a camera to the observation key of its image.')
    unknown = sorted(sources.keys() - set(cameras))
    return _("The collection has no camera %(name)s.") % {"name": unknown[0]} if unknown else ""


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
