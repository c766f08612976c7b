"""The pipeline's routes: what they answer, to whom, and what they start."""

from __future__ import annotations

from uuid import uuid4

import pytest

from accounts.choices import Role
from pipeline import services, tasks
from pipeline.embeddings import indexing
from pipeline.exports import writer
from pipeline.models import Export, PipelineRun
from pipeline.runs import runner
from tests.factories import ApiKeyFactory, CollectionFactory, InferenceResultFactory, MembershipFactory, UserFactory
from tests.pipeline.factories import make_episode

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("encoder")]


@pytest.fixture
def sent(monkeypatch):
    """What was enqueued, in place of a broker."""
    calls = []
    for name in ("run_pipeline", "write_export"):
        monkeypatch.setattr(
            getattr(tasks, name), "delay_on_commit", lambda *arguments, name=name: calls.append((name, *arguments))
        )
    return calls


@pytest.fixture
def collection():
    return CollectionFactory(slug="kitchen")


def member(collection, role):
    return MembershipFactory(collection=collection, role=role).user


def test_a_manager_starts_a_run_and_is_told_where_it_is(api, collection, sent):
    client = api(member(collection, Role.MANAGER))

    response = client.post("/api/v1/collections/kitchen/runs", {}, format="json")

    run = PipelineRun.objects.get()
    assert response.status_code == 202
    assert response["Location"] == f"/api/v1/runs/{run.pk}"
    assert sent == [("run_pipeline", str(run.pk))]
    assert client.get(response["Location"]).json()["state"] == "queued"


def test_a_finished_run_says_its_stages_counts_and_quarantine(api, collection):
    make_episode(collection, steps=3)
    bad = InferenceResultFactory(collection=collection, input_state=[1.0])
    run = runner.execute(services.start_run(collection=collection, enqueue=False))
    client = api(member(collection, Role.VIEWER))

    body = client.get(f"/api/v1/runs/{run.pk}").json()
    quarantine = client.get(f"/api/v1/runs/{run.pk}/quarantine").json()

    assert (body["state"], body["progress"]) == ("succeeded", 1.0)
    assert [stage["stage"] for stage in body["stages"]][:3] == ["validate", "images", "anomalies"]
    assert (body["records_in"], body["records_out"], body["records_quarantined"]) == (4, 3, 1)
    assert [row["request_id"] for row in quarantine["results"]] == [str(bad.request_id)]


def test_a_window_that_ends_before_it_starts_is_refused(api, collection):
    window = {"window_start": "2026-11-22T00:00:00Z", "window_end": "2026-11-21T00:00:00Z"}

    response = api(member(collection, Role.MANAGER)).post("/api/v1/collections/kitchen/runs", window, format="json")

    assert response.status_code == 400
    assert response.json()["errors"][0]["pointer"] == "/window_end"


def test_an_export_is_accepted_and_then_lists_files_with_links_that_open(api, collection, sent):
    make_episode(collection, steps=2)
    client = api(ApiKeyFactory(collections=[collection]))

    response = client.post("/api/v1/collections/kitchen/exports", {"format": "parquet"}, format="json")

    assert response.status_code == 202
    export = Export.objects.get()
    assert response["Location"] == f"/api/v1/exports/{export.pk}"
    writer.write(export)
    body = client.get(response["Location"]).json()
    assert (body["state"], body["progress"]) == ("succeeded", 1.0)
    assert [file["path"] for file in body["files"]] == ["README.md", "data.parquet", "manifest.json"]
    link = body["files"][1]
    opened = api(None).get(link["url"])
    assert opened.status_code == 200
    assert len(b"".join(opened.streaming_content) if opened.streaming else opened.content) == link["bytes"]


def test_a_format_that_nobody_knows_is_refused_with_its_pointer(api, collection):
    client = api(member(collection, Role.MANAGER))

    response = client.post("/api/v1/collections/kitchen/exports", {"format": "floppy"}, format="json")

    assert response.status_code == 400
    assert response.json()["errors"][0]["pointer"] == "/format"


def test_statistics_count_what_the_collection_holds(api, collection):
    make_episode(collection, steps=3, outcome="success")
    InferenceResultFactory(collection=collection, safety_verdict="clamped")

    body = api(member(collection, Role.VIEWER)).get("/api/v1/collections/kitchen/stats").json()

    assert body["results"] == 4
    assert body["verdicts"] == {"pass": 3, "clamped": 1}
    assert body["outcomes"] == {"success": 1}
    assert body["last_24h"] == 1
    assert body["latency_ms"]["p50"] == 24.0


def test_search_finds_an_instruction_and_says_why(api, collection):
    _, red = make_episode(collection, instruction="pick up the red cube")
    make_episode(collection, instruction="open the drawer")
    indexing.index_results([r.pk for r in red])

    body = api(member(collection, Role.VIEWER)).get("/api/v1/search", {"q": "red cube", "collection": "kitchen"}).json()

    (hit,) = body["results"]
    assert hit["request_id"] == str(red[0].request_id)
    assert hit["matched"] == ["meaning", "words"]
    assert hit["score"] == 1.0


def test_search_wants_something_to_look_for(api, collection):
    response = api(member(collection, Role.VIEWER)).get("/api/v1/search")

    assert response.status_code == 400
    assert response.json()["errors"][0]["pointer"] == "/q"


ROUTES = [
    ("get", "/api/v1/collections/kitchen/stats", Role.VIEWER),
    ("get", "/api/v1/collections/kitchen/runs", Role.VIEWER),
    ("post", "/api/v1/collections/kitchen/runs", Role.MANAGER),
    ("get", "/api/v1/collections/kitchen/exports", Role.VIEWER),
    ("post", "/api/v1/collections/kitchen/exports", Role.MANAGER),
    ("get", "/api/v1/runs/{run}", Role.VIEWER),
    ("get", "/api/v1/runs/{run}/quarantine", Role.VIEWER),
    ("post", "/api/v1/runs/{run}/quarantine", Role.MANAGER),
    ("post", "/api/v1/runs/{run}/cancel", Role.MANAGER),
    ("get", "/api/v1/exports/{export}", Role.VIEWER),
    ("get", "/api/v1/search?q=cube&collection=kitchen", Role.VIEWER),
]


@pytest.mark.usefixtures("sent")
@pytest.mark.parametrize(("method", "route", "least"), ROUTES)
def test_who_may_do_what(api, collection, method, route, least):
    run = services.start_run(collection=collection)
    export = services.start_export(collection=collection, export_format="parquet")
    path = route.format(run=run.pk, export=export.pk)

    def status(principal):
        return getattr(api(principal), method)(path, {} if method == "post" else None, format="json").status_code

    assert status(None) == 401
    assert status(UserFactory()) == 404
    assert status(member(CollectionFactory(), Role.MANAGER)) == 404
    if least == Role.MANAGER:
        assert status(member(collection, Role.VIEWER)) == 403
    assert status(member(collection, least)) not in (401, 403, 404)


def test_a_run_that_does_not_exist_is_not_found(api, collection):
    assert api(member(collection, Role.VIEWER)).get(f"/api/v1/runs/{uuid4()}").status_code == 404
