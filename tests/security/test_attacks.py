"""The classes of attack that have hit comparable systems, tried on ours. Others are where their subject is:
tests/accounts (sessions, tokens), tests/collections_app/test_admin.py (privileges, script in the admin),
test_access_matrix.py (unscoped queries), tests/feedback (addresses of webhooks), tests/inference (uploads, sockets)."""

from __future__ import annotations

import pickle
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.test import Client
from kombu.exceptions import ContentDisallowed
from kombu.serialization import loads
from rest_framework.test import APIClient

from accounts.choices import Role
from core import object_store
from tests.factories import EpisodeFactory, FeedbackFactory, InferenceResultFactory, MembershipFactory, UserFactory

ROOT = Path(settings.BASE_DIR)
PAYLOAD = '"><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}'


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    ["collections", "episodes", "inference", "feedback", "models"],
)
@pytest.mark.parametrize(
    "query",
    [
        "collection__memberships__user__password__startswith=pbkdf2",
        "collection__key_grants__api_key__secret_hash__startswith=a",
        "annotator__password__regex=.*",
        "ordering=collection__created_by__password",
        "order_by=password",
        "fields=secret_hash",
    ],
)
def test_no_list_can_be_filtered_or_ordered_by_what_it_does_not_show(path: str, query: str) -> None:
    """Refused, or where a list knows no filters at all, without any effect."""
    FeedbackFactory(inference_result=InferenceResultFactory())
    client = APIClient()
    client.force_authenticate(UserFactory(is_superuser=True))
    plain = client.get(f"/api/v1/{path}").json()
    assert plain["results"]
    answer = client.get(f"/api/v1/{path}?{query}")
    assert answer.status_code == 400 or answer.json() == plain


@pytest.mark.django_db
def test_text_from_robots_and_people_is_text_in_every_page(client: Client) -> None:
    user = MembershipFactory(role=Role.MANAGER, user__first_name=PAYLOAD).user
    collection = user.memberships.get().collection
    collection.name = collection.description = collection.guidelines = PAYLOAD
    collection.save()
    episode = EpisodeFactory(collection=collection, external_id=PAYLOAD, instruction=PAYLOAD, tags=[PAYLOAD])
    episode.robot.name = PAYLOAD
    episode.robot.save()
    InferenceResultFactory(collection=collection, episode=episode, robot=episode.robot, instruction=PAYLOAD)
    client.force_login(user)
    base = f"/collections/{collection.slug}/"
    pages = ["/", "/collections/", base, f"{base}results/", f"{base}episodes/", f"{base}members/", f"{base}exports/"]
    pages += [f"{base}runs/", f"/episodes/{episode.pk}/", f"/live/{collection.slug}/", "/feedback/", "/account/"]
    for page in pages:
        response = client.get(page)
        assert response.status_code == 200, page
        html = response.content.decode()
        assert "<script>alert" not in html, page
        assert "<img src=x" not in html, page
        assert "49" not in re.findall(r"onerror=alert\(1\)&gt;(\d+)", html), page


@pytest.mark.parametrize(
    "body", [b"cos\nsystem\n(S'true'\ntR.", pickle.dumps({"task": "x"})], ids=["a command", "a dictionary"]
)
@pytest.mark.parametrize("content_type", ["application/x-python-serialize", "pickle"])
def test_a_pickled_message_is_refused_by_the_workers(body: bytes, content_type: str) -> None:
    from vla_project.celery import app

    assert list(app.conf.accept_content) == ["json"]
    with pytest.raises(ContentDisallowed):
        loads(body, content_type, "binary", accept={"application/json"}, force=True)


def source_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py", "*.html", "*.js"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return [ROOT / name for name in listed if not name.startswith("tests/") and (ROOT / name).is_file()]


