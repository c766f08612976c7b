from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet, InvalidToken
from django.core.exceptions import FieldError
from django.core.management import call_command
from django.db import connection

from accounts.models import User
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def stored(user: User) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT email FROM users WHERE id = %s", [user.pk])
        (value,) = cursor.fetchone()
    return str(value)


def test_the_database_holds_only_ciphertext_and_each_time_another() -> None:
    one, two = UserFactory(email="ada@example.org"), UserFactory(email="ada@example.org")
    assert "ada" not in stored(one)
    assert stored(one) != stored(two)
    assert User.objects.get(pk=one.pk).email == "ada@example.org"


def test_an_empty_value_stays_empty() -> None:
    assert stored(UserFactory(email="")) == ""


def test_a_look_up_by_its_value_is_refused() -> None:
    with pytest.raises(FieldError):
        User.objects.filter(email__startswith="ada").exists()
    with pytest.raises(FieldError):
        User.objects.filter(email="ada@example.org").exists()


def test_a_tampered_value_is_an_error_and_not_another_value() -> None:
    user = UserFactory(email="ada@example.org")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET email = overlay(email placing 'AAAA' from 30) WHERE id = %s", [user.pk])
    with pytest.raises(InvalidToken):
        User.objects.get(pk=user.pk)


def test_rotation_moves_every_value_to_the_first_key(settings: Any) -> None:
    user = UserFactory(email="ada@example.org")
    old = settings.FIELD_ENCRYPTION_KEYS
    new = Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEYS = [new, *old]
    out = StringIO()
    call_command("rotate_encrypted_fields", stdout=out)
    assert "accounts.User.email: 1" in out.getvalue()
    settings.FIELD_ENCRYPTION_KEYS = [new]
    assert User.objects.get(pk=user.pk).email == "ada@example.org"
    settings.FIELD_ENCRYPTION_KEYS = old
    with pytest.raises(InvalidToken):
        User.objects.get(pk=user.pk)
