from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.personal_data import anonymise, presidio

FOUND = [
    ("mail jane.doe+x@mail.example.org now", "mail <EMAIL_ADDRESS> now"),
    ("call +49 30 901820, please", "call <PHONE_NUMBER>, please"),
    ("call (212) 555-0123 now", "call <PHONE_NUMBER> now"),
    ("card 4111 1111 1111 1111.", "card <CREDIT_CARD>."),
    ("card 378282246310005", "card <CREDIT_CARD>"),
    ("pay DE89 3704 0044 0532 0130 00 today", "pay <IBAN_CODE> today"),
    ("SSN 123-45-6789", "SSN <US_SSN>"),
    ("from 192.168.1.20 it is slow", "from <IP_ADDRESS> it is slow"),
    ("at fe80::1ff:fe23:4567:890a too", "at <IP_ADDRESS> too"),
    ("the camera aa:bb:cc:dd:ee:ff is off", "the camera <MAC_ADDRESS> is off"),
    ("ask Dr. Jane Doe", "ask <PERSON>"),
    ("badge no. 12345 was here", "<EMPLOYEE_ID> was here"),
    ("to bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "to <CRYPTO>"),
]
KEPT = [
    "joints 0.1234 0.5678 -1.2345 at tick 1234567890, step 20261123",
    "4111 1111 1111 1112 fails its check sum",
    "DE89 3704 0044 0532 0130 02 too",
    "at 12:30:45 the gripper closed at 0.04, 10 mm too early",
    "version 1.2.3 of compact@2026.11.23",
    "request 01a205f1-b337-7ae9-88f3-c51ea4a9341e",
    "999-00-1234 is no social security number, 256.1.1.1 no address",
    "the badge reader is in the picture",
]


@pytest.mark.parametrize(("text", "expected"), FOUND)
def test_personal_data_is_replaced_by_its_kind(text: str, expected: str) -> None:
    assert anonymise(text).text == expected


@pytest.mark.parametrize("text", KEPT)
def test_what_robots_are_full_of_is_left_alone(text: str) -> None:
    assert anonymise(text).text == text


def test_each_kind_is_counted() -> None:
    assert anonymise("a@example.org, b@example.org, 10.0.0.1").kinds == {"EMAIL_ADDRESS": 2, "IP_ADDRESS": 1}


@given(st.text(max_size=300))
def test_any_text_can_be_cleaned_and_clean_text_stays_as_it_is(text: str) -> None:
    once = anonymise(text)
    assert (once.text == text) == (not once.kinds)


def test_hostile_text_takes_no_longer_than_its_length_deserves() -> None:
    for piece in ("a@", "1 ", "1-", "::", "a.", "+1", "AB12 "):
        assert anonymise(piece * 2000) is not None


def test_the_patterns_need_no_heavy_library() -> None:
    code = (
        "import sys; from core.personal_data import anonymise; anonymise('a@example.org');"
        "print([name for name in ('torch', 'spacy', 'presidio_analyzer', 'django') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


@pytest.mark.ml
@pytest.mark.parametrize(("text", "expected"), FOUND)
def test_presidio_finds_what_the_patterns_find(text: str, expected: str) -> None:
    assert anonymise(text, detect=presidio.detect).text == expected


@pytest.mark.ml
def test_presidio_finds_links_too_and_leaves_joint_angles_alone() -> None:
    assert anonymise("see https://people.example.com/jane", detect=presidio.detect).kinds == {"URL": 1}
    assert not anonymise(KEPT[0], detect=presidio.detect).kinds
