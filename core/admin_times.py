"""Moments that a form of the admin shows and nobody edits, in the reader's own time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.admin import helpers
from django.contrib.admin.utils import lookup_field
from django.core.exceptions import ObjectDoesNotExist

from core.templatetags.times import moment


class LocalReadonlyField(helpers.AdminReadonlyField):
    """Django's, but a moment is a ``<time>``: local, to the second, with UTC in its title."""

    def contents(self) -> Any:
        try:
            _, _, value = lookup_field(self.field["field"], self.form.instance, self.model_admin)
        except (AttributeError, ValueError, ObjectDoesNotExist):
            return super().contents()
        return moment(value, "exact") if isinstance(value, datetime) else super().contents()


def install() -> None:
    """Put it where forms and inlines look for the class: Django has no setting for that."""
    helpers.AdminReadonlyField = LocalReadonlyField  # type: ignore[misc]
