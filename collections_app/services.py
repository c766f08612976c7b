"""Changing collections, their members, keys, action spaces and episodes: validated, atomic, audited, announced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypedDict

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models, transaction
from django.utils.translation import gettext as _

from accounts import audit, credentials
from accounts.choices import Role
from accounts.models import ApiKey, User
from collections_app import snapshots
from collections_app.models import (
    ActionDimension,
    ActionSpace,
    ApiKeyGrant,
    Collection,
    Episode,
    Membership,
    Robot,
)
from collections_app.signals import collection_changed, episode_changed


class DimensionSpec(TypedDict, total=False):
    """One action dimension as given; see ``ActionDimension`` for units and meaning. Only ``name`` is required."""

    name: str
    unit: str
    kind: str
    low: float | None
    high: float | None
    max_step_change: float | None
    max_velocity: float | None
    workspace_state: str
    workspace_low: float | None
    workspace_high: float | None


class NewActionSpace(TypedDict, total=False):
    """An action space as given with a new collection: the arguments of ``create_action_space``."""

    name: str
    control_rate_hz: float
    state_names: list[str]
    state_units: list[str]
    state_limits: dict[str, list[float | None]]
    dimensions: list[DimensionSpec]


class CollectionChanges(TypedDict, total=False):
    """What may be changed of a collection; its slug and action space may not, because stored data is named by them."""

    name: str
    description: str
    cameras: list[str]
    horizon: int
    safety_mode: str
    cache_enabled: bool
    default_deadline_ms: int
    observation_mapping: dict[str, Any]
    guidelines: str
    archived_at: datetime | None


class ActionSpaceChanges(TypedDict, total=False):
    name: str
    control_rate_hz: float
    state_names: list[str]
    state_units: list[str]
    state_limits: dict[str, list[float | None]]


class EpisodeChanges(TypedDict, total=False):
    outcome: str
    tags: list[str]


# --- collections -----------------------------------------------------------------------------------------------------


@transaction.atomic
def create_collection(
    *, slug: str, action_space: ActionSpace | NewActionSpace, created_by: User | None = None, **values: Any
) -> Collection:
    """Create a collection; ``values`` are those of ``CollectionChanges``. Whoever creates it becomes its manager.

    Raises ``ValidationError``.
    """
    if isinstance(action_space, dict):
        try:
            action_space = create_action_space(**action_space)
        except ValidationError as error:
            raise _below("action_space", error) from None
    collection = Collection(slug=slug, action_space=action_space, created_by=created_by, **values)
    collection.full_clean()
    collection.save(force_insert=True)
    given = {"slug": slug, "action_space": action_space.name, **values}
    _record("collection.created", collection, collection=collection, changes=audit.difference({}, given))
    if created_by is not None:
        set_membership(collection=collection, user=created_by, role=Role.MANAGER)
    _announce(collection)
    return collection


@transaction.atomic
def update_collection(*, collection: Collection, changes: CollectionChanges) -> Collection:
    """Apply ``changes``. Raises ``ValidationError``."""
    collection = Collection.objects.select_for_update().get(pk=collection.pk)
    difference = _apply(collection, changes)
    if difference:
        _record("collection.updated", collection, collection=collection, changes=difference)
        _announce(collection)
    return collection


# --- who may do what -------------------------------------------------------------------------------------------------


@transaction.atomic
def set_membership(*, collection: Collection, user: User, role: Role) -> Membership:
    """Make ``user`` a member with ``role``, or change the role that they have."""
    membership, created = Membership.objects.select_for_update().get_or_create(
        collection=collection, user=user, defaults={"role": role}
    )
    before = None if created else membership.role
    if before != role:
        membership.role = role
        membership.full_clean()
        membership.save(update_fields=["role"])
        _record(
            "membership.added" if created else "membership.changed",
            user,
            collection=collection,
            changes={"role": [before, role]},
        )
        _announce(collection)
    return membership


@transaction.atomic
def remove_membership(*, membership: Membership) -> None:
    """End a membership; open sockets notice at their next check."""
    membership.delete()
    _record(
        "membership.removed",
        membership.user,
        collection=membership.collection,
        changes={"role": [membership.role, None]},
    )
    _announce(membership.collection)


@transaction.atomic
def grant_api_key(*, api_key: ApiKey, collection: Collection) -> ApiKeyGrant:
    """Let ``api_key`` be used on ``collection``; once is enough."""
    grant, created = ApiKeyGrant.objects.get_or_create(api_key=api_key, collection=collection)
    if created:
        _record_grant("api_key.granted", grant, change=[None, collection.slug])
    return grant


@transaction.atomic
def withdraw_api_key(*, grant: ApiKeyGrant) -> None:
    """End a key's use on a collection, everywhere within a second."""
    grant.delete()
    _record_grant("api_key.withdrawn", grant, change=[grant.collection.slug, None])


