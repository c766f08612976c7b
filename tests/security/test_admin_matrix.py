"""Every route of the admin, walked by everybody who could ask: staff with each role, strangers, robots, nobody.

The routes come from the URL configuration and the models from the admin: a model without a row in ``ROWS`` fails, and
so does a route that is neither a model's nor in ``OTHER_ROUTES``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction
from django.http import HttpResponse
from django.template.response import SimpleTemplateResponse
from django.test import Client
from django.urls import get_resolver, reverse

from accounts.choices import Permission, Role
from accounts.models import ApiKey, User
from collections_app.models import Collection, Membership
from core import error_pages
from feedback.models import GoldAnswer, TaskRule
from feedback.webhooks.choices import SUBSCRIBABLE
from feedback.webhooks.models import WebhookEndpoint
from pipeline.models import Export, PipelineRun, RetentionRule
from tests.factories import CollectionFactory, MembershipFactory, UserFactory
from tests.pages.admin_rows import MAKERS
from tests.security.test_access_matrix import ANNOTATE, EXPORT, MANAGE, READ, REVIEW, _walk, holding
from tests.security.world import KEYS, ROLES, client_of
from tests.security.writes import writes_to

pytestmark = pytest.mark.django_db

MARKER = "kitchen-with-a-secret"
STAFF = frozenset({*ROLES, "superuser"})
SUPERUSER = frozenset({"superuser"})
NOBODY: frozenset[str] = frozenset()
# Rows that an action could make.
CREATED = (ApiKey, Export, PipelineRun, GoldAnswer)
KINDS = ("stranger", *ROLES, "superuser")
OUR_APPS = ("accounts", "collections_app", "inference", "feedback", "pipeline")


@dataclass(frozen=True)
class Row:
    """Who among staff sees a row of the model, adds one, changes it and deletes it; ``shared`` ones anybody sees."""

    see: frozenset[str]
    add: frozenset[str] = NOBODY
    change: frozenset[str] = NOBODY
    delete: frozenset[str] = NOBODY
    actions: dict[str, frozenset[str]] = field(default_factory=dict)
    shared: bool = False


AUDIT = holding(Permission.AUDIT_READ)
RUN_ACTIONS = dict.fromkeys(("run_again", "replay", "cancel"), EXPORT)
ROWS = {
    "accounts.user": Row(
        SUPERUSER,
        SUPERUSER,
        SUPERUSER,
        actions=dict.fromkeys(("log_out_everywhere", "remove_second_factor"), SUPERUSER),
    ),
    "accounts.ratelimittier": Row(SUPERUSER, SUPERUSER, SUPERUSER),
    "accounts.tokenfamily": Row(SUPERUSER, actions={"revoke": SUPERUSER}),
    "accounts.apikey": Row(MANAGE, MANAGE, MANAGE, actions={"rotate": MANAGE, "revoke": MANAGE}),
    "accounts.auditlog": Row(AUDIT),
    "collections_app.collection": Row(READ, SUPERUSER, MANAGE, actions=dict.fromkeys(("archive", "restore"), MANAGE)),
    "collections_app.actionspace": Row(STAFF, SUPERUSER, SUPERUSER, shared=True),
    "collections_app.robot": Row(READ, change=MANAGE),
    "collections_app.episode": Row(READ, change=ANNOTATE),
    "inference.policyversion": Row(READ, SUPERUSER, actions={"retire": SUPERUSER}),
    "inference.deployment": Row(READ, MANAGE, MANAGE, MANAGE, actions={"take_all_traffic": MANAGE}),
    "inference.inferenceresult": Row(READ),
    "feedback.taskrule": Row(READ, MANAGE, MANAGE, MANAGE),
    "feedback.feedbacktask": Row(READ, change=MANAGE, actions=dict.fromkeys(("assign", "reopen"), MANAGE)),
    "feedback.feedback": Row(READ, change=REVIEW, actions=dict.fromkeys(("accept", "make_known"), REVIEW)),
    "feedback.review": Row(READ, change=MANAGE),
    "feedback.dispute": Row(READ, change=MANAGE),
    "feedback.goldanswer": Row(READ, change=REVIEW, actions={"switch_off": REVIEW}),
    "feedback.webhookendpoint": Row(
        MANAGE, MANAGE, MANAGE, MANAGE, actions=dict.fromkeys(("send_test", "rotate"), MANAGE)
    ),
    "feedback.webhookdelivery": Row(MANAGE, change=MANAGE, actions={"send_again": MANAGE}),
    "pipeline.pipelinerun": Row(READ, actions={**RUN_ACTIONS, "purge_raw": MANAGE}),
    "pipeline.quarantinedrecord": Row(READ, change=MANAGE),
    "pipeline.storedobject": Row(READ, actions=dict.fromkeys(("hold", "release"), MANAGE)),
    "pipeline.export": Row(READ, actions={"export_again": EXPORT}),
    "pipeline.retentionrule": Row(READ, MANAGE, MANAGE, MANAGE, actions={"preview_now": READ, "apply_now": MANAGE}),
    "pipeline.embedding": Row(READ),
    "pipeline.vectorset": Row(READ),
    "pipeline.vectorindexhealth": Row(SUPERUSER),
}
OF_A_MODEL = ("", "add/", "csv/", "<path:object_id>/history/", "<path:object_id>/delete/", "<path:object_id>/change/")
OTHER_ROUTES = {
    "admin/",
    "admin/login/",
    "admin/logout/",
    "admin/password_change/",
    "admin/password_change/done/",
    "admin/autocomplete/",
    "admin/jsi18n/",
    "admin/r/<path:content_type_id>/<path:object_id>/",
    "admin/accounts/user/<id>/password/",
    "admin/^(?P<app_label>accounts|collections_app|inference|feedback|pipeline)/$",
    "admin/(?P<url>.*)$",
}


def admin_routes() -> set[str]:
    return {route for route in _walk(get_resolver().url_patterns) if route.startswith("admin/")}


def test_every_model_and_every_other_route_of_the_admin_has_a_row() -> None:
    shown = {model._meta.label_lower for model in admin.site._registry}
    assert shown == set(ROWS), "Say in ROWS who of the staff may see and do what."
    of_models = {
        f"admin/{label.replace('.', '/')}/{tail}" for label in ROWS for tail in (*OF_A_MODEL, "<path:object_id>/")
    }
    assert admin_routes() == of_models | OTHER_ROUTES


# --- a row of everything, each in a collection whose members are the callers ---


@pytest.fixture
def rows() -> dict[str, models.Model]:
    """By label; every collection is named so that it is met wherever it is shown."""
    made = {model._meta.label_lower: maker() for model, maker in MAKERS.items()}
    for number, collection in enumerate(Collection.objects.all()):
        name = f"{MARKER}-{number}"
        Collection.objects.filter(pk=collection.pk).update(slug=name, name=name)
    return made


@pytest.fixture
def clients(rows: dict[str, models.Model]) -> dict[str, Client]:
    """Staff with the same role in every collection of ``rows``; the stranger manages one of their own."""
    collections = list(Collection.objects.all())
    users = {kind: UserFactory(is_staff=True) for kind in ROLES}
    Membership.objects.bulk_create(
        Membership(collection=one, user=users[kind], role=role) for kind, role in ROLES.items() for one in collections
    )
    users["superuser"] = UserFactory(is_staff=True, is_superuser=True)
    users["stranger"] = MembershipFactory(role=Role.MANAGER, user__is_staff=True).user
    made = {}
    for kind, user in users.items():
        made[kind] = Client()
        made[kind].force_login(user)
    made["stranger"].reads = True  # type: ignore[attr-defined]
    return made


def url_of(row: models.Model, page: str) -> str:
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}_{page}"
    return reverse(name, args=[] if page in ("changelist", "add", "csv") else [row.pk])


@dataclass(frozen=True)
class Answer:
    """``text`` is empty where the page was not rendered; ``listed`` are the rows of a list."""

    status: int
    text: str
    changed: bool
    listed: Any = None


def ask(client: Client, method: str, url: str, watched: type[models.Model], body: Any = None) -> Answer:
    """One request, whose effects are looked for, then undone. Pages are rendered for strangers alone: it is slow."""
    with transaction.atomic(), pytest.MonkeyPatch.context() as patch, writes_to((*CREATED, watched)) as writes:
        if not getattr(client, "reads", False):
            patch.setattr(SimpleTemplateResponse, "rendered_content", "")
            patch.setattr(AdminSite, "each_context", lambda _site, _request: {})
            patch.setattr(error_pages, "render", lambda *_args, status: HttpResponse(status=status))
        send = {"GET": client.get, "POST": client.post}.get(method)
        response = send(url, body) if send else client.generic(method, url)
        listing = (getattr(response, "context_data", None) or {}).get("cl")
        listed = {one.pk for one in listing.result_list} if listing is not None else set()
        content = b"".join(response.streaming_content) if response.streaming else response.content
        transaction.set_rollback(True)
    return Answer(response.status_code, content.decode(), method != "GET" and bool(writes), listed)


def faults(rows: dict[str, models.Model], clients: dict[str, Client]) -> Iterator[tuple[str, str, str, int]]:
    """Each answer that is not what ``ROWS`` says: label, kind, what was asked, status."""
    for label, row in rows.items():
        rule, model = ROWS[label], type(row)
        for kind in KINDS:
            sees = kind in rule.see or rule.shared
            pages = {"change": sees, "history": sees, "delete": kind in rule.delete}
            for page, allowed in pages.items():
                answer = ask(clients[kind], "GET", url_of(row, page), model)
                shows = kind == "stranger" and not rule.shared and MARKER in answer.text
                if (answer.status == 200) != allowed or shows:
                    yield label, kind, page, answer.status
            added = ask(clients[kind], "GET", url_of(row, "add"), model)
            # Whoever manages a collection of their own may add a row to it.
            if (added.status == 200) != (kind in rule.add or (kind == "stranger" and "manager" in rule.add)):
                yield label, kind, "add", added.status
            if kind == "stranger" and MARKER in added.text:
                yield label, kind, "add shows", added.status
            listed = ask(clients[kind], "GET", url_of(row, "changelist"), model)
            if listed.status not in (200, 403) or (row.pk in listed.listed) != sees:
                yield label, kind, "list", listed.status
            if kind == "stranger" and not sees and MARKER in listed.text:
                yield label, kind, "list shows", listed.status
            taken = ask(clients[kind], "GET", url_of(row, "csv"), model)
            if taken.status != listed.status or (kind == "stranger" and not sees and MARKER in taken.text):
                yield label, kind, "csv", taken.status
            for page, allowed in (("change", kind in rule.change), ("delete", kind in rule.delete)):
                answer = ask(clients[kind], "POST", url_of(row, page), model, {"post": "yes"})
                refused = answer.status in (302, 403, 404) and not answer.changed
                if (not allowed and not refused) or (allowed and answer.status not in (200, 302)):
                    yield label, kind, f"POST {page}", answer.status


def test_staff_see_and_change_what_their_role_allows_and_strangers_nothing(
    rows: dict[str, models.Model], clients: dict[str, Client]
) -> None:
    assert list(faults(rows, clients)) == []


def test_an_action_changes_nothing_for_those_who_may_not(
    rows: dict[str, models.Model], clients: dict[str, Client]
) -> None:
    found = []
    for label, row in rows.items():
        offered = set(admin.site._registry[type(row)].actions or ())
        assert offered == set(ROWS[label].actions), f"Say in ROWS who may do the actions of {label}."
        for action, allowed in {**ROWS[label].actions, "delete_selected": ROWS[label].delete}.items():
            body = {"action": action, "_selected_action": [str(row.pk)], "post": "yes", "confirmed": "1"}
            found += [
                (label, kind, action)
                for kind in set(KINDS) - allowed
                if ask(clients[kind], "POST", url_of(row, "changelist"), type(row), body).changed
            ]
    assert found == []


def test_a_role_in_one_collection_gives_no_power_over_rows_seen_in_another(rows: dict[str, models.Model]) -> None:
    """A manager of one, a viewer of another: the list offers the action because of the first."""
    user = MembershipFactory(role=Role.MANAGER, user__is_staff=True).user
    for collection in Collection.objects.filter(slug__startswith=MARKER):
        MembershipFactory(collection=collection, user=user, role=Role.VIEWER)
    client = Client()
    client.force_login(user)
    found = []
    for label, row in rows.items():
        for action, allowed in {**ROWS[label].actions, "delete_selected": ROWS[label].delete}.items():
            body = {"action": action, "_selected_action": [str(row.pk)], "post": "yes", "confirmed": "1"}
            if "viewer" not in allowed and ask(client, "POST", url_of(row, "changelist"), type(row), body).changed:
                found.append((label, action))
    assert found == []


def test_whoever_manages_one_collection_puts_nothing_into_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook on somebody else's collection would send its news to whoever made it."""
    monkeypatch.setattr("socket.getaddrinfo", lambda *_args, **_kwargs: [(2, 1, 6, "", ("93.184.216.34", 443))])
    user = MembershipFactory(role=Role.MANAGER, user__is_staff=True).user
    own, foreign = user.memberships.get().collection, CollectionFactory()
    client = Client()
    client.force_login(user)
    bodies: dict[type[models.Model], dict[str, Any]] = {
        WebhookEndpoint: {"url": "https://example.org/hook", "events": [SUBSCRIBABLE[0].value], "enabled": "on"},
        TaskRule: {"reason": "sample", "enabled": "on", "sample_rate": "0.1", "overlap": "1"},
        RetentionRule: {"kind": "raw", "days": "1", "action": "delete", "enabled": "on"},
    }
    for model, body in bodies.items():
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_add")
        refused = client.post(url, {**body, "collection": str(foreign.pk)})
        assert refused.status_code == 200
        assert "collection" in refused.context["adminform"].form.errors, model
        assert not model._default_manager.exists()
        accepted = client.post(url, {**body, "collection": str(own.pk)})
        assert accepted.status_code == 302 or not accepted.context["adminform"].form.errors, model
        assert model._default_manager.get().collection == own  # type: ignore[attr-defined]


