"""A LeRobot export against the published loader of LeRobot."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import orjson
import pytest

from core import object_store
from core.personal_data import patterns
from pipeline import services
from pipeline.exports import writer
from pipeline.images import published
from pipeline.images.redaction import decode
from tests.e2e.system import ROOT
from tests.factories import CollectionFactory, FeedbackFactory
from tests.pipeline.factories import make_episode

PYTHON = ROOT / "var" / "peers" / "lerobot" / "bin" / "python"
CHECK = ROOT / "tests" / "peers" / "lerobot_check.py"

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no lerobot: see {CHECK.relative_to(ROOT)}"),
]


class NothingFound:
    """A finder of regions in images that hold nothing personal."""

    name = "rapidocr"

    def find(self, image: object) -> list[object]:
        return []


def test_the_loader_reads_what_the_database_holds(tmp_path: Path, monkeypatch, settings) -> None:
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "core.object_store.LocalObjectStorage",
            "OPTIONS": {"location": tmp_path / "objects", "allow_overwrite": True},
        },
    }
    monkeypatch.setattr(writer, "detect", patterns.detect)
    monkeypatch.setattr(published, "text_finder", NothingFound)
    monkeypatch.setattr(published, "face_finder", NothingFound)
    collection = CollectionFactory()
    episodes = [
        make_episode(collection, steps=6, images=True, outcome="success", instruction="stack the blocks")[1],
        make_episode(collection, steps=4, images=True, outcome="failure")[1],
        make_episode(collection, steps=3, images=True, instruction="stack the blocks")[1],
    ]
    corrected = episodes[1][2]
    human = [[0.1] * 7 for _ in range(8)]
    FeedbackFactory(inference_result=corrected, feedback_type="correction", human_correction=human, rating=None)
    export = services.start_export(collection=collection, export_format="lerobot", enqueue=False)

    writer.write(export)

    frames = [
        {
            "task": result.instruction,
            "episode": number,
            "frame": step,
            "state": result.input_state,
            "action": human[0] if result == corrected else result.output_actions[0],
            "intervention": result == corrected,
            "done": step == len(results) - 1,
            "success": number == 0 and step == len(results) - 1,
            "colours": {
                camera: np.asarray(decode(object_store.get(key)), float).mean(axis=(0, 1)).tolist()
                for camera, key in result.images.items()
            },
        }
        for number, results in enumerate(episodes)
        for step, result in enumerate(results)
    ]
    expected = {
        "frames": frames,
        "episodes": 3,
        "fps": 4,
        "cameras": collection.cameras,
        "image_shape": [48, 64, 3],
    }
    (tmp_path / "expected.json").write_bytes(orjson.dumps(expected))
    folder = tmp_path / f"objects/exports/collection_{collection.slug}/export_{export.pk}"
    seen = subprocess.run(
        [PYTHON, CHECK, folder, tmp_path / "expected.json"], capture_output=True, text=True, timeout=300, check=False
    )
    assert seen.returncode == 0, seen.stderr[-3000:]
    assert "lerobot opened 13 frames of 3 episodes" in seen.stdout
