"""No published byte holds seeded personal data. The scanner here knows the secrets; it is not the pipeline's."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from inference.models import InferenceResult
from pipeline import services
from pipeline.embeddings import file, indexing
from pipeline.exports import writer
from pipeline.images import published
from pipeline.runs import runner
from tests.factories import CollectionFactory, FeedbackFactory, RobotFactory, UserFactory
from tests.pipeline.factories import make_episode
from tests.pipeline.test_exports import NothingFound

SECRETS = {
    "e-mail": "anna.smith@example.org",
    "telephone": "+49 30 901820",
    "card": "4111 1111 1111 1111",
    "IBAN": "DE89 3704 0044 0532 0130 00",
    "address": "203.0.113.77",
    "titled name": "Dr. Anna Smithers",
    "employee": "employee id 4711982",
}


def published_bytes(folder: Path) -> dict[str, bytes]:
    """Every published file; Parquet as its text, because compression would hide what it holds."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).parts[0] in ("processed", "exports", "embeddings"):
            data = path.read_bytes()
            if path.suffix == ".parquet":
                data += str(pq.read_table(path).to_pylist()).encode() + str(pq.read_schema(path)).encode()
            found[str(path.relative_to(folder))] = data
    return found


@pytest.mark.django_db
@pytest.mark.usefixtures("encoder")
def test_seeded_personal_data_is_in_no_published_byte(objects, monkeypatch):
    monkeypatch.setattr(published, "text_finder", NothingFound)
    monkeypatch.setattr(published, "face_finder", NothingFound)
    collection = CollectionFactory()
    annotator = UserFactory(username="anna.smithers", email="anna@example.org")
    for kind, secret in SECRETS.items():
        robot = RobotFactory(collection=collection, name=f"arm of {secret}"[:64])
        episode, results = make_episode(
            collection, steps=2, robot=robot, images=True, instruction=f"bring it to {secret} ({kind})"
        )
        episode.external_id, episode.tags = f"run {secret}"[:64], [f"seen by {secret}"]
        episode.save()
        InferenceResult.objects.filter(pk=results[0].pk).update(
            safety_violations=[{"rule": "position", f"noted for {secret}": [secret]}]
        )
        feedback = FeedbackFactory(
            inference_result=results[1],
            feedback_type="correction",
            human_correction=[[0.1] * 7] * 8,
            rating=None,
            comment=f"ask {secret}",
            annotator=annotator,
        )
        indexing.index_feedback([feedback.pk])

    run = runner.execute(services.start_run(collection=collection, enqueue=False))
    for export_format in ("parquet", "csv", "lerobot", "preferences"):
        writer.write(services.start_export(collection=collection, export_format=export_format, enqueue=False))
    file.write(collection)

    everything = published_bytes(objects)
    assert len(everything) > 20
    assert run.records_out == 2 * len(SECRETS)
    forbidden = [*SECRETS.values(), annotator.username, annotator.email, str(annotator.pk)]
    leaks = {(name, secret) for name, data in everything.items() for secret in forbidden if secret.encode() in data}
    assert leaks == set()
