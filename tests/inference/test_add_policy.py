"""``manage.py add_policy``: what it registers, and what it refuses before a worker ever sees it."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command

from inference.engine import registry
from inference.models import PolicyVersion
from tests.factories import CollectionFactory

pytestmark = pytest.mark.django_db


def add(*arguments: str) -> str:
    out = io.StringIO()
    call_command("add_policy", *arguments, stdout=out)
    return out.getvalue()


def test_a_version_with_a_checkpoint_reaches_the_worker_with_its_sha256_and_the_collections_shape() -> None:
    collection = CollectionFactory()
    options = ("--option", "checkpoint=lab/openvla", "--option", "dtype=bfloat16", "--option", "max_batch=8")

    said = add("grasp@1", "--backend", "transformers", *options, "--sha256", "ab" * 32, "--collection", collection.slug)

    version = next(one for one in registry.deployed_versions() if str(one) == "grasp@1")
    assert said == f"grasp@1 is registered and is active on {collection.slug}.\n"
    assert version.max_batch == 8
    assert version.options == {"checkpoint": "lab/openvla", "dtype": "bfloat16", "sha256": "ab" * 32}
    registry.build_policy(version)  # the backend understands what the collection says of itself


@pytest.mark.parametrize(
    ("backend", "option", "message"),
    [
        ("transformers", "dtype=int8", "needs 'checkpoint'"),
        ("lerobot", "checkpont=x", "has no option 'checkpont'"),
        ("compact", "device=tpu", "'device' is auto, cpu, cuda"),
        ("tensorflow", "x=1", "no backend 'tensorflow'"),
    ],
)
def test_options_that_no_worker_could_use_are_refused_at_once(backend: str, option: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        add("grasp@1", "--backend", backend, "--option", option)

    assert not PolicyVersion.objects.filter(name="grasp").exists()


def test_a_users_module_need_not_be_importable_where_the_command_runs() -> None:
    assert "is registered" in add("own@1", "--backend", "python", "--option", "path=only.on.the.robot:Policy")
