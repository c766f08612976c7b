"""What people send from the admin. Forms check shape; services check meaning."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from core.problems import Problem
from pipeline import quarantine, services
from pipeline.models import QuarantinedRecord


class FixForm(forms.ModelForm):
    """The parts of a quarantined record that may be fixed; the service says whether it would get through."""

    step = forms.IntegerField(required=False, min_value=0)
    state = forms.JSONField(widget=forms.Textarea(attrs={"rows": 3, "cols": 100}))
    actions = forms.JSONField(
        required=False,
        empty_value=[],
        widget=forms.Textarea(attrs={"rows": 10, "cols": 100}),
        help_text=_("What was sent."),
    )
    proposed_actions = forms.JSONField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 10, "cols": 100}),
        help_text=_("What the policy said; empty where it is what was sent."),
    )
    images = forms.JSONField(
        required=False,
        empty_value={},
        widget=forms.Textarea(attrs={"rows": 3, "cols": 100}),
        help_text=_("Cameras and their images. Leave out an image that is broken."),
    )

    class Meta:
        model = QuarantinedRecord
        fields: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        record: QuarantinedRecord = kwargs["instance"]
        kwargs["initial"] = {**quarantine.values_of(record), **(kwargs.get("initial") or {})}
        super().__init__(*args, **kwargs)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if not self.errors:
            try:
                services.check_fix(record=self.instance, values=self.values(cleaned))
            except Problem as problem:
                for error in problem.errors:
                    name = error.pointer.strip("/")
                    self.add_error(name if name in self.fields else None, ValidationError(error.detail))
                if not problem.errors:
                    self.add_error(None, ValidationError(problem.detail))
        return cleaned

    def values(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        return {name: cleaned[name] for name in quarantine.FIXABLE}
