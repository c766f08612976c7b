from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.utils.translation import gettext_lazy as _

from accounts import services
from core.problems import Problem


class SignInForm(AuthenticationForm):
    """Django's, with attempts counted and refused by the same service that the API asks."""

    def clean(self) -> dict[str, Any]:
        username, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if username and password and self.request is not None:
            try:
                self.user_cache = services.check_password(
                    request=self.request,
                    username=username,
                    password=password,
                    ip_address=self.request.META.get("REMOTE_ADDR"),
                )
            except Problem as problem:
                raise forms.ValidationError(problem.detail, code=problem.code) from None
            self.confirm_login_allowed(self.user_cache)
        return self.cleaned_data


class ChangePasswordForm(PasswordChangeForm):
    """Django's, with guesses at the old password counted: a session left open is no licence to find it out."""

    ip_address: str | None = None

    def clean_old_password(self) -> str:
        try:
            services.check_old_password(
                user=self.user, password=self.cleaned_data["old_password"], ip_address=self.ip_address
            )
        except Problem as problem:
            raise forms.ValidationError(problem.detail, code=problem.code) from None
        return str(self.cleaned_data["old_password"])


class CodeForm(forms.Form):
    """The six digits of an authenticator app, or where it is lost a recovery code."""

    code = forms.CharField(
        label=_("Code"),
        max_length=32,
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "inputmode": "text", "autofocus": True, "spellcheck": "false"}
        ),
    )
