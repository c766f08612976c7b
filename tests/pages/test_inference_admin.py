"""The registry, deployments and results in the admin: each change is a service's, refused where the rule says so."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.choices import Role
from accounts.models import AuditLog, User
from collections_app.models import Collection
from core.admin import CappedPaginator
from inference.models import Deployment, InferenceResult, PolicyVersion
from tests.factories import (
    CollectionFactory,
    DeploymentFactory,
    InferenceResultFactory,
    MembershipFactory,
    PolicyVersionFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db

VERSIONS = reverse("admin:inference_policyversion_changelist")
RESULTS = reverse("admin:inference_inferenceresult_changelist")
DEPLOYMENTS = reverse("admin:inference_deployment_changelist")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def root() -> Client:
    return signed_in(UserFactory(is_staff=True, is_superuser=True))


def staff(role: Role, collection: Collection) -> Client:
    return signed_in(MembershipFactory(user__is_staff=True, collection=collection, role=role).user)


def actions_on(resource: Any) -> list[str]:
    return list(AuditLog.objects.filter(resource_id=resource.pk).order_by("id").values_list("action", flat=True))


def shown(response: Any) -> list[Any]:
    return list(response.context["cl"].result_list)


def test_a_version_is_registered_by_the_service(root: Client) -> None:
    form = {"name": "grasp", "version": "2", "backend": "simulated", "options": '{"base_ms": 5}', "description": ""}
    assert root.post(reverse("admin:inference_policyversion_add"), form).status_code == 302
    version = PolicyVersion.objects.get(name="grasp", version="2")
    assert version.options == {"base_ms": 5}
    assert actions_on(version) == ["policy.registered"]


def test_a_backend_that_does_not_exist_is_an_error_of_the_form(root: Client) -> None:
    form = {"name": "grasp", "version": "2", "backend": "magic", "options": "{}"}
    response = root.post(reverse("admin:inference_policyversion_add"), form)
    assert response.status_code == 200
    assert "backend" in response.context["adminform"].form.errors
    assert not PolicyVersion.objects.exists()


def test_a_registered_version_never_changes(root: Client) -> None:
    version: Any = PolicyVersionFactory(name="grasp")
    response = root.post(reverse("admin:inference_policyversion_change", args=[version.pk]), {"name": "other"})
    assert response.status_code == 403
    version.refresh_from_db()
    assert version.name == "grasp"


def test_retiring_is_an_action_and_audited(root: Client) -> None:
    version = PolicyVersionFactory()
    root.post(VERSIONS, {"action": "retire", "_selected_action": [version.pk]})
    version.refresh_from_db()
    assert version.state == "retired"
    assert actions_on(version) == ["policy.retired"]


def test_staff_see_the_versions_of_their_collections_and_cannot_retire_them() -> None:
    deployed = DeploymentFactory()
    DeploymentFactory()
    manager = staff(Role.MANAGER, deployed.collection)
    assert shown(manager.get(VERSIONS)) == [deployed.policy_version]
    manager.post(VERSIONS, {"action": "retire", "_selected_action": [deployed.policy_version.pk]})
    deployed.policy_version.refresh_from_db()
    assert deployed.policy_version.state == "ready"


def test_a_manager_deploys_on_their_collection_and_on_no_other() -> None:
    mine: Any = CollectionFactory()
    other, version = CollectionFactory(), PolicyVersionFactory()
    manager = staff(Role.MANAGER, mine)
    form = {"policy_version": version.pk, "role": "active", "weight": 30}
    add = reverse("admin:inference_deployment_add")
    assert manager.post(add, {**form, "collection": other.pk}).status_code == 200
    assert not Deployment.objects.exists()
    assert manager.post(add, {**form, "collection": mine.pk}).status_code == 302
    deployment = Deployment.objects.get()
    assert (deployment.collection, deployment.weight) == (mine, 30)
    assert actions_on(deployment) == ["policy.deployed"]


def test_a_viewer_of_the_collection_cannot_change_its_deployments() -> None:
    deployment = DeploymentFactory(weight=10)
    viewer = staff(Role.VIEWER, deployment.collection)
    change = reverse("admin:inference_deployment_change", args=[deployment.pk])
    assert viewer.get(change).status_code == 200
    assert viewer.post(change, {"role": "shadow", "weight": 99}).status_code == 403
    deployment.refresh_from_db()
    assert (deployment.role, deployment.weight) == ("active", 10)


def test_a_retired_version_cannot_be_deployed(root: Client) -> None:
    version, collection = PolicyVersionFactory(state="retired"), CollectionFactory()
    form = {"policy_version": version.pk, "collection": collection.pk, "role": "active", "weight": 1}
    response = root.post(reverse("admin:inference_deployment_add"), form)
    assert "A retired version cannot be deployed." in response.content.decode()
    assert not Deployment.objects.exists()


def test_taking_all_the_traffic_withdraws_the_others(root: Client) -> None:
    old = DeploymentFactory()
    new = DeploymentFactory(collection=old.collection, weight=1)
    root.post(DEPLOYMENTS, {"action": "take_all_traffic", "_selected_action": [new.pk]})
    assert [d.policy_version for d in Deployment.objects.active()] == [new.policy_version]
    assert "policy.withdrawn" in actions_on(old)


def test_deleting_a_deployment_withdraws_it(root: Client) -> None:
    deployment = DeploymentFactory()
    root.post(reverse("admin:inference_deployment_delete", args=[deployment.pk]), {"post": "yes"})
    assert not Deployment.objects.exists()
    assert actions_on(deployment) == ["policy.withdrawn"]


def test_results_are_history(root: Client) -> None:
    result = InferenceResultFactory()
    page = reverse("admin:inference_inferenceresult_change", args=[result.pk])
    assert root.get(page).status_code == 200
    assert root.post(page, {"instruction": "x"}).status_code == 403
    delete = reverse("admin:inference_inferenceresult_delete", args=[result.pk])
    assert root.post(delete, {"post": "yes"}).status_code == 403
    assert InferenceResult.objects.filter(pk=result.pk).exists()


def test_results_are_found_by_request_id_robot_and_episode(root: Client) -> None:
    wanted: Any = InferenceResultFactory()
    InferenceResultFactory()
    for term in (str(wanted.request_id), wanted.robot.name, wanted.episode.external_id):
        assert shown(root.get(RESULTS, {"q": term})) == [wanted], term
    assert shown(root.get(RESULTS, {"q": "neither"})) == []


def test_staff_see_only_the_results_of_their_collections() -> None:
    mine: Any = InferenceResultFactory()
    InferenceResultFactory()
    assert shown(staff(Role.VIEWER, mine.collection).get(RESULTS)) == [mine]


def test_a_list_says_that_there_is_more_than_it_counts(root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CappedPaginator, "cap", 2)
    InferenceResultFactory.create_batch(3)
    assert "2 inference results or more" in root.get(RESULTS).content.decode()
