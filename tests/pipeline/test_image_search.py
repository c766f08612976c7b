"""Pictures as vectors: which are embedded, what finds them, and who."""

from __future__ import annotations

import numpy as np
import pytest
from django.core.cache import cache
from PIL import Image

from accounts.choices import Role
from core import object_store
from core.problems import Problem
from pipeline.embeddings import image_indexing
from pipeline.embeddings import search as search_module
from pipeline.embeddings.encoders import TextModel
from pipeline.embeddings.filters import SearchFilters
from pipeline.embeddings.image_encoders import TransformersImageEncoder, image_model, image_query_encoder
from pipeline.embeddings.search import PICTURE, search
from pipeline.models import ImageEmbedding
from pipeline.storage import deletion
from tests.factories import CollectionFactory, MembershipFactory
from tests.pipeline.factories import START, jpeg_of, make_episode

COLOURS = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}


class ColourEncoder:
    """A picture is its mean colour, a text the colours that it names."""

    name, revision = "colours", "1"

    def encode_images(self, images):
        return self._unit([np.asarray(image.convert("RGB"), np.float32).mean(axis=(0, 1)) for image in images])

    def encode(self, texts):
        return self._unit([sum(np.array(COLOURS[w]) for w in text.split() if w in COLOURS) for text in texts])

    @staticmethod
    def _unit(rows):
        stacked = np.asarray(rows, np.float32)
        return stacked / np.linalg.norm(stacked, axis=1, keepdims=True)


@pytest.fixture
def model(settings, tmp_path, monkeypatch):
    folder = tmp_path / "1"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "colours"}')
    settings.IMAGE_EMBEDDING_MODEL_PATH = str(folder)
    encoder = ColourEncoder()
    monkeypatch.setattr(image_indexing, "image_encoder", lambda model: encoder)
    monkeypatch.setattr(search_module, "image_query_encoder", lambda model: encoder)
    cache.delete("embeddings:images:colours:1")  # how far another test has come
    return image_model()


@pytest.fixture
def kitchen():
    return CollectionFactory(slug="kitchen")


@pytest.fixture
def viewer(kitchen):
    return MembershipFactory(collection=kitchen, role=Role.VIEWER).user


def seen(collection, colour, **values):
    """An episode of three seconds in which one camera sees one colour."""
    episode, results = make_episode(collection, steps=12, **values)
    for result in results:
        key = f"raw/2026-11-20/collection_{collection.slug}/{result.request_id}/base.jpg"
        object_store.put(key, jpeg_of(np.full((16, 16, 3), COLOURS[colour], np.uint8)))
        result.images = {"base": key}
        result.save()
    return episode, results