def test_nobody_else_gets_anything_from_any_route(rows: dict[str, models.Model]) -> None:
    """Without staff's session every route of the admin leads to the log-in page, and does nothing."""
    collection = Collection.objects.filter(slug__startswith=MARKER).first()
    assert collection is not None
    urls = {url_of(row, page) for row in rows.values() for page in ("changelist", "add", "change", "delete", "history")}
    filled = (re.sub(r"<(?:\w+:)?\w+>", str(collection.pk), route) for route in OTHER_ROUTES)
    urls |= {"/" + re.sub(r"\^|\$|\(\?P.*\)", "x", route) for route in filled} - {"/admin/logout/", "/admin/login/"}
    clients = {kind: client_of(kind, collection) for kind in ("nobody", "manager", *KEYS)}
    found = {}
    for kind, client in clients.items():
        for method in ("GET", "POST"):
            for url in sorted(urls):
                response = client.generic(method, url)
                to_log_in = response.headers.get("Location", "").startswith(("/admin/login/", "/login/", "/account/"))
                if response.status_code != 302 or not to_log_in:
                    found[kind, method, url] = response.status_code
    assert found == {}


def test_methods_that_no_form_sends_change_nothing(rows: dict[str, models.Model], clients: dict[str, Client]) -> None:
    found = []
    for label, row in rows.items():
        for method in ("PUT", "PATCH", "DELETE"):
            for page in ("changelist", "change"):
                answer = ask(clients["superuser"], method, url_of(row, page), type(row))
                if answer.changed or answer.status >= 500:
                    found.append((label, method, page))
    assert found == []


