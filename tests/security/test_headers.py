from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import reverse

from core.checks import objects_are_encrypted
from tests.factories import MembershipFactory, UserFactory

ROOT = Path(settings.BASE_DIR)
PRODUCTION = {
    "DJANGO_SETTINGS_MODULE": "vla_project.settings.production",
    "SECRET_KEY": "k3yQ-v8Zr1Lw6Ht0Xb5Nd9Pf2Ms7Gc4Ja-UeTiOyRaWq-s3dF6gH9jK2lZ",
    "API_KEY_PEPPER": "p3pR-b7Yc2Xd6We1Vf5Ug9Th4Si8Rj3Qk-LmNoPqZsAv",
    "FIELD_ENCRYPTION_KEYS": "dGVzdC1rZXktdGVzdC1rZXktdGVzdC1rZXktMDAwMDA=",
    "DATABASE_URL": os.environ.get("DATABASE_URL", ""),
    "REDIS_URL": os.environ.get("REDIS_URL", ""),
    "S3_BUCKET": "bucket",
    "S3_SERVER_SIDE_ENCRYPTION": "bucket",
    "ALLOWED_HOSTS": "robots.example.org",
}


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``manage.py`` in a process of its own, as on a server."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**inherited, **PRODUCTION, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_deployment_check_is_clean_in_production() -> None:
    done = manage("check", "--deploy", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "name", ["SECRET_KEY", "API_KEY_PEPPER", "FIELD_ENCRYPTION_KEYS", "DATABASE_URL", "REDIS_URL", "ALLOWED_HOSTS"]
)
def test_production_does_not_start_without_what_it_needs_and_names_it(name: str) -> None:
    done = manage("check", **{name: ""})
    assert done.returncode != 0
    assert f"{name} is not set" in done.stderr


def production_refuses(**environment: str) -> str:
    """Why the production settings do not load with ``environment``; empty where they do. In this process: quick."""
    namespace = {"__name__": "vla_project.settings.refused", "__package__": "vla_project.settings"}
    source = (ROOT / "vla_project/settings/production.py").read_text()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**PRODUCTION, **environment}.items():
            patch.setenv(name, value)
        # As `import *` finds it in a new process: read anew, from this environment.
        patch.delitem(sys.modules, "vla_project.settings.base", raising=False)
        try:
            exec(compile(source, "production.py", "exec"), namespace)
        except ImproperlyConfigured as error:
            return str(error)
    return ""


@pytest.mark.parametrize("name", ["SECRET_KEY", "API_KEY_PEPPER"])
@pytest.mark.parametrize(
    "value",
    [
        "changeme-changeme-changeme-changeme",
        "short",
        "a" * 64,
        "insecure-0123456789abcdefghijklm",
        "django-insecure-h2k#9x0q!w5e8r7t6y4u3i1o0p",
        "not-a-secret-0123456789-abcdefghijklmnopqrstuvwxyz",
        "test-" + "s3cr3t" * 8,
        "test-" + "p3pp3r" * 8,
    ],
)
def test_production_does_not_start_on_a_placeholder(name: str, value: str) -> None:
    assert f"{name} is too short or a placeholder" in production_refuses(**{name: value})


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"API_KEY_PEPPER": PRODUCTION["SECRET_KEY"]}, "are the same"),
        ({"FIELD_ENCRYPTION_KEYS": "nonsense"}, "FIELD_ENCRYPTION_KEYS"),
        ({"OBJECT_ENCRYPTION_KEYS": "bm90IDMyIGJ5dGVz"}, "OBJECT_ENCRYPTION_KEYS"),
        ({"S3_SERVER_SIDE_ENCRYPTION": "rot13"}, "S3_SERVER_SIDE_ENCRYPTION"),
        ({"TRUSTED_PROXIES": "10.0.0.0/40"}, "TRUSTED_PROXIES"),
    ],
)
def test_production_does_not_start_on_a_value_that_is_wrong(environment: dict[str, str], reason: str) -> None:
    assert reason in production_refuses(**environment)
    assert production_refuses() == ""


def test_the_deployment_check_says_when_nobody_encrypts_objects(settings: Any) -> None:
    settings.S3_SERVER_SIDE_ENCRYPTION, settings.OBJECT_ENCRYPTION_KEYS = "", []
    assert [message.id for message in objects_are_encrypted(None)] == ["core.W001"]
    settings.OBJECT_ENCRYPTION_KEYS = [PRODUCTION["FIELD_ENCRYPTION_KEYS"]]
    assert objects_are_encrypted(None) == []


@pytest.mark.django_db
def test_every_page_has_the_security_headers_and_no_inline_script_or_style(client: Client) -> None:
    membership = MembershipFactory(user__is_staff=True, user__is_superuser=True)
    pages = [reverse("login")]
    client.force_login(membership.user)
    pages += ["/", "/account/", f"/collections/{membership.collection.slug}/", "/feedback/", "/admin/", "/api/v1/docs"]
    for page in pages:
        response = client.get(page)
        assert response.status_code == 200, page
        policy = response["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "object-src 'none'" in policy
        assert "unsafe" not in policy, page
        assert response["X-Content-Type-Options"] == "nosniff"
        assert response["X-Frame-Options"] == "DENY"
        assert response["Referrer-Policy"] == "same-origin"
        assert response["Cross-Origin-Opener-Policy"] == "same-origin"
        assert response["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "camera=()" in response["Permissions-Policy"]
        html = response.content.decode()
        assert 'style="' not in html, page
        assert " onclick=" not in html, page
        for script in html.split("<script")[1:]:
            tag = script.split(">", 1)[0]
            assert "src=" in tag or "application/json" in tag, (page, tag)


@pytest.mark.django_db
def test_cookies_are_out_of_reach_of_scripts_and_of_other_sites(client: Client, settings: Any) -> None:
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    UserFactory(username="ada")
    client.get(reverse("login"))
    client.post(reverse("login"), {"username": "ada", "password": "correct horse battery"})
    session = client.cookies["sessionid"]
    assert session["httponly"]
    assert session["secure"]
    assert session["samesite"] == "Lax"
    assert client.cookies["csrftoken"]["samesite"] == "Lax"


@pytest.mark.django_db
def test_production_redirects_to_https_and_says_so_for_a_year(client: Client, settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_HSTS_SECONDS = 31_536_000
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    plain = client.get(reverse("login"))
    assert plain.status_code == 301
    assert plain["Location"].startswith("https://")
    encrypted = client.get(reverse("login"), headers={"X-Forwarded-Proto": "https"})
    assert encrypted["Strict-Transport-Security"].startswith("max-age=31536000")


@pytest.mark.django_db
def test_an_unknown_host_is_refused(client: Client) -> None:
    assert client.get(reverse("login"), headers={"Host": "evil.example"}).status_code == 400
