"""Policy versions changed over the API, while robots ask."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.test import Client

from accounts.choices import Role
from accounts.models import AuditLog
from collections_app.models import Collection
from inference.engine.registry import loaded_versions
from inference.engine.worker import InferenceWorker
from inference.models import Deployment, PolicyVersion
from tests.factories import DeploymentFactory, MembershipFactory, PolicyVersionFactory, UserFactory
from tests.inference.conftest import observation
from tests.inference.waiting import wait_until

URL = "/api/v1/models"


def post(client: Client, path: str, **body: Any) -> Any:
    return client.post(f"{URL}{path}", body, content_type="application/json")


@pytest.fixture
def manager(collection: Collection) -> Client:
    client = Client()
    client.force_login(MembershipFactory(collection=collection, role=Role.MANAGER).user)
    return client


@pytest.fixture
def superuser(transactional_db: None) -> Client:
    client = Client()
    client.force_login(UserFactory(is_superuser=True, is_staff=True))
    return client


async def test_a_newly_activated_version_answers_the_next_request(
    robot: httpx.AsyncClient,
    collection: Collection,
    version: PolicyVersion,
    worker: InferenceWorker,
    manager: Client,
    superuser: Client,
) -> None:
    ask = sync_to_async(post)
    made = await ask(
        superuser, "", name="second", version="1", backend="simulated", options={"base_ms": 0, "per_sample_ms": 0}
    )
    assert (made.status_code, made.headers["Location"]) == (201, f"{URL}/second")
    # A shadow first, so that it is loaded and warm before it has any traffic.
    place = {"version": "1", "collection": collection.slug}
    assert (await ask(superuser, "/second/deploy", **place, role="shadow")).status_code == 200
    second = await PolicyVersion.objects.aget(name="second")
    await sync_to_async(wait_until)(lambda: loaded_versions().get(second.pk.hex))
    assert (await ask(manager, "/second/activate", **place)).status_code == 200
    answers = [await robot.post("/api/v1/inference", json=observation(collection, robot=f"arm-{n}")) for n in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert {answer.json()["model"]["name"] for answer in answers} == {"second"}
    assert not await Deployment.objects.filter(policy_version=version).aexists()
    actions = AuditLog.objects.filter(action__startswith="policy.").order_by("timestamp")
    assert [entry.action async for entry in actions] == [
        "policy.registered",
        "policy.deployed",
        "policy.withdrawn",
        "policy.deployed",
    ]


def test_a_retired_version_serves_nobody_and_cannot_be_deployed_again(
    collection: Collection, version: PolicyVersion, superuser: Client
) -> None:
    assert post(superuser, f"/{version.name}/retire", version=version.version).json()["state"] == "retired"
    answer = post(superuser, f"/{version.name}/deploy", version=version.version, collection=collection.slug)
    assert answer.status_code == 400


def test_a_version_of_another_collection_is_not_there_for_a_manager(collection: Collection, manager: Client) -> None:
    foreign = DeploymentFactory(policy_version=PolicyVersionFactory(name="foreign")).policy_version
    answer = post(manager, "/foreign/deploy", version=foreign.version, collection=collection.slug)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "a", "version": "1", "backend": "none"}, "/backend"),
        ({"name": "no spaces", "version": "1", "backend": "simulated"}, "/name"),
        ({"name": "a", "version": "1", "backend": "simulated", "weights": "x"}, "/weights"),
    ],
)
def test_what_is_wrong_with_a_new_version_is_pointed_at(superuser: Client, body: Any, pointer: str) -> None:
    answer = post(superuser, "", **body)
    assert answer.status_code == 400
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