@pytest.mark.parametrize(
    ("pattern", "suffix"),
    [
        (r"\|\s*safe\b|\bmark_safe\(|autoescape off", (".py", ".html")),
        (r"\binnerHTML\b|\bouterHTML\b|insertAdjacentHTML|document\.write", (".js", ".html")),
        (r"\bon(click|error|load|submit|change)=|\bstyle=\"|javascript:", (".html",)),
        (r"\bimport pickle\b|\bpickle\.loads?\(|\bcPickle\b|\bjoblib\.load|\byaml\.load\(|\bmarshal\.loads", (".py",)),
        (r"torch\.load\((?![^)]*weights_only=True)|np\.load\([^)]*allow_pickle=True", (".py",)),
        (r"(?<![\w.])(?:eval|exec)\(|shell=True|os\.system\(", (".py",)),
        (r"\.extra\(|RawSQL\(", (".py",)),
    ],
    ids=["unescaped html", "html from script", "inline script or style", "pickle", "unsafe weights", "eval", "raw sql"],
)
def test_the_source_has_none_of_the_openings_that_peers_were_attacked_through(
    pattern: str, suffix: tuple[str, ...]
) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in source_files()
        if path.suffix in suffix
        for match in re.finditer(pattern, path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "key",
    [
        "../secrets.env",
        "raw/../../secrets.env",
        "/etc/passwd",
        "raw\\..\\x",
        "raw/\x00x",
        "",
        ".",
        "raw//x",
        "..",
        "a/..",
    ],
)
def test_an_object_key_cannot_leave_the_store(key: str) -> None:
    with pytest.raises(ValueError, match="Not an object key"):
        object_store.checked_key(key)


@pytest.mark.django_db
def test_a_link_to_an_object_is_good_for_that_object_alone(client: Client) -> None:
    object_store.put("raw/2026-11-23/mine.txt", b"mine")
    link = object_store.url("raw/2026-11-23/mine.txt")
    good = client.get(link)
    assert b"".join(good.streaming_content) == b"mine"  # type: ignore[attr-defined]
    assert good["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in good["Content-Security-Policy"]
    forged = TimestampSigner(key="another", salt="core.object_store").sign_object(["raw/2026-11-23/mine.txt", 600])
    other_salt = TimestampSigner(salt="something.else").sign_object(["raw/2026-11-23/mine.txt", 600])
    for token in (forged, other_salt, link.rsplit("/", 1)[1] + "x", "..%2f..%2fsecrets.env", "%00"):
        assert client.get(f"/objects/{token}").status_code == 404
    with pytest.raises(BadSignature):
        object_store.key_of_token(forged)


@pytest.mark.django_db
@pytest.mark.parametrize("identifier", ["1%20OR%201=1", "%00", "..%2f..%2f", "%2e%2e", "{{7*7}}", "a" * 5000, "-1"])
@pytest.mark.parametrize("path", ["collections", "episodes", "inference", "feedback", "models", "runs", "exports"])
def test_a_strange_identifier_is_not_found_and_never_an_error(path: str, identifier: str) -> None:
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(UserFactory(is_superuser=True))
    response = client.get(f"/api/v1/{path}/{identifier}")
    assert response.status_code in (400, 404)
    assert response["Content-Type"] == "application/problem+json"
    assert "Traceback" not in response.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "body",
    [
        b'{"username": "a\\u0000", "password": "x"}',
        b'{"username": "\\ud800", "password": "x"}',
        b'{"username": 1e999, "password": "x"}',
        b'{"username": NaN, "password": "x"}',
        b'{"username": "a", "username": "b", "password": "x"}',
        b"[" * 100_000,
        b"\xff\xfe",
        b"[]",
        b"null",
        b"",
    ],
    ids=["nul", "surrogate", "infinity", "nan", "twice", "deep", "not utf-8", "list", "null", "empty"],
)
def test_a_malformed_body_is_400_and_never_an_error(body: bytes) -> None:
    client = APIClient(raise_request_exception=False)
    response = client.generic("POST", "/api/v1/auth/token", body, content_type="application/json")
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"


@pytest.mark.django_db
def test_a_body_of_another_type_is_415() -> None:
    response: Any = APIClient().generic("POST", "/api/v1/auth/token", b"<x/>", content_type="text/xml")
    assert response.status_code == 415
