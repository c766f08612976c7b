from __future__ import annotations

from rest_framework import serializers

from core.serializers import StrictFieldsMixin


class CredentialsSerializer(StrictFieldsMixin):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=1024, trim_whitespace=False)
    code = serializers.CharField(
        max_length=32, required=False, default="", help_text="Of the authenticator app, for those who have one."
    )


class RefreshSerializer(StrictFieldsMixin):
    refresh = serializers.CharField(max_length=4096)


class LogoutSerializer(StrictFieldsMixin):
    refresh = serializers.CharField(
        max_length=4096, required=False, help_text="Without it, the access token of the Authorization header counts."
    )
    everywhere = serializers.BooleanField(default=False, help_text="End every session and token of this person.")


class TokenPairSerializer(serializers.Serializer):
    access = serializers.CharField()
    refresh = serializers.CharField()