@pytest.mark.django_db
class TestPictures:
    def test_an_episode_has_a_picture_every_two_seconds(self, kitchen, model):
        _, results = seen(kitchen, "red")

        assert image_indexing.work_off(seconds=30) == 2
        assert image_indexing.work_off(seconds=30) == 0

        moments = ImageEmbedding.objects.order_by("occurred_at").values_list("inference_result", "dimensions")
        assert list(moments) == [(results[0].pk, 3), (results[8].pk, 3)]

    def test_a_picture_that_is_gone_does_not_hinder_the_others(self, kitchen, model):
        _, results = seen(kitchen, "red")
        object_store.delete([results[0].images["base"]])

        assert image_indexing.index_window(START, results[-1].created_at, model) == 1

    def test_words_and_pictures_find_pictures(self, kitchen, viewer, model):
        red, green = seen(kitchen, "red"), seen(kitchen, "green", safety_verdict="clamped")
        blue = seen(kitchen, "blue")
        image_indexing.work_off(seconds=30)

        hits = search(principal=viewer, text="something green", by="images", limit=2)
        assert [(hit.result.episode_id, hit.matched, hit.camera) for hit in hits] == [
            (green[0].pk, (PICTURE,), "base")
        ] * 2

        hits = search(principal=viewer, similar_to=red[1][5].request_id, by="images", limit=1)
        assert hits[0].result == red[1][8]
        hits = search(principal=viewer, text="red", by="images", filters=SearchFilters(verdict="clamped"))
        assert {hit.result.episode_id for hit in hits} == {green[0].pk}
        assert blue[0].pk not in {hit.result.episode_id for hit in hits}

    def test_nobody_finds_pictures_that_he_may_not_see(self, kitchen, viewer, model):
        _, results = seen(kitchen, "red")
        image_indexing.work_off(seconds=30)
        stranger = MembershipFactory(collection=CollectionFactory(), role=Role.MANAGER).user

        assert search(principal=viewer, text="red", by="images")
        assert search(principal=stranger, text="red", by="images") == []
        with pytest.raises(Problem) as caught:
            search(principal=stranger, similar_to=results[0].request_id, by="images")
        assert caught.value.status == 404

    def test_the_api_says_where_there_is_no_model(self, client, kitchen, viewer, settings):
        settings.IMAGE_EMBEDDING_MODEL_PATH = ""
        client.force_login(viewer)

        answer = client.get("/api/v1/search", {"q": "red", "by": "images"})

        assert answer.status_code == 400
        assert answer.json()["errors"] == [{"pointer": "/by", "detail": "No image model is installed here."}]

    def test_deleted_records_leave_no_picture(self, kitchen, model):
        _, results = seen(kitchen, "red")
        image_indexing.work_off(seconds=30)

        deletion.delete_results(kitchen, [result.pk for result in results])

        assert not ImageEmbedding.objects.exists()


WORDS = ("<pad>", "<unk>", "<s>", "pick", "up", "the", "red", "cube", "drawer", "<e>")
TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request, tmp_path_factory):
    """A tiny model with random weights, as its makers publish theirs."""
    from core.torchvision_operators import define_missing_operators

    define_missing_operators()
    import transformers

    folder = tmp_path_factory.mktemp(request.param)
    text = {"vocab_size": 10, "max_position_embeddings": 16, "pad_token_id": 0, "eos_token_id": 9, **TOWER}
    vision = {"image_size": 32, "patch_size": 8, **TOWER}
    if request.param == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
        transformers.CLIPModel(config).save_pretrained(folder)
        size = {"height": 32, "width": 32}
        transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    else:
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        transformers.SiglipModel(config).save_pretrained(folder)
        transformers.SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    _tokenizer(request.param).save(str(folder / "tokenizer.json"))
    return folder


def _tokenizer(kind):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    numbers = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A <e>" if kind == "clip" else "$A <e>",
        special_tokens=[(word, numbers[word]) for word in ("<s>", "<e>")],
    )
    return tokenizer


@pytest.mark.ml
class TestModels:
    """The contract of image models."""

    def test_the_web_processs_words_are_the_models_own(self, folder):
        import torch
        from transformers import AutoModel

        theirs = AutoModel.from_pretrained(folder).eval()
        ours = image_query_encoder(TextModel("tiny", folder.name, str(folder)))
        for text in ("Pick up the red cube", "drawer", "an unknown word " * 9):
            tokens = torch.tensor([ours.tokenizer.encode(text.lower()).ids])
            with torch.inference_mode():
                wanted = theirs.get_text_features(input_ids=tokens)[0].numpy()
            (got,) = ours.encode([text])
            assert np.allclose(got, wanted / np.linalg.norm(wanted), atol=1e-5)

    def test_pictures_are_unit_vectors_of_the_same_space_whatever_their_batch(self, folder):
        encoder = TransformersImageEncoder(folder, "tiny", folder.name)
        random = np.random.default_rng(0)
        pictures = [Image.fromarray(random.integers(0, 255, (40, 60, 3), np.uint8)) for _ in range(3)]

        together = encoder.encode_images([*pictures, Image.new("L", (64, 64))])
        alone = encoder.encode_images(pictures[1:2])

        words = image_query_encoder(TextModel("tiny", folder.name, str(folder))).encode(["drawer"])
        assert together.shape == (4, words.shape[1])
        assert np.allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
        assert np.allclose(together[1], alone[0], atol=1e-5)