def test_a_stranger_meets_no_name_in_the_routes_that_belong_to_no_model(
    rows: dict[str, models.Model], clients: dict[str, Client]
) -> None:
    """The start page, completion of names, links from the admin to the site."""
    asked = ["/admin/", *(f"/admin/{app}/" for app in OUR_APPS)]
    asked += [
        f"/admin/autocomplete/?app_label={model._meta.app_label}&model_name={model._meta.model_name}"
        f"&field_name={name}&term={MARKER[:7]}"
        for model, page in admin.site._registry.items()
        for name in page.autocomplete_fields
    ]
    asked += [f"/admin/r/{ContentType.objects.get_for_model(row).pk}/{row.pk}/" for row in rows.values()]
    for url in asked:
        response = clients["stranger"].get(url)
        assert MARKER not in response.content.decode() + response.headers.get("Location", ""), url
    password = reverse("admin:auth_user_password_change", args=[User.objects.filter(is_superuser=True).first().pk])  # type: ignore[union-attr]
    assert [clients[kind].get(password).status_code for kind in ("stranger", "manager", "superuser")] == [403, 403, 200]


def test_no_list_is_filtered_by_a_secret(clients: dict[str, Client], rows: dict[str, models.Model]) -> None:
    """Nor by a column of a related row: its beginning could be guessed letter by letter."""
    secrets = {
        "accounts.user": ["password__startswith", "second_factor__secret__startswith"],
        "accounts.apikey": ["secret_hash__startswith", "created_by__password__startswith"],
        "accounts.tokenfamily": ["refresh_jti__startswith", "session_hash__startswith", "user__password__startswith"],
        "accounts.auditlog": ["signature__startswith"],
        "collections_app.collection": ["key_grants__api_key__secret_hash__startswith"],
        "inference.inferenceresult": ["collection__memberships__user__password__startswith"],
        "pipeline.export": ["requested_by__password__startswith", "collection__memberships__user__password__regex"],
        "feedback.webhookendpoint": ["secret__startswith"],
    }
    for label, lookups in secrets.items():
        for lookup in lookups:
            response = clients["superuser"].get(url_of(rows[label], "changelist"), {lookup: "a"})
            assert response.status_code in (302, 400), (label, lookup)
            assert response.status_code == 400 or response["Location"].endswith("?e=1"), (label, lookup)
