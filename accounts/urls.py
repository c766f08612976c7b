from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import URLPattern, URLResolver, path

from accounts import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("login/", views.SignInView.as_view(), name="login"),
    path("login/code/", views.SecondFactorView.as_view(), name="second-factor"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("account/", views.AccountView.as_view(), name="account"),
    path("account/password/", views.ChangePasswordView.as_view(), name="change-password"),
    path("account/second-factor/", views.SecondFactorSetupView.as_view(), name="second-factor-setup"),
    path("account/log-out-everywhere/", views.LogOutEverywhereView.as_view(), name="log-out-everywhere"),
]
