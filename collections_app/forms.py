"""Forms of the admin. What the services would refuse is refused here already, beside the field."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.forms.models import BaseInlineFormSet
from django.utils.translation import gettext_lazy as _

from accounts.choices import SCOPES, Permission
from accounts.models import ApiKey
from accounts.principals import Principal
from collections_app import services
from collections_app.models import ActionSpace, ApiKeyGrant, Collection, Membership


class MembershipForm(forms.ModelForm):
    """A member's role; who the member is stays once the membership exists."""

    class Meta:
        model = Membership
        fields = ("user", "role")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["user"].disabled = self.instance.pk is not None


class GrantForm(forms.ModelForm):
    class Meta:
        model = ApiKeyGrant
        fields = ("api_key",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["api_key"].disabled = self.instance.pk is not None


class ActionSpaceForm(forms.ModelForm):
    class Meta:
        model = ActionSpace
        fields = ("name", "control_rate_hz", "state_names", "state_units", "state_limits")

    def clean_state_names(self) -> list[str]:
        names: list[str] = self.cleaned_data["state_names"]
        if not self.instance._state.adding:
            _raise_plain(self.instance, state_names=names)
        return names

    def clean_state_limits(self) -> dict[str, Any]:
        """An emptied field is no limits."""
        return self.cleaned_data["state_limits"] or {}


class DimensionFormSet(BaseInlineFormSet):
    """The dimensions of an action, in the order of their positions."""

    def clean(self) -> None:
        super().clean()
        if any(self.errors):
            return
        specs = self.specs()
        if not specs:
            raise ValidationError(_("An action has at least one dimension."))
        if not self.instance._state.adding:
            _raise_plain(self.instance, dimension_names=[spec["name"] for spec in specs])

    def specs(self) -> list[services.DimensionSpec]:
        """What was entered, without deleted and empty rows."""
        rows = [form.cleaned_data for form in self.forms if form.cleaned_data and not form.cleaned_data.get("DELETE")]
        names = services.DimensionSpec.__annotations__
        return [
            services.DimensionSpec(**{name: row[name] for name in names})  # type: ignore[typeddict-item]
            for row in sorted(rows, key=lambda row: row["position"])
        ]


class ApiKeyForm(forms.ModelForm):
    """A key with its scopes as boxes to tick; a new one also says which collections it is for."""

    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, scope.label) for scope in SCOPES], widget=forms.CheckboxSelectMultiple, label=_("scopes")
    )
    collections = forms.ModelMultipleChoiceField(
        queryset=Collection.objects.none(), label=_("collections"), help_text=_("Where the key may be used.")
    )

    class Meta:
        model = ApiKey
        fields = ("name", "scopes", "tier", "allowed_networks", "expires_at")

    caller: Principal = AnonymousUser()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "collections" in self.fields:
            managed = Collection.objects.restrict(self.caller, Permission.COLLECTION_MANAGE)
            self.fields["collections"].queryset = managed  # type: ignore[attr-defined]


def _raise_plain(
    action_space: ActionSpace, *, state_names: list[str] | None = None, dimension_names: list[str] | None = None
) -> None:
    """The service's refusal without its field: here the field is where the message stands."""
    try:
        services.check_structure_unchanged(action_space, state_names=state_names, dimension_names=dimension_names)
    except ValidationError as error:
        raise ValidationError(error.messages) from None
