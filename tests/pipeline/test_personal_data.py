"""No published byte holds seeded personal data. The scanner here knows the secrets; it is not the pipeline's."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from core import object_store
from core.personal_data import anonymise, presidio
from inference.models import InferenceResult
from pipeline import services
from pipeline.embeddings import file, indexing
from pipeline.exports import writer
from pipeline.images import published
from pipeline.runs import runner
from tests.factories import CollectionFactory, FeedbackFactory, RobotFactory, UserFactory
from tests.pipeline.factories import jpeg_of, make_episode
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


# --- images: what the scanner knows of them are the pixels that must be gone ---

BADGE, BURNT_IN = "MARIA LOPEZ", "BOB 555 0199"


def writing(text: str, *, paper: int, ink: int) -> np.ndarray:
    """``text`` as it stands in the pictures, ``uint8 [height, width]``."""
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 2)
    patch = np.full((height + 14, width + 10), paper, dtype=np.uint8)
    cv2.putText(patch, text, (5, height + 6), cv2.FONT_HERSHEY_SIMPLEX, 0.6, ink, 2)
    return patch


def picture(*, face: bool, step: int) -> bytes:
    """A badge and a burnt-in note, on one side a face; where it was taken is in its EXIF."""
    import skimage.data

    pixels = np.full((240, 320, 3), 120, dtype=np.uint8)
    pixels[:, :, 0] += np.arange(320, dtype=np.uint8) // 8 + step
    for patch, top, left in (
        (writing(BADGE, paper=245, ink=10), 30, 20 + step),
        (writing(BURNT_IN, paper=120, ink=255), 180, 20),
    ):
        pixels[top : top + patch.shape[0], left : left + patch.shape[1]] = patch[..., None]
    if face:
        pixels[50:170, 195:315] = cv2.resize(skimage.data.astronaut()[40:200, 140:300], (120, 120))
    exif = Image.Exif()
    exif[0x010E] = "taken by Maria Lopez"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    return jpeg_of(pixels, exif=exif)


def pictures_in(folder: Path) -> Iterator[np.ndarray]:
    """Every published picture, of videos each frame: ``uint8 [height, width, 3]`` RGB."""
    for path in sorted(folder.rglob("*")):
        if path.relative_to(folder).parts[0] == "raw":
            continue
        if path.suffix == ".jpg":
            yield np.asarray(Image.open(path).convert("RGB"))
        elif path.suffix == ".mp4":
            video = cv2.VideoCapture(str(path))
            while (read := video.read())[0]:
                yield read[1][..., ::-1]


def seen_in(image: np.ndarray) -> set[str]:
    """What of the secrets is in a picture: by its pixels, and faces by local binary patterns."""
    import skimage.data
    import skimage.feature

    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    texts = {BADGE: writing(BADGE, paper=245, ink=10), BURNT_IN: writing(BURNT_IN, paper=120, ink=255)}
    found = {text for text, patch in texts.items() if cv2.matchTemplate(grey, patch, cv2.TM_CCOEFF_NORMED).max() > 0.5}
    cascade = skimage.feature.Cascade(skimage.data.lbp_frontal_face_cascade_filename())
    if cascade.detect_multi_scale(grey, scale_factor=1.2, step_ratio=1.0, min_size=(50, 50), max_size=(200, 200)):
        found.add("face")
    return found


@pytest.mark.ml
@pytest.mark.django_db
@pytest.mark.usefixtures("encoder")
def test_badges_faces_burnt_in_text_and_positions_are_in_no_published_picture(objects):
    collection = CollectionFactory(cameras=["base"])
    _, results = make_episode(collection, steps=3)
    for step, result in enumerate(results):
        key = f"raw/2026-11-20/collection_{collection.slug}/{result.request_id}/base.jpg"
        data = picture(face=step != 1, step=step)
        assert seen_in(np.asarray(Image.open(io.BytesIO(data)))) == {BADGE, BURNT_IN, *(["face"] if step != 1 else [])}
        assert b"Maria Lopez" in data
        object_store.put(key, data)
        InferenceResult.objects.filter(pk=result.pk).update(
            images={"base": key}, safety_violations=[{"rule": "x", "said by Dr. Maria Lopez": 1}]
        )

    runner.execute(services.start_run(collection=collection, enqueue=False))
    export = writer.write(services.start_export(collection=collection, export_format="lerobot", enqueue=False))

    found = [seen_in(image) for image in pictures_in(objects)]
    assert len(found) >= 2 * len(results), "the twins and the video's frames"
    assert found == [set()] * len(found)
    assert export.manifest["counts"]["images"]["faces"] >= 2
    for name, data in published_bytes(objects).items():
        assert b"Maria Lopez" not in data, name
        if name.endswith(".jpg"):
            assert not Image.open(io.BytesIO(data)).getexif()
            assert b"Exif" not in data


@pytest.fixture
def a_name_model(tmp_path, monkeypatch):
    """A spaCy model that knows one name, in place of an installed one."""
    import spacy

    model = spacy.blank("en")
    model.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Maria Lopez"}])
    model.to_disk(tmp_path / "en_names")
    monkeypatch.setattr(presidio, "name_model", lambda: str(tmp_path / "en_names"))
    presidio._analyzer.cache_clear()
    yield
    presidio._analyzer.cache_clear()


@pytest.mark.ml
@pytest.mark.usefixtures("a_name_model")
def test_names_without_a_title_are_found_where_a_name_model_is_installed():
    found = anonymise("hand it to Maria Lopez, maria@example.org", detect=presidio.detect)

    assert found.text == "hand it to <PERSON>, <EMAIL_ADDRESS>"


@pytest.mark.ml
@pytest.mark.parametrize(
    ("installed", "chosen"),
    [([], None), (["de_core_news_lg"], None), (["en_core_web_sm", "en_core_web_lg", "de_x"], "en_core_web_lg")],
)
def test_the_largest_english_name_model_is_taken(monkeypatch, installed, chosen):
    monkeypatch.setattr("spacy.util.get_installed_models", lambda: installed)

    assert presidio.name_model() == chosen
