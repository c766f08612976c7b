from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from accounts.models import ApiKey
from collections_app.models import Collection
from inference.engine import served_version
from inference.engine import worker as engine_worker
from inference.engine.registry import loaded_versions
from inference.engine.worker import InferenceWorker
from inference.models import PolicyVersion
from inference.recorder import Recorder
from tests.factories import ApiKeyFactory, CollectionFactory, DeploymentFactory
from tests.inference.waiting import wait_until


def jpeg(color: tuple[int, int, int] = (90, 120, 150), size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "JPEG")
    return buffer.getvalue()


def observation(collection: Collection, **changes: Any) -> dict[str, Any]:
    """A valid request body."""
    picture = base64.b64encode(jpeg()).decode()
    body = {
        "collection": collection.slug,
        "robot": "arm-07",
        "episode": "e1",
        "step": 3,
        "instruction": "pick up the red cube",
        "state": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7],
        "images": dict.fromkeys(collection.cameras, picture),
    }
    return {name: value for name, value in {**body, **changes}.items() if value is not ...}


@pytest.fixture
def collection(transactional_db: None) -> Collection:
    return CollectionFactory()


@pytest.fixture
def policy_options() -> dict[str, Any]:
    """Options of the simulated policy; override in a test module."""
    return {"base_ms": 0, "per_sample_ms": 0}


@pytest.fixture
def version(collection: Collection, policy_options: dict[str, Any]) -> PolicyVersion:
    return DeploymentFactory(collection=collection, policy_version__options=policy_options).policy_version


@pytest.fixture
def key(collection: Collection) -> ApiKey:
    return ApiKeyFactory(collections=[collection])


@pytest.fixture
def worker(version: PolicyVersion, monkeypatch: pytest.MonkeyPatch) -> Iterator[InferenceWorker]:
    """A running engine that has loaded the version. It looks up more often than one that has robots to serve."""
    monkeypatch.setattr(served_version, "_LOOK_UP_SECONDS", 0.02)
    monkeypatch.setattr(engine_worker, "_REGISTRY_SECONDS", 0.2)
    made = InferenceWorker()
    made.start()
    wait_until(lambda: loaded_versions().get(version.pk.hex))
    yield made
    made.stop()


@pytest.fixture
def recorder(transactional_db: None) -> Iterator[Recorder]:
    """A recorder that works when asked to: ``recorder.drain()``."""
    made = Recorder()
    yield made
    made._uploads.shutdown()


Ask = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
async def robot(key: ApiKey) -> AsyncIterator[httpx.AsyncClient]:
    """A robot's HTTP client, against the whole ASGI application."""
    from inference.engine.gateway import gateway
    from vla_project.asgi import application

    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
    headers = {"Authorization": f"Api-Key {key.token}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=headers) as client:
        yield client
    await gateway().close()
