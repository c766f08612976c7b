"""Embeddings and search: found by meaning and words, filtered, and never across a border."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid

import numpy as np
import pandas as pd
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.choices import Role
from collections_app.services import update_episode
from core.problems import Problem
from feedback.signals import feedback_given
from pipeline import tasks
from pipeline.choices import VectorSetState
from pipeline.embeddings import backlog, encoders, file, indexing, reembedding, words
from pipeline.embeddings import map as maps
from pipeline.embeddings import search as search_module
from pipeline.embeddings.duplicates import near_duplicates
from pipeline.embeddings.filters import SearchFilters
from pipeline.embeddings.search import MEANING, WORDS, fuse, results_like, search
from pipeline.embeddings.served import served
from pipeline.embeddings.suggestions import suggestions
from pipeline.models import CollectionMap, Embedding, VectorSet
from pipeline.runs import follow_up
from pipeline.storage import deletion
from tests.factories import CollectionFactory, FeedbackFactory, InferenceResultFactory, MembershipFactory, UserFactory
from tests.pipeline.factories import make_episode
from tests.pipeline.rankings import by_words


@pytest.fixture
def kitchen():
    return CollectionFactory(slug="kitchen")


@pytest.fixture
def viewer(kitchen):
    return MembershipFactory(collection=kitchen, role=Role.VIEWER).user


def index(*episodes):
    indexing.index_results([result.pk for _, results in episodes for result in results])


@pytest.mark.django_db
class TestIndexing:
    def test_an_episode_has_one_row_for_each_of_its_instructions(self, kitchen, encoder):
        episode, results = make_episode(kitchen, steps=4)
        InferenceResultFactory(collection=kitchen, episode=episode, instruction="now the blue one", step=9)

        index((episode, results), (episode, list(episode.results.all())))

        assert set(episode.embeddings.values_list("text", flat=True)) == {"pick up the red cube", "now the blue one"}

    def test_a_result_without_an_episode_has_its_own_row(self, kitchen, encoder):
        results = [InferenceResultFactory(collection=kitchen, episode=None, robot=None) for _ in range(3)]

        indexing.index_results([r.pk for r in results])

        assert Embedding.objects.count() == 3
        assert encoder.encoded == ["pick up the red cube"]

    def test_an_instruction_seen_before_costs_no_encoding(self, kitchen, encoder):
        index(make_episode(kitchen))
        encoder.encoded.clear()

        index(make_episode(kitchen))

        assert encoder.encoded == []
        assert Embedding.objects.count() == 2

    def test_indexing_twice_makes_no_second_row(self, kitchen, encoder):
        episode = make_episode(kitchen)

        index(episode)
        index(episode)

        assert Embedding.objects.count() == 1

    def test_a_comment_is_embedded_with_what_it_is_about(self, kitchen, encoder):
        _, results = make_episode(kitchen)
        feedback = FeedbackFactory(inference_result=results[2], comment="it dropped the cup")

        indexing.index_feedback([feedback.pk])

        row = Embedding.objects.get(source_kind="feedback")
        assert (row.source_id, row.inference_result_id, row.text) == (feedback.pk, results[2].pk, "it dropped the cup")

    def test_personal_data_is_not_kept_with_the_vector(self, kitchen, encoder):
        index(make_episode(kitchen, instruction="hand it to anna.smith@example.org"))

        assert Embedding.objects.get().text == "hand it to <EMAIL_ADDRESS>"
        assert encoder.encoded == ["hand it to <EMAIL_ADDRESS>"]

    def test_the_backlog_finds_what_no_message_told_of(self, kitchen, encoder):
        make_episode(kitchen)
        FeedbackFactory(inference_result=kitchen.results.first(), comment="too fast")

        assert backlog.work_off(seconds=30) == 2
        assert backlog.work_off(seconds=30) == 0
        assert backlog.is_complete()

    def test_the_vectors_are_written_as_a_file_that_pandas_reads(self, kitchen, encoder, objects):
        index(make_episode(kitchen), make_episode(kitchen, instruction="open the drawer"))

        file.write(kitchen)

        frame = pd.read_parquet(objects / "embeddings/collection_kitchen_embeddings.parquet")
        assert set(frame["text"]) == {"open the drawer", "pick up the red cube"}
        assert np.allclose(np.linalg.norm(np.stack(frame["embedding"]), axis=1), 1.0, atol=1e-5)


@pytest.mark.django_db
class TestSearch:
    def test_words_and_meaning_agree_on_the_best_hit(self, kitchen, viewer, encoder):
        red = make_episode(kitchen, instruction="pick up the red cube")
        index(red, make_episode(kitchen, instruction="close the microwave door"))

        hits = search(principal=viewer, text="pick the red cube")

        assert hits[0].result == red[1][0]
        assert hits[0].matched == (MEANING, WORDS)
        assert 0 < hits[0].score <= 1

    def test_any_of_the_words_is_enough_and_more_of_them_are_better(self, kitchen, encoder):
        texts = ("pick up the red cube", "a cube fell", "close the microwave door")
        index(*(make_episode(kitchen, instruction=text) for text in texts))
        said = dict(Embedding.objects.values_list("pk", "text"))

        shares = {said[pk]: share for pk, share in by_words(Embedding.objects.all(), "the red cubes, please").items()}

        assert list(shares) == [texts[0], texts[1]]
        assert shares[texts[0]] == pytest.approx(2 / 3)
        assert shares[texts[1]] == pytest.approx(1 / 3)
        assert by_words(Embedding.objects.all(), "the of and ' | !") == {}

    def test_of_frequent_words_all_are_needed_and_of_rare_ones_any(self, kitchen, encoder, monkeypatch):
        texts = ("pick up the red cube", "a red box", "a green cube", "pick up the sponge")
        index(*(make_episode(kitchen, instruction=text) for text in (*texts, *texts[:3])))
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE embeddings")  # tells how many rows have a word
        monkeypatch.setattr(words, "LOOKED_AT", 2)
        said = dict(Embedding.objects.values_list("pk", "text"))

        found = [said[pk] for pk in by_words(Embedding.objects.all(), "sponge, red cube")]

        assert found == [texts[3], texts[0], texts[0]]

        cube, sponge = (next(pk for pk, text in said.items() if text == texts[n]) for n in (2, 3))
        counted = by_words(Embedding.objects.all(), "red cube", found=[cube, sponge])
        assert counted == {cube: pytest.approx(0.5)}

    def test_quotes_demand_and_a_minus_forbids_in_both_rankings(self, kitchen, viewer, encoder):
        texts = ("pick up the red cube", "the cube is red", "pick up the blue cube")
        index(*(make_episode(kitchen, instruction=text) for text in texts))

        assert [hit.text for hit in search(principal=viewer, text='pick up the "red cube"')] == [texts[0]]
        assert {hit.text for hit in search(principal=viewer, text="cube -red")} == {texts[2]}
        assert search(principal=viewer, text='-cube -"pick up"') == []

    def test_similar_finds_others_and_not_itself(self, kitchen, viewer, encoder):
        one, two = make_episode(kitchen), make_episode(kitchen)
        far = make_episode(kitchen, instruction="close the microwave door")
        index(one, two, far)

        hits = search(principal=viewer, similar_to=one[1][3].request_id)

        assert [hit.result for hit in hits] == [two[1][0]]

    def test_nobody_finds_what_he_may_not_see(self, kitchen, encoder):
        episode = make_episode(kitchen)
        index(episode)
        stranger = MembershipFactory(collection=CollectionFactory(), role=Role.MANAGER).user

        assert search(principal=stranger, text="red cube") == []
        assert search(principal=UserFactory(), text="red cube") == []
        with pytest.raises(Problem) as caught:
            search(principal=stranger, similar_to=episode[1][0].request_id)
        assert caught.value.status == 404

    def test_results_like_one_are_of_its_collection_the_most_like_first(self, kitchen, encoder):
        one = make_episode(kitchen)
        near = make_episode(kitchen, instruction="pick up the red cup")
        same = make_episode(kitchen)
        index(one, near, same, make_episode(CollectionFactory()))

        alike = results_like(one[1][2])

        assert list(alike) == [same[1][0].pk, near[1][0].pk]
        assert alike[same[1][0].pk] == pytest.approx(1.0, abs=1e-5)

    def test_similar_to_something_foreign_looks_like_something_that_is_not(self, viewer, encoder):
        foreign = make_episode(CollectionFactory())
        index(foreign)

        details = []
        for request_id in (foreign[1][0].request_id, uuid.uuid4()):
            with pytest.raises(Problem) as caught:
                search(principal=viewer, similar_to=request_id)
            details.append(caught.value.detail)
        assert details[0] == details[1]

    @pytest.mark.parametrize(
        "filters",
        [
            {"robot": "arm-x"},
            {"model": "wanted"},
            {"model": "wanted@7"},
            {"outcome": "failure"},
            {"tag": "spill"},
            {"verdict": "clamped"},
            {"label": "failure"},
            {"anomaly": True},
        ],
    )
    def test_filters_hold_in_both_rankings(self, kitchen, viewer, encoder, filters):
        from tests.factories import PolicyVersionFactory, RobotFactory

        wanted = make_episode(
            kitchen,
            robot=RobotFactory(collection=kitchen, name="arm-x"),
            policy_version=PolicyVersionFactory(name="wanted", version="7"),
            outcome="failure",
            safety_verdict="clamped",
        )
        wanted[0].tags = ["spill"]
        wanted[0].save()
        FeedbackFactory(inference_result=wanted[1][0], feedback_type="failure")
        index(wanted, make_episode(kitchen), make_episode(kitchen))
        follow_up._mark([str(wanted[1][2].pk)])

        hits = search(principal=viewer, text="red cube", filters=SearchFilters(**filters))

        assert [hit.result for hit in hits] == [wanted[1][0]]

    def test_without_a_model_words_decide(self, kitchen, viewer, encoder, monkeypatch):
        index(make_episode(kitchen))

        def unavailable(model):
            raise encoders.EncoderUnavailableError

        monkeypatch.setattr(search_module, "query_encoder", unavailable)
        (hit,) = search(principal=viewer, text="cubes")
        assert hit.matched == (WORDS,)

    def test_vectors_of_another_model_are_not_compared(self, kitchen, viewer, encoder):
        index(make_episode(kitchen))
        Embedding.objects.update(model_revision="older")

        assert search(principal=viewer, text="red cube") == []


@pytest.mark.django_db
class TestRemembering:
    """A search that was asked before costs no look at the vectors, until something that it looked at changes."""

    @pytest.fixture(autouse=True)
    def episode(self, kitchen, encoder):
        episode, results = make_episode(kitchen)
        index((episode, results))
        return episode

    @pytest.fixture
    def looks(self, monkeypatch):
        """How often the vectors were looked at."""
        looks = []

        def nearest(rows, vector, **options):
            looks.append(1)
            return search_nearest(rows, vector, **options)

        search_nearest = search_module.nearest
        monkeypatch.setattr(search_module, "nearest", nearest)
        return looks

    def test_those_with_the_same_rights_share_an_answer(self, kitchen, viewer, looks):
        colleague = MembershipFactory(collection=kitchen, role=Role.MANAGER).user

        first, again, theirs = (search(principal=person, text="red cube") for person in (viewer, viewer, colleague))

        assert first == again == theirs
        assert len(first) == len(looks) == 1

    def test_nobody_is_told_what_others_found(self, kitchen, viewer, episode, looks):
        stranger = MembershipFactory(collection=CollectionFactory(), role=Role.MANAGER).user
        request_id = episode.results.first().request_id
        search(principal=viewer, text="red cube")
        search(principal=viewer, similar_to=request_id, filters=SearchFilters(collection="kitchen"))

        assert search(principal=stranger, text="red cube") == []
        with pytest.raises(Problem):
            search(principal=stranger, similar_to=request_id)
        viewer.memberships.all().delete()
        assert search(principal=viewer, text="red cube") == []

    @pytest.mark.parametrize("filters", [{}, {"outcome": "failure"}, {"label": "failure"}, {"anomaly": True}])
    def test_every_change_is_seen(self, kitchen, viewer, episode, filters, django_capture_on_commit_callbacks):
        def count():
            return len(search(principal=viewer, text="red cube", filters=SearchFilters(**filters)))

        before = count()
        result = episode.results.first()
        with django_capture_on_commit_callbacks(execute=True):
            if "outcome" in filters:
                update_episode(episode=episode, changes={"outcome": "failure"})
            elif "label" in filters:
                feedback = FeedbackFactory(inference_result=result, feedback_type="failure")
                feedback_given.send(None, collection_id=kitchen.pk, feedback_id=feedback.pk)
            elif "anomaly" in filters:
                follow_up._mark([str(result.pk)])
            else:
                index(make_episode(kitchen))
        assert count() == before + 1

        with django_capture_on_commit_callbacks(execute=True):
            deletion.delete_results(kitchen, list(kitchen.results.values_list("pk", flat=True)))
        assert count() == 0


@pytest.mark.django_db
class TestNewModel:
    """Another model takes over: at no moment does a search miss or mix anything."""

    TEXTS = ("pick up the red cube", "open the drawer", "close the microwave door")

    @pytest.fixture
    def old(self, kitchen, encoder):
        index(*(make_episode(kitchen, instruction=text) for text in self.TEXTS))
        return VectorSet.objects.get(collection=kitchen)

    @pytest.fixture
    def new(self, old, settings, tmp_path):
        """The set that is begun once the setting names another folder."""
        folder = tmp_path / "next"
        folder.mkdir()
        settings.EMBEDDING_MODEL_PATH = str(folder)
        (identifier,) = reembedding.begin()
        return VectorSet.objects.get(pk=identifier)

    @staticmethod
    def found(viewer, text):
        return [(hit.text, hit.matched) for hit in search(principal=viewer, text=text, limit=1)]

    def test_the_old_vectors_serve_until_the_new_are_complete(self, kitchen, viewer, old, new):
        episode = kitchen.episodes.get(instruction="open the drawer")
        goes_on = InferenceResultFactory(collection=kitchen, episode=episode, instruction="open the drawer", step=9)
        indexing.index_results([goes_on.pk])  # known, and copied with the step that it was known by
        reembedding._copy_next(new, served(Embedding.objects.all()))
        index(make_episode(kitchen, instruction="wipe the table"))  # written with both

        both = Embedding.objects.values_list("model_revision", "text")
        assert len(both) == 8
        assert self.found(viewer, "red cube") == [("pick up the red cube", (MEANING, WORDS))]
        assert self.found(viewer, "wipe table") == [("wipe the table", (MEANING, WORDS))]
        assert set(served(Embedding.objects.all()).values_list("model_revision", flat=True)) == {old.model_revision}

        assert reembedding.work_on(new.pk, seconds=30)

        assert not Embedding.objects.filter(source_id=goes_on.pk).exists()
        assert set(served(Embedding.objects.all()).values_list("model_revision", "text")) == {
            ("next", text) for text in (*self.TEXTS, "wipe the table")
        }
        assert self.found(viewer, "red cube") == [("pick up the red cube", (MEANING, WORDS))]
        assert VectorSet.objects.get(pk=new.pk).progress == 1.0
        assert reembedding.begin() == []

    def test_the_old_vectors_are_removed_once_no_search_can_be_reading_them(self, kitchen, old, new):
        tasks.make_vectors(new.pk)

        assert len(CollectionMap.objects.get(collection=kitchen).points) == 3  # drawn anew, from the new vectors
        assert reembedding.remove_retired() == 0
        VectorSet.objects.retired().update(retired_at=timezone.now() - 2 * reembedding.KEPT)
        assert reembedding.remove_retired() == 3

        assert set(Embedding.objects.values_list("model_revision", flat=True)) == {"next"}
        assert list(VectorSet.objects.values_list("pk", flat=True)) == [new.pk]

    def test_while_two_models_serve_each_collection_is_asked_with_its_own(self, viewer, kitchen, old, new):
        other = CollectionFactory()
        MembershipFactory(collection=other, user=viewer, role=Role.VIEWER)
        index(make_episode(other, instruction="pick up the red cube"))

        hits = search(principal=viewer, text="pick up the red cube", limit=2)

        assert {hit.result.collection_id for hit in hits} == {kitchen.pk, other.pk}
        assert all(hit.matched == (MEANING, WORDS) for hit in hits)

    def test_a_model_that_was_taken_away_leaves_words_and_likeness(self, kitchen, viewer, old, new, monkeypatch):
        def taken_away(model):
            raise encoders.EncoderUnavailableError

        monkeypatch.setattr(search_module, "query_encoder", taken_away)
        search_module._query_vector.cache_clear()
        index(make_episode(kitchen, instruction="open the drawer, please"))

        assert self.found(viewer, "cube") == [("pick up the red cube", (WORDS,))]
        asked = kitchen.results.filter(instruction="open the drawer").first()
        assert search(principal=viewer, similar_to=asked.request_id)[0].text == "open the drawer, please"

    def test_a_row_that_can_have_no_like_does_not_hold_the_switch_up(self, kitchen, old, new):
        row = Embedding.objects.get(text="open the drawer")
        row.pk, row.source_id, row.model_revision = uuid.uuid4(), uuid.uuid4(), "next"
        row.save(force_insert=True)  # the same episode and text, from another step

        assert reembedding.work_on(new.pk, seconds=30)

    def test_what_is_deleted_while_it_is_copied_does_not_return(self, kitchen, old, new):
        gone = kitchen.results.filter(instruction="open the drawer")
        reembedding._copy_next(new, served(Embedding.objects.all()))
        served(Embedding.objects.filter(text="open the drawer")).delete()
        gone.delete()

        reembedding.work_on(new.pk, seconds=30)

        assert not Embedding.objects.filter(text="open the drawer", model_revision="next").exists()

    def test_a_model_that_is_given_up_before_it_served_is_removed(self, old, new, settings):
        settings.EMBEDDING_MODEL_PATH = ""

        assert reembedding.begin() == []

        assert not reembedding.work_on(new.pk, seconds=30)
        assert VectorSet.objects.get(pk=new.pk).state == VectorSetState.RETIRED


@pytest.mark.django_db
class TestBrowsing:
    """The map, duplicates and suggestions: what they show, and to whom."""

    TEXTS = ("pick up the red cube", "pick up the red cup", "open the drawer", "close the microwave door")

    @pytest.fixture(autouse=True)
    def spoken(self, kitchen, encoder):
        index(*(make_episode(kitchen, instruction=text) for text in (*self.TEXTS, self.TEXTS[0])))

    @pytest.fixture
    def stranger(self):
        return MembershipFactory(collection=CollectionFactory(), role=Role.MANAGER).user

    def test_the_map_has_each_text_once_and_near_what_means_alike(self, kitchen, viewer):
        assert maps.draw_changed() == 1
        assert maps.draw_changed() == 0

        drawn = maps.map_of(viewer, kitchen)
        points = {point["text"]: point for point in drawn.points}
        assert set(points) == set(self.TEXTS)
        assert points["pick up the red cube"]["times"] == 2
        place = {text: np.array([point["x"], point["y"]]) for text, point in points.items()}
        cube, cup, door = (place[self.TEXTS[number]] for number in (0, 1, 3))
        assert np.linalg.norm(cube - cup) < np.linalg.norm(cube - door)
        assert 0 < drawn.explained <= 1

    def test_the_map_is_drawn_anew_when_the_collection_changed(self, kitchen):
        maps.draw_changed()
        index(make_episode(kitchen, instruction="wipe the table"))

        assert maps.draw_changed() == 1
        assert len(CollectionMap.objects.get(collection=kitchen).points) == 5

    def test_suggestions_begin_like_what_is_typed(self, viewer):
        assert suggestions(principal=viewer, typed="pick red c") == list(self.TEXTS[:2])
        assert suggestions(principal=viewer, typed="p") == []
        assert suggestions(principal=viewer, typed="' | !") == []

    def test_near_duplicates_are_one_group(self, kitchen, viewer):
        (group,) = near_duplicates(principal=viewer, collection=kitchen, distance=0.4)

        assert [(said.text, said.times) for said in group] == [(self.TEXTS[0], 2), (self.TEXTS[1], 1)]

    def test_a_stranger_meets_nothing_of_it(self, kitchen, stranger):
        maps.draw_changed()

        assert maps.map_of(stranger, kitchen) is None
        assert suggestions(principal=stranger, typed="pick up") == []
        assert near_duplicates(principal=stranger, collection=kitchen) == []

    def test_only_who_reviews_is_led_to_ask_about_moments_like_one_that_was_found(self, client, kitchen, viewer):
        reviewer = MembershipFactory(collection=kitchen, role=Role.REVIEWER).user
        links = {}
        for person in (viewer, reviewer):
            client.force_login(person)
            page = client.get("/search/", {"q": "red cube"}).content.decode()
            links[person] = re.findall(r'href="(/feedback/similar/[^"]+)"', page)
        assert links[viewer] == []
        assert len(links[reviewer]) == page.count("data-hit")
        assert client.get(links[reviewer][0]).status_code == 200

    def test_the_page_says_what_matched_and_keeps_a_search(self, client, viewer, stranger):
        client.force_login(viewer)
        page = client.get("/search/", {"q": "red cube", "verdict": "pass"})
        assert "pick up the red cube" in page.content.decode()
        assert "found by </span>words" in page.content.decode()

        client.post("/search/saved/", {"q": "red cube", "verdict": "pass", "name": "Cubes"})
        (saved,) = viewer.saved_searches.all()
        assert saved.query == {"q": "red cube", "verdict": "pass"}
        assert "?q=red+cube&amp;verdict=pass" in client.get("/search/").content.decode()

        client.force_login(stranger)
        assert "Cubes" not in client.get("/search/").content.decode()
        assert client.post(f"/search/saved/{saved.pk}/delete/").status_code == 404
        assert "pick up the red cube" not in client.get("/search/", {"q": "red cube"}).content.decode()

        client.force_login(viewer)
        client.post(f"/search/saved/{saved.pk}/delete/")
        assert not viewer.saved_searches.exists()

    @pytest.mark.parametrize("path", ["/api/v1/search", "/search/", "/collections/kitchen/results/"])
    def test_more_hits_need_no_more_queries(self, client, viewer, kitchen, path):
        """A list that shows a column which the search left in the database would fetch it hit by hit."""
        client.force_login(viewer)
        client.get(path, {"q": "red"})
        queries = []
        for said in ("drawer", "red"):
            with CaptureQueriesContext(connection) as captured:
                page = client.get(path, {"q": f'"{said}"'})
            assert page.status_code == 200
            queries.append(len(captured))

        assert queries[0] == queries[1]

    def test_the_admins_search_box_finds_by_meaning_and_nothing_foreign(self, client, kitchen):
        index(make_episode(CollectionFactory(), instruction="grasp the red cube over there"))
        client.force_login(MembershipFactory(collection=kitchen, role=Role.VIEWER, user__is_staff=True).user)

        found = client.get("/admin/pipeline/embedding/", {"q": "grasp red cubes"}).content.decode()

        assert "pick up the red cube" in found
        assert "over there" not in found


def test_fusion_prefers_what_both_rankings_have():
    a, b, c = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()

    scores = fuse([{a: 1.0, b: 1.0}, {b: 1.0, c: 1.0}])

    assert scores[b] > scores[a] > scores[c]
    assert fuse([{a: 1.0}, {a: 1.0}])[a] == pytest.approx(1.0)
    assert fuse([{a: 1.0}, {a: 0.5}])[a] == pytest.approx(0.75)


def test_importing_the_tasks_loads_nothing_heavy():
    heavy = "torch, transformers, sentence_transformers, sklearn, spacy, presidio_analyzer, av, cv2, rapidocr"
    code = (
        "import django, sys; django.setup(); import pipeline.tasks, pipeline.api.views, pipeline.admin; "
        f"print([name for name in '{heavy}'.split(', ') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.ml
class TestRealModel:
    def test_the_web_processs_vectors_are_the_workers(self):
        texts = ["pick up the red cube", "Öffne die Schublade!", "a", "where did it drop the cup? " * 40]

        worker = encoders.indexing_encoder(encoders.current_model()).encode(texts)
        web = encoders.query_encoder(encoders.current_model()).encode(texts)

        assert worker.shape == (4, 384)
        assert np.allclose(worker, web, atol=1e-4)
        assert np.allclose(np.linalg.norm(web, axis=1), 1.0, atol=1e-5)

    def test_the_query_encoder_loads_no_torch(self):
        code = (
            "import django, sys; django.setup(); from pipeline.embeddings import encoders; "
            "encoders.query_encoder(encoders.current_model()).encode(['a']); print('torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
        assert done.stdout.strip().splitlines()[-1] == "False"
