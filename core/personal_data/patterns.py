"""Recognisers made of patterns and check sums: no language model, nothing heavy to import, a fraction of a millisecond.

Every pattern is linear in the text's length. A candidate counts only where its check sum or its parser agrees, so that
joint angles and tick counts are not taken for telephone numbers and cards.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

import phonenumbers

from core.personal_data.findings import Finding, without_overlaps

# National telephone numbers are read as these regions would write them; +… numbers are read everywhere.
PHONE_REGIONS = ("US", "GB", "DE")

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])")
_CARD = re.compile(
    r"(?<![\w.-])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?|\d{4}([ -])\d{6}\2\d{5})(?![\w-])(?!\.\d)"
)
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}(?!\w)")
_SSN = re.compile(r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])")
_MAC = re.compile(r"(?<![\w:-])[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}(?![\w:-])")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\w)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")
_CRYPTO = re.compile(r"(?<!\w)(?:bc1[a-z0-9]{25,59}|0x[0-9a-fA-F]{40})(?!\w)")
_EMPLOYEE = re.compile(
    r"(?<!\w)(?:emp|employee|staff|badge|personnel)(?: ?(?:id|no\.?|number))?[ :#-]{1,3}[A-Z]{0,3}\d{3,10}(?!\w)",
    re.IGNORECASE,
)
_TITLED_NAME = re.compile(r"(?<!\w)(?:Mr|Mrs|Ms|Miss|Dr|Prof|Herr|Frau)\.? (?:[A-Z]\w{1,30})(?:[ -][A-Z]\w{1,30}){0,2}")


def detect(text: str) -> list[Finding]:
    """The personal data in ``text``, in order, without overlaps."""
    return without_overlaps(_candidates(text))


def _candidates(text: str) -> Iterator[Finding]:
    for kind, pattern, score in (
        ("EMAIL_ADDRESS", _EMAIL, 1.0),
        ("US_SSN", _SSN, 0.85),
        ("MAC_ADDRESS", _MAC, 0.9),
        ("CRYPTO", _CRYPTO, 0.9),
        ("EMPLOYEE_ID", _EMPLOYEE, 0.7),
        ("PERSON", _TITLED_NAME, 0.6),
    ):
        for match in pattern.finditer(text):
            yield Finding(kind, match.start(), match.end(), score)
    for match in _CARD.finditer(text):
        if _passes_luhn(match.group()):
            yield Finding("CREDIT_CARD", match.start(), match.end(), 1.0)
    for match in _IBAN.finditer(text):
        if _passes_mod_97(match.group()):
            yield Finding("IBAN_CODE", match.start(), match.end(), 1.0)
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            if _is_address(match.group()):
                yield Finding("IP_ADDRESS", match.start(), match.end(), 0.8)
    for region in PHONE_REGIONS:
        for number in phonenumbers.PhoneNumberMatcher(text, region):
            yield Finding("PHONE_NUMBER", number.start, number.end, 0.75)


def _passes_luhn(candidate: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    digits = [int(character) for character in candidate if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _passes_mod_97(candidate: str) -> bool:
    """ISO 13616-1: the first four characters moved to the end, letters as 10..35, modulo 97 is 1."""
    compact = candidate.replace(" ", "")
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1


def _is_address(candidate: str) -> bool:
    try:
        address = ipaddress.ip_address(candidate)
    except ValueError:
        return False
    return not address.is_unspecified
