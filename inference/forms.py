from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _

from inference.choices import VersionState
from inference.models import Deployment, PolicyVersion
from inference.policies.handler import backends


class PolicyVersionForm(forms.ModelForm):
    """A version to register; what it is never changes afterwards."""

    backend = forms.ChoiceField(choices=lambda: [(name, name) for name in backends.names])

    class Meta:
        model = PolicyVersion
        fields = ("name", "version", "backend", "options", "checkpoint_sha256", "description")


class DeploymentForm(forms.ModelForm):
    class Meta:
        model = Deployment
        fields = ("collection", "policy_version", "role", "weight")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        version = cleaned.get("policy_version") or getattr(self.instance, "policy_version", None)
        if version is not None and version.state == VersionState.RETIRED:
            raise forms.ValidationError(_("A retired version cannot be deployed."))
        return cleaned
