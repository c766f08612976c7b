"""The demo's people, collection, key and policy. Every step finds what an earlier start made."""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
import shlex
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from PIL import Image, ImageDraw

from accounts import credentials
from accounts.choices import SCOPES, Role
from accounts.models import RateLimitTier, User
from accounts.services import create_api_key, create_user
from collections_app.choices import SafetyMode
from collections_app.models import Collection
from collections_app.services import create_collection, grant_api_key, set_membership
from core.problems import Problem
from feedback.choices import TaskReason
from feedback.models import TaskRule
from inference.demo_robot import description
from inference.models import PolicyVersion
from inference.services import activate, register_version

SLUG = "demo"
PEOPLE = {"admin": None, "annotator": Role.ANNOTATOR, "reviewer": Role.REVIEWER, "viewer": Role.VIEWER}
# One share of the robot's steps becomes questions, enough to always have one and not to drown in them.
SAMPLE_RATE = 0.2


@transaction.atomic
def create_demo(var_dir: Path) -> dict[str, Any]:
    """Make what is missing and write ``demo.json``, readable to its owner only; returns what it says."""
    path = var_dir / "demo.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    people = {name: _person(name, known.get(name, {}).get("password")) for name in PEOPLE}
    admin = User.objects.get(username="admin")
    collection = Collection.objects.filter(slug=SLUG).first() or _collection(admin)
    for name, role in PEOPLE.items():
        if role is not None:
            set_membership(collection=collection, user=User.objects.get(username=name), role=role)
    _policy(collection)
    request_path = var_dir / "demo-request.json"
    request_path.write_text(json.dumps(example_request(collection), indent=1))
    base_url, api_key = f"http://127.0.0.1:{settings.PORT}", _key(collection, known.get("api_key"), admin)
    told = {
        "base_url": base_url,
        "api_key": api_key,
        "collection": SLUG,
        **people,
        "curl": (
            f"curl -s {base_url}/api/v1/inference -H 'Authorization: Api-Key {api_key}' "
            f"-H 'Content-Type: application/json' -d @{shlex.quote(str(request_path))}"
        ),
    }
    transaction.on_commit(lambda: _write(path, told))
    return told


def example_request(collection: Collection) -> dict[str, Any]:
    """A request that works as it stands: grey pictures with a red square, a state of zeros."""
    picture = Image.new("RGB", description.IMAGE_SIZE, (120, 124, 130))
    ImageDraw.Draw(picture).rectangle((80, 88, 112, 120), fill=(200, 40, 40))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=60)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return {
        "collection": collection.slug,
        "instruction": description.INSTRUCTIONS[0],
        "state": [0.0] * len(collection.action_space.state_names),
        "images": dict.fromkeys(collection.cameras, encoded),
    }


def _person(name: str, known_password: str | None) -> dict[str, str]:
    user = User.objects.filter(username=name).first()
    if user is not None and known_password and user.check_password(known_password):
        return {"username": name, "password": known_password}
    password = secrets.token_urlsafe(12)
    if user is None:
        is_admin = name == "admin"
        create_user(username=name, password=password, is_staff=is_admin, is_superuser=is_admin)
    else:
        user.set_password(password)
        user.save(update_fields=["password"])
    return {"username": name, "password": password}


def _collection(admin: User) -> Collection:
    collection = create_collection(
        slug=SLUG,
        name="Demo: pick up a cube",
        description="A simulated Franka Panda picks up coloured cubes. It drives itself through the public API.",
        action_space={
            "name": "Panda, end-effector displacement",
            "control_rate_hz": description.RATE_HZ,
            "state_names": [dimension.name for dimension in description.STATE_DIMENSIONS],
            "state_units": [dimension.unit for dimension in description.STATE_DIMENSIONS],
            "dimensions": [
                {
                    "name": dimension.name,
                    "unit": dimension.unit,
                    "kind": "gripper" if dimension.name == "gripper" else "position",
                    "low": dimension.minimum,
                    "high": dimension.maximum,
                    "max_step_change": dimension.max_step_change,
                }
                for dimension in description.ACTION_DIMENSIONS
            ],
        },
        created_by=admin,
        cameras=list(description.CAMERAS),
        horizon=description.HORIZON,
        safety_mode=SafetyMode.CLAMP,
        guidelines=(
            "Would these actions bring the hand closer to the cube that the instruction names?\n"
            "Accept what works, even if it is not elegant. Correct what misses: move the hand over the cube before it "
            "goes down, close the gripper only around the cube, lift straight up."
        ),
    )
    for reason, rate in ((TaskReason.SAMPLE, SAMPLE_RATE), (TaskReason.SAFETY, 1.0), (TaskReason.FAILURE, 1.0)):
        TaskRule.objects.create(collection=collection, reason=reason, sample_rate=rate)
    return collection


def _policy(collection: Collection) -> None:
    if collection.deployments.exists():
        return
    version = PolicyVersion.objects.filter(name="panda-pick", version="1").first() or register_version(
        name="panda-pick",
        version="1",
        backend="compact",
        description="The small network that ships with the project, trained on scripted demonstrations.",
    )
    activate(policy_version=version, collection=collection)


def _key(collection: Collection, known_token: str | None, admin: User) -> str:
    if known_token is not None:
        try:
            credential = credentials.authenticate(known_token, ip_address="127.0.0.1")
        except Problem:
            pass
        else:
            if collection.pk in credential.collection_ids:
                return known_token
    key, token = create_api_key(
        name="demo",
        scopes=[scope.value for scope in SCOPES],
        tier=RateLimitTier.objects.get(name="high"),
        created_by=admin,
    )
    grant_api_key(api_key=key, collection=collection)
    return token


def _write(path: Path, told: dict[str, Any]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(told, file, indent=2)
