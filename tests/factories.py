"""Objects for tests, valid and small."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import factory
from django.utils import timezone
from factory.django import DjangoModelFactory

from accounts import credentials
from accounts.choices import SCOPES, Role
from accounts.models import ApiKey, RateLimitTier, User
from collections_app.models import (
    ActionDimension,
    ActionSpace,
    ApiKeyGrant,
    Collection,
    Episode,
    Membership,
    Robot,
)
from core.identifiers import uuid7
from feedback.models import Feedback, FeedbackTask
from inference.models import Deployment, InferenceRequest, InferenceResult, PolicyVersion

DIMENSIONS = [
    ("x", "m", "position", -0.5, 0.5),
    ("y", "m", "position", -0.5, 0.5),
    ("z", "m", "position", 0.0, 0.6),
    ("roll", "rad", "rotation", -3.2, 3.2),
    ("pitch", "rad", "rotation", -3.2, 3.2),
    ("yaw", "rad", "rotation", -3.2, 3.2),
    ("gripper", "1", "gripper", 0.0, 1.0),
]


class UserFactory(DjangoModelFactory):
    class Meta:
        model = User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"person{n}")
    email = factory.LazyAttribute(lambda o: f"{o.username}@example.org")
    password = factory.PostGenerationMethodCall("set_password", "correct horse battery")

    @classmethod
    def _after_postgeneration(cls, instance: User, create: bool, results: Any = None) -> None:
        if create:
            instance.save()


class ActionSpaceFactory(DjangoModelFactory):
    """Seven dimensions, seven state entries, 20 Hz."""

    class Meta:
        model = ActionSpace
        skip_postgeneration_save = True

    name = factory.Sequence(lambda n: f"arm {n}")
    control_rate_hz = 20.0
    state_names = [f"joint_{i}" for i in range(7)]
    state_units = ["rad"] * 7

    @factory.post_generation
    def dimensions(self, create: bool, extracted: list[tuple[Any, ...]] | None, **_kwargs: Any) -> None:
        if create:
            ActionDimension.objects.bulk_create(
                ActionDimension(action_space=self, position=i, name=n, unit=u, kind=k, low=low, high=high)
                for i, (n, u, k, low, high) in enumerate(extracted or DIMENSIONS)
            )


class CollectionFactory(DjangoModelFactory):
    class Meta:
        model = Collection

    slug = factory.Sequence(lambda n: f"collection-{n}")
    name = factory.LazyAttribute(lambda o: o.slug.replace("-", " ").title())
    action_space = factory.SubFactory(ActionSpaceFactory)
    cameras = ["base", "wrist"]
    horizon = 8


class MembershipFactory(DjangoModelFactory):
    class Meta:
        model = Membership

    collection = factory.SubFactory(CollectionFactory)
    user = factory.SubFactory(UserFactory)
    role = Role.VIEWER


class ApiKeyFactory(DjangoModelFactory):
    """A usable key with every scope; its token is the attribute ``token``. Grant it with ``collections=[…]``."""

    class Meta:
        model = ApiKey
        skip_postgeneration_save = True

    name = factory.Sequence(lambda n: f"key {n}")
    scopes = [scope.value for scope in SCOPES]
    tier = factory.LazyFunction(lambda: RateLimitTier.objects.get(name="unlimited"))

    @classmethod
    def _create(cls, model_class: type[ApiKey], *args: Any, **kwargs: Any) -> ApiKey:
        public_id, secret, token = credentials.generate_token()
        instance = model_class(*args, public_id=public_id, secret_hash=credentials.hash_secret(secret), **kwargs)
        instance.save()
        instance.token = token
        return instance

    @factory.post_generation
    def collections(self, create: bool, extracted: list[Collection] | None, **_kwargs: Any) -> None:
        for collection in extracted or []:
            ApiKeyGrant.objects.create(api_key=self, collection=collection)


class RobotFactory(DjangoModelFactory):
    class Meta:
        model = Robot

    collection = factory.SubFactory(CollectionFactory)
    name = factory.Sequence(lambda n: f"arm-{n:02}")


class EpisodeFactory(DjangoModelFactory):
    class Meta:
        model = Episode

    collection = factory.SubFactory(CollectionFactory)
    robot = factory.SubFactory(RobotFactory, collection=factory.SelfAttribute("..collection"))
    external_id = factory.Sequence(lambda n: f"episode-{n}")
    instruction = "pick up the red cube"
    started_at = factory.LazyFunction(timezone.now)


class PolicyVersionFactory(DjangoModelFactory):
    """A simulated policy without latency."""

    class Meta:
        model = PolicyVersion

    name = factory.Sequence(lambda n: f"policy-{n}")
    version = "1"
    backend = "simulated"
    options = {"base_ms": 0, "per_sample_ms": 0}
    state = "ready"


class DeploymentFactory(DjangoModelFactory):
    class Meta:
        model = Deployment

    collection = factory.SubFactory(CollectionFactory)
    policy_version = factory.SubFactory(PolicyVersionFactory)


class InferenceResultFactory(DjangoModelFactory):
    """A recorded, passed chunk inside the limits, without images in storage."""

    class Meta:
        model = InferenceResult
        skip_postgeneration_save = True

    request_id = factory.LazyFunction(uuid7)
    collection = factory.SubFactory(CollectionFactory)
    robot = factory.SubFactory(RobotFactory, collection=factory.SelfAttribute("..collection"))
    episode = factory.SubFactory(
        EpisodeFactory, collection=factory.SelfAttribute("..collection"), robot=factory.SelfAttribute("..robot")
    )
    step = factory.Sequence(lambda n: n)
    instruction = "pick up the red cube"
    policy_version = factory.SubFactory(PolicyVersionFactory)
    model_name = factory.LazyAttribute(lambda o: o.policy_version.name)
    model_version = factory.LazyAttribute(lambda o: o.policy_version.version)
    input_state = factory.LazyFunction(lambda: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    output_actions = factory.LazyFunction(lambda: [[0.01 * i, 0.0, 0.1, 0.0, 0.0, 0.0, 0.5] for i in range(8)])
    safety_score = 1.0
    safety_verdict = "pass"
    queue_ms = 0.4
    inference_time_ms = 21.0
    total_ms = 24.0
    batch_size = 1
    created_at = factory.LazyFunction(timezone.now)

    @factory.post_generation
    def ledger(self, create: bool, _extracted: Any, **_kwargs: Any) -> None:
        if create and not self.shadow:
            InferenceRequest.objects.create(
                request_id=self.request_id, collection=self.collection, digest=b"0" * 32, created_at=self.created_at
            )


class FeedbackTaskFactory(DjangoModelFactory):
    class Meta:
        model = FeedbackTask

    inference_result = factory.SubFactory(InferenceResultFactory)
    collection = factory.SelfAttribute("inference_result.collection")
    reason = "all"

    class Params:
        assigned = factory.Trait(
            state="assigned",
            assignee=factory.SubFactory(UserFactory),
            assigned_until=factory.LazyFunction(lambda: timezone.now() + timedelta(minutes=30)),
        )


class FeedbackFactory(DjangoModelFactory):
    class Meta:
        model = Feedback

    inference_result = factory.SubFactory(InferenceResultFactory)
    collection = factory.SelfAttribute("inference_result.collection")
    feedback_type = "rating"
    rating = 4
    annotator = factory.SubFactory(UserFactory)
