"""Every page for nobody, for a stranger to the collection, and for each role; and what each costs in queries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.choices import Role
from collections_app.models import Collection, Episode
from inference.models import InferenceResult
from pipeline.models import Export, PipelineRun, StageRun, StoredObject
from tests.factories import (
    EpisodeFactory,
    FeedbackFactory,
    FeedbackTaskFactory,
    InferenceResultFactory,
    MembershipFactory,
    RobotFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db

TABS = ("", "results/", "episodes/", "runs/", "exports/", "members/")


@pytest.fixture
def result() -> InferenceResult:
    return InferenceResultFactory()


@pytest.fixture
def episode(result: InferenceResult) -> Episode:
    assert result.episode is not None
    return result.episode


def pages_of(result: InferenceResult) -> list[str]:
    slug = result.collection.slug
    return [
        *(f"/collections/{slug}/{tab}" for tab in TABS),
        f"/live/{slug}/",
        f"/episodes/{result.episode_id}/",
    ]


def browser_of(user: Any = None) -> Client:
    client = Client()
    if user is not None:
        client.force_login(user)
    return client


def test_nobody_is_sent_to_log_in(result: InferenceResult) -> None:
    for page in ["/", "/live/", "/collections/", *pages_of(result)]:
        response = browser_of().get(page)
        assert response.status_code == 302, page
        assert response["Location"] == f"{reverse('login')}?next={page}"


def test_a_stranger_cannot_tell_the_collection_from_one_that_is_not_there(result: InferenceResult) -> None:
    stranger = browser_of(MembershipFactory().user)
    for page in [*pages_of(result), f"/results/{result.request_id}/", "/collections/no-such/", "/live/no-such/"]:
        response = stranger.get(page)
        assert response.status_code == 404, page
        assert result.collection.name not in response.content.decode()


@pytest.mark.parametrize("role", Role)
def test_every_member_reads_every_page(result: InferenceResult, role: Role) -> None:
    member = browser_of(MembershipFactory(collection=result.collection, user=UserFactory(), role=role).user)
    for page in ["/", "/collections/", *pages_of(result)]:
        response = member.get(page)
        assert response.status_code == 200, page
        assert "text/html" in response["Content-Type"]


def test_a_result_opens_in_its_episodes_replay(result: InferenceResult) -> None:
    member = browser_of(MembershipFactory(collection=result.collection).user)
    response = member.get(f"/results/{result.request_id}/")
    assert response.status_code == 302
    assert response["Location"] == f"/episodes/{result.episode_id}/?at={result.request_id}"


def test_a_result_without_an_episode_is_shown_by_itself() -> None:
    alone = InferenceResultFactory(episode=None)
    member = browser_of(MembershipFactory(collection=alone.collection).user)
    response = member.get(f"/results/{alone.request_id}/")
    assert response.status_code == 200
    assert [frame["request_id"] for frame in response.context["replay"]["frames"]] == [str(alone.request_id)]


def test_live_without_a_collection_leads_to_the_list() -> None:
    assert browser_of(UserFactory()).get("/live/")["Location"] == "/collections/"


def test_live_leads_to_the_newest_collection_of_the_caller() -> None:
    membership = MembershipFactory()
    MembershipFactory()
    assert browser_of(membership.user).get("/live/")["Location"] == f"/live/{membership.collection.slug}/"


@pytest.mark.parametrize(
    ("role", "path", "allowed"),
    [
        (Role.VIEWER, "exports/", False),
        (Role.ANNOTATOR, "runs/", False),
        (Role.REVIEWER, "members/", False),
        (Role.AUDITOR, "members/", False),
        (Role.MANAGER, "members/", True),
    ],
)
def test_changes_need_the_permission(result: InferenceResult, role: Role, path: str, allowed: bool) -> None:
    member = browser_of(MembershipFactory(collection=result.collection, role=role).user)
    newcomer = UserFactory()
    body = {"username": newcomer.username, "role": "viewer", "format": "csv"}
    response = member.post(f"/collections/{result.collection.slug}/{path}", body)
    assert response.status_code == (302 if allowed else 403)
    assert newcomer.memberships.exists() is allowed


def test_a_viewer_may_not_label_an_episode(episode: Episode) -> None:
    viewer = browser_of(MembershipFactory(collection=episode.collection, role=Role.VIEWER).user)
    assert viewer.post(f"/episodes/{episode.pk}/", {"outcome": "success", "tags": ""}).status_code == 403
    episode.refresh_from_db()
    assert episode.outcome == ""


@pytest.mark.parametrize("where", ["/", "/collections/", "live", "episode", *TABS])
def test_queries_do_not_grow_with_rows(where: str) -> None:
    member = MembershipFactory(role=Role.MANAGER)
    collection = member.collection
    episode = EpisodeFactory(collection=collection)
    path = {
        "/": "/",
        "/collections/": "/collections/",
        "live": f"/live/{collection.slug}/",
        "episode": f"/episodes/{episode.pk}/",
    }.get(where, f"/collections/{collection.slug}/{where}")
    counts = []
    for _ in range(2):
        _add_rows(collection, episode, member.user)
        client = browser_of(member.user)
        cache.clear()
        with CaptureQueriesContext(connection) as queries:
            assert client.get(path).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1], [query["sql"] for query in queries.captured_queries]


def _add_rows(collection: Collection, episode: Episode, user: Any) -> None:
    for _ in range(3):
        robot = RobotFactory(collection=collection, last_seen_at=episode.started_at)
        result = InferenceResultFactory(collection=collection, robot=robot, episode=episode)
        FeedbackTaskFactory(inference_result=result)
        FeedbackFactory(inference_result=result, feedback_type="correction", human_correction=result.output_actions)
        EpisodeFactory(collection=collection, robot=robot)
        MembershipFactory(collection=collection)
        run = PipelineRun.objects.create(
            collection=collection, window_start=episode.started_at, window_end=episode.started_at + timedelta(hours=1)
        )
        StageRun.objects.create(run=run, stage="validate")
        export = Export.objects.create(collection=collection, format="csv", state="succeeded")
        StoredObject.objects.create(
            key=f"exports/export_{export.pk}/a.csv", kind="export", export=export, bytes=1, sha256="0" * 64
        )
        MembershipFactory(user=user)