def _record_grant(action: str, grant: ApiKeyGrant, *, change: list[str | None]) -> None:
    _record(action, grant.api_key, collection=grant.collection, changes={"collection": change})
    transaction.on_commit(partial(credentials.forget, grant.api_key.public_id))


# --- action spaces ---------------------------------------------------------------------------------------------------


@transaction.atomic
def create_action_space(
    *,
    name: str,
    control_rate_hz: float,
    state_names: Sequence[str],
    dimensions: Sequence[DimensionSpec],
    state_units: Sequence[str] = (),
    state_limits: Mapping[str, Sequence[float | None]] | None = None,
) -> ActionSpace:
    """Create an action space with its dimensions in order. Raises ``ValidationError``."""
    limits = {name: list(pair) for name, pair in (state_limits or {}).items()}
    space = ActionSpace(
        name=name,
        control_rate_hz=control_rate_hz,
        state_names=list(state_names),
        state_units=list(state_units),
        state_limits=limits,
    )
    space.full_clean()
    space.save(force_insert=True)
    _write_dimensions(space, dimensions)
    given = {
        "name": name,
        "control_rate_hz": control_rate_hz,
        "state_names": list(state_names),
        "state_units": list(state_units),
        "state_limits": limits,
        "dimensions": list(dimensions),
    }
    audit.record("action_space.created", space, changes=audit.difference({}, given))
    return space


@transaction.atomic
def update_action_space(
    *, action_space: ActionSpace, changes: ActionSpaceChanges, dimensions: Sequence[DimensionSpec] | None = None
) -> ActionSpace:
    """Apply ``changes`` and, where given, replace the dimensions.

    Raises ``ValidationError``, also where the length or the names of the state or the action would change under a
    collection: what is recorded would no longer mean what it meant. Limits, units and the rate may change.
    """
    action_space = ActionSpace.objects.select_for_update().get(pk=action_space.pk)
    check_structure_unchanged(
        action_space,
        state_names=changes.get("state_names"),
        dimension_names=None if dimensions is None else [d["name"] for d in dimensions],
    )
    difference = _apply(action_space, changes)
    if dimensions is not None:
        before = [_spec(dimension) for dimension in action_space.dimensions.order_by("position")]
        action_space.dimensions.all().delete()
        after = [_spec(dimension) for dimension in _write_dimensions(action_space, dimensions)]
        difference |= audit.difference({"dimensions": before}, {"dimensions": after})
    if difference:
        audit.record("action_space.updated", action_space, changes=difference)
        for collection in action_space.collections.all():
            _announce(collection)
    return action_space


def check_structure_unchanged(
    action_space: ActionSpace, *, state_names: Sequence[str] | None, dimension_names: Sequence[str] | None
) -> None:
    """Raise ``ValidationError`` where names, count or order would change although a collection uses the space."""
    if not action_space.collections.exists():
        return
    if state_names is not None and list(state_names) != action_space.state_names:
        raise ValidationError({"state_names": _("A collection uses this action space: its state is fixed.")})
    stored = list(action_space.dimensions.order_by("position").values_list("name", flat=True))
    if dimension_names is not None and list(dimension_names) != stored:
        raise ValidationError({"dimensions": _("A collection uses this action space: its dimensions are fixed.")})


