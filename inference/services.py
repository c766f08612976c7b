"""Changes to the registry of policy versions: register, deploy, retire. Each is audited and reaches every process."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from accounts.audit import difference, record
from collections_app import snapshots
from collections_app.models import Collection
from inference.choices import DeploymentRole, VersionState
from inference.engine import registry
from inference.exceptions import PolicyConfigurationError
from inference.models import Deployment, PolicyVersion
from inference.policies.handler import backends


@transaction.atomic
def register_version(
    *,
    name: str,
    version: str,
    backend: str,
    options: dict[str, Any] | None = None,
    checkpoint_sha256: str = "",
    description: str = "",
    actor: Any = None,
) -> PolicyVersion:
    """Enter a policy version into the registry. Raises ``ValidationError``: it exists, or the backend is unknown."""
    if backend not in backends.names:
        raise ValidationError({"backend": f"There is no backend '{backend}'. Known are: {', '.join(backends.names)}."})
    registered = PolicyVersion(
        name=name,
        version=version,
        backend=backend,
        options=options or {},
        checkpoint_sha256=checkpoint_sha256,
        description=description,
    )
    registered.full_clean()
    registered.save(force_insert=True)
    record(
        "policy.registered",
        registered,
        changes={"backend": [None, backend], "options": [None, options or {}]},
        actor=actor,
    )
    return registered


@transaction.atomic
def deploy(
    *,
    policy_version: PolicyVersion,
    collection: Collection,
    role: str = DeploymentRole.ACTIVE,
    weight: int = 100,
    actor: Any = None,
) -> Deployment:
    """Put a version to work on a collection, or change its role or weight there."""
    if policy_version.state == VersionState.RETIRED:
        raise ValidationError("A retired version cannot be deployed.")
    existing = Deployment.objects.filter(policy_version=policy_version, collection=collection).first()
    before = {"role": existing.role, "weight": existing.weight} if existing else {}
    deployment = existing or Deployment(policy_version=policy_version, collection=collection)
    deployment.role, deployment.weight = role, weight
    deployment.full_clean(validate_unique=False)
    deployment.save()
    record("policy.deployed", deployment, changes=difference(before, {"role": role, "weight": weight}), actor=actor)
    _announce(collection.slug)
    return deployment


@transaction.atomic
def activate(*, policy_version: PolicyVersion, collection: Collection, actor: Any = None) -> Deployment:
    """Give a version all of a collection's traffic; the versions that were active no longer get any."""
    others = Deployment.objects.active().filter(collection=collection).exclude(policy_version=policy_version)
    for other in others.select_related("policy_version"):
        withdraw(deployment=other, actor=actor)
    return deploy(policy_version=policy_version, collection=collection, actor=actor)


@transaction.atomic
def withdraw(*, deployment: Deployment, actor: Any = None) -> None:
    """Take a version off a collection; what is queued for it is still answered."""
    record(
        "policy.withdrawn",
        deployment,
        changes={"role": [deployment.role, None], "weight": [deployment.weight, None]},
        actor=actor,
    )
    slug = deployment.collection.slug
    deployment.delete()
    _announce(slug)


@transaction.atomic
def retire(*, policy_version: PolicyVersion, actor: Any = None) -> PolicyVersion:
    """End a version's service everywhere, for good; its records and its row stay."""
    before = policy_version.state
    policy_version.state = VersionState.RETIRED
    policy_version.retired_at = timezone.now()
    policy_version.save(update_fields=["state", "retired_at"])
    record("policy.retired", policy_version, changes={"state": [before, VersionState.RETIRED]}, actor=actor)
    for slug in Collection.objects.filter(deployments__policy_version=policy_version).values_list("slug", flat=True):
        _announce(slug)
    return policy_version


def parse_options(pairs: list[str]) -> dict[str, str]:
    """``key=value`` texts from a command line. Raises ``PolicyConfigurationError``."""
    options = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise PolicyConfigurationError(f"'{pair}' is not key=value.")
        options[key] = value
    return options


def _announce(slug: str) -> None:
    transaction.on_commit(partial(snapshots.forget, slug))
    transaction.on_commit(registry.announce_change)
