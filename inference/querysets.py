from __future__ import annotations

import uuid
from typing import Self

from django.db import models

from accounts.principals import Principal
from collections_app.models import Collection
from collections_app.querysets import CollectionScopedQuerySet
from inference.choices import DeploymentRole, VersionState


class PolicyVersionQuerySet(models.QuerySet):
    def restrict(self, principal: Principal) -> Self:
        """The versions deployed on a collection whose data ``principal`` may read."""
        if getattr(principal, "is_superuser", False):
            return self
        return self.filter(deployments__collection__in=Collection.objects.restrict(principal)).distinct()

    def servable(self) -> Self:
        """Not retired."""
        return self.exclude(state=VersionState.RETIRED)


class DeploymentQuerySet(CollectionScopedQuerySet):
    def active(self) -> Self:
        return self.filter(role=DeploymentRole.ACTIVE).exclude(policy_version__state=VersionState.RETIRED)

    def shadow(self) -> Self:
        return self.filter(role=DeploymentRole.SHADOW).exclude(policy_version__state=VersionState.RETIRED)


class InferenceResultQuerySet(CollectionScopedQuerySet):
    def sent(self) -> Self:
        """What robots were answered; without the shadow versions' chunks."""
        return self.filter(shadow=False)

    def with_request_id(self, request_id: uuid.UUID) -> Self:
        return self.filter(request_id=request_id, shadow=False)
