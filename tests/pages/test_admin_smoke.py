"""Every page of the admin renders, and costs the same number of queries with ten rows as with twenty."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import AuditLog
from collections_app.models import Episode, Robot
from feedback.models import Dispute, Feedback, FeedbackTask, Review
from feedback.webhooks.models import WebhookDelivery
from inference.models import InferenceResult
from pipeline.models import Embedding, PipelineRun, QuarantinedRecord, StoredObject
from tests.factories import UserFactory
from tests.pages.admin_rows import MAKERS

pytestmark = pytest.mark.django_db

OUR_APPS = {"accounts", "collections_app", "inference", "feedback", "pipeline"}

# Tables that grow with the robots' work, not with the number of people.
LARGE: list[type[models.Model]] = [
    AuditLog,
    Robot,
    Episode,
    InferenceResult,
    FeedbackTask,
    Feedback,
    Review,
    Dispute,
    WebhookDelivery,
    PipelineRun,
    QuarantinedRecord,
    StoredObject,
    Embedding,
]

# What is not in the admin, and why.
ELSEWHERE = {
    "accounts.audithead": "one row, which only verify_audit reads",
    "accounts.secondfactor": "a secret; removed by an action on the person",
    "collections_app.actiondimension": "inline of the action space",
    "collections_app.membership": "inline of the collection",
    "collections_app.apikeygrant": "inline of the collection and the key",
    "inference.inferencerequest": "the ledger behind the results, which show the same request ids",
    "feedback.draft": "nobody's but the annotator's",
    "feedback.taskskip": "shown on the task",
    "pipeline.collectionmap": "a tab of the collection's page",
    "pipeline.imageembedding": "vectors alone; the search page shows what they find",
    "pipeline.purgedrecord": "what became of a record's raw data, for those who read records",
    "pipeline.savedsearch": "its owner's, on the search page",
    "pipeline.stagerun": "inline of the run",
    "pipeline.runshard": "inline of the run",
}


@pytest.fixture
def visitor() -> Client:
    client = Client()
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    client.get(reverse("admin:password_change"))  # the first request of a session writes it to the cache
    return client


def registered() -> list[type[models.Model]]:
    return [model for model in admin.site._registry if model._meta.app_label in OUR_APPS]


def named(kind: list[type[models.Model]]) -> list[object]:
    return [pytest.param(model, id=model._meta.label) for model in kind]


def url(model: type[models.Model], page: str, *args: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def test_every_model_is_in_the_admin_or_says_where_else() -> None:
    ours = {model._meta.label_lower for model in apps.get_models() if model._meta.app_label in OUR_APPS}
    shown = {model._meta.label_lower for model in registered()}
    assert ours - shown == set(ELSEWHERE)
    assert {model._meta.label_lower for model in MAKERS} == shown


@pytest.mark.parametrize("model", named(registered()))
def test_the_list_costs_the_same_with_more_rows(model: type[models.Model], visitor: Client) -> None:
    counts = []
    for _ in range(2):
        for _ in range(10):
            MAKERS[model]()
        with CaptureQueriesContext(connection) as queries:
            response = visitor.get(url(model, "changelist"))
        assert response.status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1], [query["sql"][:300] for query in queries.captured_queries]


@pytest.mark.parametrize("model", named(LARGE))
def test_the_list_counts_no_further_than_it_must(model: type[models.Model], visitor: Client) -> None:
    MAKERS[model]()
    with CaptureQueriesContext(connection) as queries:
        visitor.get(url(model, "changelist"))
    counting = [query["sql"] for query in queries.captured_queries if "COUNT(*)" in query["sql"]]
    assert all("LIMIT" in sql for sql in counting), counting


@pytest.mark.parametrize("model", named(registered()))
def test_a_search_and_an_impossible_page_answer(model: type[models.Model], visitor: Client) -> None:
    row = MAKERS[model]()
    for query in ({"q": "nothing like it"}, {"q": str(row.pk)}, {"p": "9999"}, {"o": "1.-2"}):
        response = visitor.get(url(model, "changelist"), query, follow=True)
        assert response.status_code == 200, query


@pytest.mark.parametrize("model", named(registered()))
def test_a_row_opens_at_the_same_cost_with_more_rows(model: type[models.Model], visitor: Client) -> None:
    row = MAKERS[model]()
    visitor.get(url(model, "change", row.pk))  # Django keeps content types from here on
    counts = []
    for _ in range(2):
        for _ in range(3):
            MAKERS[model]()
        with CaptureQueriesContext(connection) as queries:
            response = visitor.get(url(model, "change", row.pk))
        assert response.status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1], [query["sql"][:300] for query in queries.captured_queries]


@pytest.mark.parametrize("model", named(registered()))
def test_the_form_for_a_new_row_opens_or_is_refused(model: type[models.Model], visitor: Client) -> None:
    MAKERS[model]()
    response = visitor.get(url(model, "add"))
    assert response.status_code in (200, 403)
    offered = f'href="{url(model, "add")}' in visitor.get(url(model, "changelist")).content.decode()
    assert offered is (response.status_code == 200)


def test_the_index_shows_dependencies_and_what_needs_somebody(visitor: Client) -> None:
    response = visitor.get(reverse("admin:index"))
    assert response.status_code == 200
    assert {"database", "redis", "storage"} <= {check.name for check in response.context["health"]}


def test_people_who_are_not_staff_are_sent_to_log_in() -> None:
    client = Client()
    client.force_login(UserFactory())
    assert client.get(reverse("admin:index")).status_code == 302
