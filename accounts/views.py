"""Logging in and out with a browser, and the page where people look after their own account."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import LoginView, PasswordChangeView
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render, resolve_url
from django.urls import reverse_lazy
from django.utils.translation import gettext as _
from django.views import View
from django.views.generic import FormView, TemplateView

from accounts import pending_sign_in, second_factor, services
from accounts.forms import ChangePasswordForm, CodeForm, SignInForm
from accounts.models import User
from core.problems import Problem

_BACKEND = settings.AUTHENTICATION_BACKENDS[0]
_METHODS = ["get", "head", "options", "post"]


class SignInView(LoginView):
    """Name and password. Who has, or must have, a second factor goes on to it before any session is theirs."""

    authentication_form = SignInForm
    http_method_names = _METHODS

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        user = form.get_user()
        assert isinstance(user, User)
        if second_factor.confirmed_factor(user):
            pending_sign_in.begin(self.request, user, next_url=self.get_success_url())
            return redirect("second-factor")
        if second_factor.is_required(user):
            pending_sign_in.begin(self.request, user, next_url=self.get_success_url())
            return redirect("second-factor-setup")
        return super().form_valid(form)


class SecondFactorView(FormView):
    """The code after the password."""

    form_class = CodeForm
    template_name = "registration/second_factor.html"
    http_method_names = _METHODS

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method in ("GET", "HEAD", "POST") and pending_sign_in.current(request) is None:
            return redirect("login")
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: CodeForm) -> HttpResponse:
        user = pending_sign_in.current(self.request)
        assert user is not None
        try:
            services.check_code(user=user, code=form.cleaned_data["code"], ip_address=_address(self.request))
        except Problem as problem:
            form.add_error("code", problem.detail)
            return self.form_invalid(form)
        next_url = pending_sign_in.finish(self.request)
        login(self.request, user, backend=_BACKEND)
        return redirect(next_url or settings.LOGIN_REDIRECT_URL)


class SecondFactorSetupView(FormView):
    """A secret for the authenticator app, proved by its first code; then the recovery codes, once.

    For people who are logged in, and for staff who must have a second factor before they are.
    """

    form_class = CodeForm
    template_name = "registration/second_factor_setup.html"
    http_method_names = _METHODS

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method not in ("GET", "HEAD", "POST"):
            return super().dispatch(request, *args, **kwargs)
        user = self._person()
        if user is None:
            return redirect("login")
        if second_factor.confirmed_factor(user):
            return redirect("account" if request.user.is_authenticated else "second-factor")
        return super().dispatch(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self._person()
        assert user is not None
        factor = services.begin_second_factor(user=user)
        uri = second_factor.provisioning_uri(factor)
        return super().get_context_data(
            secret=factor.secret, uri=uri, qr_code=second_factor.qr_code_data_uri(uri), **kwargs
        )

    def form_valid(self, form: CodeForm) -> HttpResponse:
        user = self._person()
        assert user is not None
        try:
            codes = services.confirm_second_factor(
                user=user, code=form.cleaned_data["code"], ip_address=_address(self.request)
            )
        except Problem as problem:
            form.add_error("code", problem.detail)
            return self.form_invalid(form)
        next_url = pending_sign_in.finish(self.request) or resolve_url("account")
        if not self.request.user.is_authenticated:
            login(self.request, user, backend=_BACKEND)
        response = render(self.request, "registration/recovery_codes.html", {"codes": codes, "next": next_url})
        response["Cache-Control"] = "no-store"
        return response

    def _person(self) -> User | None:
        user = self.request.user
        return user if isinstance(user, User) else pending_sign_in.current(self.request)


class AccountView(LoginRequiredMixin, TemplateView):
    """What a person can do with their own account."""

    template_name = "registration/account.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.request.user
        assert isinstance(user, User)
        return super().get_context_data(
            factor=second_factor.confirmed_factor(user),
            token_families=user.token_families.alive(),
            **kwargs,
        )


class ChangePasswordView(PasswordChangeView):
    """A new password ends every session and token but the one that set it."""

    form_class = ChangePasswordForm
    template_name = "registration/change_password.html"
    http_method_names = _METHODS
    success_url = reverse_lazy("account")

    def get_form(self, form_class: Any = None) -> Any:
        form: Any = super().get_form(form_class)
        form.ip_address = _address(self.request)
        return form

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        user = self.request.user
        assert isinstance(user, User)
        services.set_password(user=user, password=form.cleaned_data["new_password1"])
        user.refresh_from_db()
        login(self.request, user, backend=_BACKEND)
        messages.success(self.request, _("Your password was changed. You are logged out everywhere else."))
        return redirect(self.get_success_url())


class LogOutEverywhereView(LoginRequiredMixin, View):
    """Every session and token of this person ends, this one too."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        user = request.user
        assert isinstance(user, User)
        services.log_out_everywhere(user=user)
        request.session.flush()
        return redirect("login")


def _address(request: HttpRequest) -> str | None:
    return request.META.get("REMOTE_ADDR") or None
