"""Model fields that are encrypted at rest."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, MultiFernet
from django import forms
from django.conf import settings
from django.db import models
from django.db.models.lookups import Lookup


def fernet() -> MultiFernet:
    """The cipher of ``FIELD_ENCRYPTION_KEYS``: the first key encrypts, every key decrypts."""
    return _fernet(tuple(settings.FIELD_ENCRYPTION_KEYS))


@lru_cache(maxsize=4)
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


class EncryptedTextField(models.TextField):
    """Text that the database sees only encrypted and authenticated (Fernet: AES-128-CBC with HMAC-SHA256).

    It can be asked whether it is null or empty, nothing else: equal texts have different ciphertexts.
    ``manage.py rotate_encrypted_fields`` moves every value to the first key.
    """

    def from_db_value(self, value: str | None, _expression: Any, _connection: Any) -> str | None:
        """Decrypt. Raises ``cryptography.fernet.InvalidToken`` where no key fits or the value was tampered with."""
        return fernet().decrypt(value.encode()).decode() if value else value

    def get_prep_value(self, value: Any) -> Any:
        text = super().get_prep_value(value)
        return fernet().encrypt(text.encode()).decode() if text else text

    def get_lookup(self, lookup_name: str) -> type[Lookup] | None:
        return super().get_lookup(lookup_name) if lookup_name == "isnull" else None


class EncryptedEmailField(EncryptedTextField):
    """An encrypted e-mail address; validated and edited as one."""

    default_validators = models.EmailField.default_validators

    def formfield(self, **kwargs: Any) -> Any:
        return models.Field.formfield(self, **{"form_class": forms.EmailField, **kwargs})
