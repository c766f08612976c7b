"""Records that were refused: managers fix them, and a replay takes them up."""

from __future__ import annotations

import pytest
from django.urls import reverse

from accounts.choices import Role
from accounts.models import AuditLog
from core.problems import Problem
from pipeline import services
from pipeline.models import PipelineRun
from pipeline.runs import parquet, runner
from tests.factories import CollectionFactory, MembershipFactory
from tests.pipeline.factories import make_episode

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("encoder")]

GOOD = [0.1] * 7


@pytest.fixture
def refused():
    """The third record of an episode has too short a state; the second one's step is there twice."""
    collection = CollectionFactory()
    _, results = make_episode(collection, steps=4)
    results[2].input_state = [1.0, 2.0]
    results[2].save()
    results[1].step = 0
    results[1].save()
    run = runner.execute(services.start_run(collection=collection, enqueue=False))
    return {record.reason: record for record in run.quarantined.all()}


@pytest.fixture
def manager(refused):
    [collection] = {record.run.collection for record in refused.values()}
    return MembershipFactory(collection=collection, role=Role.MANAGER, user__is_staff=True).user


def rows_of(run):
    run.refresh_from_db()
    folder = f"processed/collection_{run.collection.slug}/run_{run.pk}/"
    return [row for shard in run.shards.all() for row in parquet.read(folder + shard.file["path"]).to_pylist()]


def test_a_fixed_record_is_replayed_and_its_original_kept(refused, manager):
    record = refused["state_length"]

    replay = services.fix_quarantined(record=record, values={"state": GOOD}, fixed_by=manager, enqueue=False)
    runner.execute(replay)

    record.refresh_from_db()
    assert record.resolved_at is not None
    assert (record.original, record.fixed_by) == ({"state": [1.0, 2.0]}, manager)
    [row] = rows_of(replay)
    assert (row["result_id"], row["episode_length"]) == (str(record.inference_result_id), 3.0)
    assert refused["duplicate_step"].run.quarantined.waiting().get().reason == "duplicate_step"
    assert record.inference_result.input_state == GOOD
    entry = AuditLog.objects.get(action="quarantined_record.fixed")
    assert entry.changes == {"fields": [None, ["state"]]}


@pytest.mark.parametrize(
    ("reason", "values", "pointer"),
    [
        ("state_length", {"state": [1.0, 2.0, 3.0]}, "/state"),
        ("state_length", {"state": ["x"] * 7}, "/state"),
        ("state_length", {"state": GOOD, "actions": []}, "/actions"),
        ("state_length", {"state": GOOD, "images": {"base": "raw/somebody-else.jpg"}}, "/images"),
        ("state_length", {"state": GOOD, "instruction": "dance"}, "/instruction"),
        ("state_length", {"state": [1.0, 2.0]}, ""),
        ("duplicate_step", {"step": 3}, "/step"),
    ],
)
def test_what_would_be_refused_again_changes_nothing(refused, reason, values, pointer):
    record = refused[reason]
    before = record.inference_result.input_state

    with pytest.raises(Problem) as refusal:
        services.fix_quarantined(record=record, values=values)

    assert refusal.value.errors[0].pointer == pointer
    record.refresh_from_db()
    record.inference_result.refresh_from_db()
    assert record.fixed_at is None
    assert record.inference_result.input_state == before


def test_a_step_is_fixed_among_the_others_of_its_episode(refused):
    record = refused["duplicate_step"]

    assert services.fix_quarantined(record=record, values={"step": 1}, replay=False) is None

    record.inference_result.refresh_from_db()
    assert record.inference_result.step == 1


def test_a_manager_fixes_and_replays_in_the_admin(client, refused, manager, monkeypatch):
    monkeypatch.setattr("pipeline.tasks.run_pipeline.delay_on_commit", lambda _run: None)
    client.force_login(manager)
    record = refused["state_length"]
    url = reverse("admin:pipeline_quarantinedrecord_change", args=[record.pk])
    form = client.get(url).context["adminform"].form
    values = {name: form[name].value() for name in form.fields}
    assert values["state"] == "[1.0, 2.0]"

    refusal = client.post(url, {**values, "state": "[1.0]", "_replay": "1"})
    accepted = client.post(url, {**values, "state": str(GOOD), "_replay": "1"})

    assert "state_length" in refusal.context["adminform"].form.errors["state"][0]
    assert accepted.status_code == 302
    record.refresh_from_db()
    assert record.original == {"state": [1.0, 2.0]}
    assert PipelineRun.objects.get(trigger="replay").requested_by == manager


def test_a_manager_fixes_over_the_api(api, refused, manager):
    record = refused["state_length"]
    client = api(manager)
    url = f"/api/v1/quarantine/{record.pk}"

    seen = client.get(url).json()
    fixed = client.patch(url, {"state": GOOD, "replay": False}, format="json")

    assert seen["values"]["state"] == [1.0, 2.0]
    assert fixed.status_code == 204
    assert client.get(url).json()["values"]["state"] == GOOD
