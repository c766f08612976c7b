"""Roles, scopes and the permissions that both are made of: the one vocabulary of who may do what."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Permission(models.TextChoices):
    """What can be allowed on a collection."""

    INFERENCE_WRITE = "inference:write", _("Ask for actions")
    DATA_READ = "data:read", _("Read recorded data")
    FEEDBACK_WRITE = "feedback:write", _("Give feedback")
    FEEDBACK_REVIEW = "feedback:review", _("Review feedback")
    EXPORT_WRITE = "export:write", _("Export data")
    COLLECTION_MANAGE = "collection:manage", _("Manage the collection")
    AUDIT_READ = "audit:read", _("Read the audit trail")


class Role(models.TextChoices):
    """A member's role in one collection."""

    VIEWER = "viewer", _("Viewer")
    ANNOTATOR = "annotator", _("Annotator")
    REVIEWER = "reviewer", _("Reviewer")
    MANAGER = "manager", _("Manager")
    AUDITOR = "auditor", _("Auditor")


ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.DATA_READ}),
    Role.ANNOTATOR: frozenset({Permission.DATA_READ, Permission.FEEDBACK_WRITE}),
    Role.REVIEWER: frozenset({Permission.DATA_READ, Permission.FEEDBACK_WRITE, Permission.FEEDBACK_REVIEW}),
    Role.MANAGER: frozenset(
        {
            Permission.DATA_READ,
            Permission.INFERENCE_WRITE,
            Permission.FEEDBACK_WRITE,
            Permission.FEEDBACK_REVIEW,
            Permission.EXPORT_WRITE,
            Permission.COLLECTION_MANAGE,
        }
    ),
    Role.AUDITOR: frozenset({Permission.DATA_READ, Permission.AUDIT_READ}),
}

# What an API key may be given: a robot or a service never manages, reviews or audits.
SCOPES: tuple[Permission, ...] = (
    Permission.INFERENCE_WRITE,
    Permission.FEEDBACK_WRITE,
    Permission.DATA_READ,
    Permission.EXPORT_WRITE,
)


def roles_with(permission: Permission) -> list[Role]:
    """The roles that hold ``permission``."""
    return [role for role, held in ROLE_PERMISSIONS.items() if permission in held]


class RevocationReason(models.TextChoices):
    """Why a family of tokens is over."""

    LOGOUT = "logout", _("Logged out")
    EVERYWHERE = "everywhere", _("Logged out everywhere")
    REUSE = "reuse", _("An old refresh token was used again")
    ACCOUNT = "account", _("The account's password or state changed")
