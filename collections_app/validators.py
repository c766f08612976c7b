"""What fields of these models must fulfil together. Each raises Django's ``ValidationError`` that names the field."""

from __future__ import annotations

import math
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


def validate_state_limits(limits: Any, *, names: Sequence[str]) -> None:
    """``{entry of the state: [low, high]}``, null where there is no limit, and low below high."""
    reason = _limits_fault(limits, names)
    if reason:
        raise ValidationError({"state_limits": reason})


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


def _limits_fault(limits: Any, names: Sequence[str]) -> str:
    if not isinstance(limits, dict):
        return _("Give an object of entries of the state, each with its low and its high limit.")
    for name, pair in limits.items():
        if name not in names:
            return _("The state has no entry '%(name)s'.") % {"name": name}
        if not isinstance(pair, list) or len(pair) != 2 or not all(_is_limit(value) for value in pair):
            return _("'%(name)s' needs a list of two numbers; null is no limit.") % {"name": name}
        if None not in pair and pair[0] >= pair[1]:
            return _("'%(name)s': the low limit must lie below the high one.") % {"name": name}
    return ""


def _is_limit(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and math.isfinite(value))
