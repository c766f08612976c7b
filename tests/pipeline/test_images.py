"""Images that may leave: text and faces covered, metadata gone."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from core import object_store
from pipeline.images import published
from pipeline.images.published import PublishedImages
from pipeline.images.redaction import COVER, UnreadableImageError, decode, encode, redact
from pipeline.images.regions import Box, HaarFaces, RapidOcrText
from pipeline.models import StoredObject
from tests.factories import CollectionFactory
from tests.pipeline.factories import jpeg


class Finds:
    """A finder that always finds the same."""

    name = "rapidocr"

    def __init__(self, *boxes: Box) -> None:
        self.boxes = boxes
        self.asked = 0

    def find(self, image):
        self.asked += 1
        return list(self.boxes)


def test_what_is_found_is_covered_beyond_recovery():
    image = np.full((100, 200, 3), 200, dtype=np.uint8)
    image[40:60, 50:90] = np.random.default_rng(0).integers(0, 255, (20, 40, 3))

    covered = redact(image, text=Finds(Box(50, 40, 90, 60)), faces=Finds()).image

    assert (covered[40:60, 50:90] == COVER).all()
    assert (covered[:30] == 200).all()
    assert (image[40:60, 50:90] != COVER).any(), "the original is left alone"


def test_a_box_at_the_edge_stays_inside_the_image():
    image = np.zeros((20, 20, 3), dtype=np.uint8)

    covered = redact(image, text=Finds(Box(-5, -5, 30, 8)), faces=Finds(Box(15, 15, 40, 40))).image

    assert covered.shape == image.shape
    assert (covered[0, 0] == COVER).all()


def test_exif_with_a_position_does_not_survive():
    exif = Image.Exif()
    exif[0x010F] = "Camera of Anna Smith"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    source = jpeg(32, 32, exif=exif)
    assert b"Anna Smith" in source

    data = encode(decode(source))

    assert b"Anna Smith" not in data
    assert not Image.open(io.BytesIO(data)).getexif()


def test_a_turned_photograph_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(jpeg(40, 20, exif=exif)).shape == (40, 20, 3)


@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(20), jpeg(32, 32)[:200]])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(UnreadableImageError):
        decode(data)


@pytest.mark.django_db
class TestPublishedImages:
    def test_a_twin_is_made_once_and_catalogued(self, monkeypatch):
        finder = Finds(Box(2, 2, 10, 10))
        monkeypatch.setattr(published, "text_finder", lambda: finder)
        monkeypatch.setattr(published, "face_finder", Finds)
        collection = CollectionFactory()
        object_store.put("raw/a/base.jpg", jpeg(40, 30))

        first = PublishedImages(collection, redact=True)
        second = PublishedImages(collection, redact=True)

        assert np.array_equal(first.fetch("raw/a/base.jpg"), second.fetch("raw/a/base.jpg"))
        assert finder.asked == 1
        assert first.report() == second.report()
        assert first.report()["text_regions"] == 1
        assert StoredObject.objects.get().key.startswith(f"processed/collection_{collection.slug}/redacted/")

    def test_an_image_that_is_gone_or_broken_is_counted(self):
        object_store.put("raw/b/base.jpg", b"not an image")
        images = PublishedImages(CollectionFactory(), redact=False)

        assert images.fetch("raw/a/base.jpg") is None
        assert images.fetch("raw/b/base.jpg") is None
        assert images.report()["unreadable"] == 2


@pytest.mark.ml
class TestRealEngines:
    @pytest.mark.parametrize(("height", "width", "scale"), [(480, 640, 1.0), (192, 192, 0.5)])
    def test_burnt_in_text_is_found(self, height, width, scale):
        image = np.full((height, width, 3), 120, dtype=np.uint8)
        cv2.putText(image, "JOHN SMITH", (10, height // 2), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1)

        redacted = redact(image, text=RapidOcrText(), faces=Finds())

        assert redacted.text_regions >= 1
        assert redacted.image.max() == 120, "no white pixel of the writing is left"

    def test_a_face_is_found(self):
        import skimage.data

        image = skimage.data.astronaut()

        boxes = HaarFaces().find(image)

        assert any(box.left < 225 < box.right and box.top < 115 < box.bottom for box in boxes)