def _write_dimensions(space: ActionSpace, specs: Sequence[DimensionSpec]) -> list[ActionDimension]:
    if not specs:
        raise ValidationError({"dimensions": _("An action has at least one dimension.")})
    dimensions = [ActionDimension(action_space=space, position=i, **spec) for i, spec in enumerate(specs)]
    for index, dimension in enumerate(dimensions):
        try:
            dimension.full_clean(exclude=["action_space"])
        except ValidationError as error:
            raise _below(f"dimensions/{index}", error) from None
        if dimension.workspace_state and dimension.workspace_state not in space.state_names:
            missing = _("The state has no entry '%(name)s'.") % {"name": dimension.workspace_state}
            raise ValidationError({f"dimensions/{index}/workspace_state": missing})
    if len({dimension.name for dimension in dimensions}) != len(dimensions):
        raise ValidationError({"dimensions": _("Name each one only once.")})
    return ActionDimension.objects.bulk_create(dimensions)


def _spec(dimension: ActionDimension) -> dict[str, Any]:
    return {name: getattr(dimension, name) for name in DimensionSpec.__annotations__}


# --- robots and episodes ---------------------------------------------------------------------------------------------


@transaction.atomic
def register_robot(*, collection: Collection, name: str, description: str = "") -> Robot:
    """Make a robot known before it first speaks, or describe one that is. Raises ``ValidationError``."""
    robot = Robot.objects.filter(collection=collection, name=name).first()
    if robot is not None:
        return describe_robot(robot=robot, description=description)
    robot = Robot(collection=collection, name=name, description=description)
    robot.full_clean()
    robot.save(force_insert=True)
    given = audit.difference({}, {"name": name, "description": description})
    _record("robot.registered", robot, collection=collection, changes=given)
    return robot


@transaction.atomic
def describe_robot(*, robot: Robot, description: str) -> Robot:
    """Set what people read of a robot; the robot itself was made when it first spoke."""
    robot = Robot.objects.select_for_update(of=("self",)).select_related("collection").get(pk=robot.pk)
    difference = _apply(robot, {"description": description})
    if difference:
        _record("robot.described", robot, collection=robot.collection, changes=difference)
    return robot


@transaction.atomic
def update_episode(*, episode: Episode, changes: EpisodeChanges) -> Episode:
    """Set the outcome or the tags. Raises ``ValidationError``."""
    # Only the row's own table is locked: the nullable robot is joined from outside.
    episode = Episode.objects.select_for_update(of=("self",)).select_related("collection", "robot").get(pk=episode.pk)
    difference = _apply(episode, changes)
    if difference:
        _record("episode.updated", episode, collection=episode.collection, changes=difference)
        transaction.on_commit(
            partial(episode_changed.send, Episode, collection_id=episode.collection_id, episode_id=episode.pk)
        )
    return episode


# --- shared by the above ---------------------------------------------------------------------------------------------


def _apply(instance: models.Model, changes: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Set, validate and save ``changes``; returns what differs, ``{field: [before, after]}``."""
    before = {name: getattr(instance, name) for name in changes}
    difference = audit.difference(before, changes)
    if difference:
        for name in difference:
            setattr(instance, name, changes[name])
        instance.full_clean()
        touched = [field.name for field in instance._meta.fields if getattr(field, "auto_now", False)]
        instance.save(update_fields=[*difference, *touched])
    return difference


def _record(action: str, resource: models.Model, *, collection: Collection, changes: Mapping[str, Any]) -> None:
    audit.record(action, resource, changes=changes, collection_id=collection.pk)


def _announce(collection: Collection) -> None:
    transaction.on_commit(partial(snapshots.forget, collection.slug))
    transaction.on_commit(partial(collection_changed.send, Collection, collection_id=collection.pk))


def _below(prefix: str, error: ValidationError) -> ValidationError:
    """``error`` with its fields named below ``prefix``."""
    return ValidationError(
        {
            prefix if field == NON_FIELD_ERRORS else f"{prefix}/{field}": messages
            for field, messages in error.message_dict.items()
        }
    )
