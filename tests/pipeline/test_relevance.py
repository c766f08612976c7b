"""Search on a small hand-labelled set: hybrid ranks at least as well as either ranking alone."""

from __future__ import annotations

import math

import pytest
from django.db import connection

from accounts.choices import Role
from pipeline.embeddings import encoders, indexing
from pipeline.embeddings.nearest import nearest
from pipeline.embeddings.search import search
from pipeline.models import Embedding
from tests.factories import CollectionFactory, InferenceResultFactory, MembershipFactory
from tests.pipeline.rankings import by_words

pytestmark = [pytest.mark.ml, pytest.mark.django_db]

INSTRUCTIONS = {
    "red-cube": ["pick up the red cube", "grasp the red block", "take the crimson box from the table"],
    "blue-cube": ["pick up the blue cube", "lift the navy block"],
    "drawer-open": ["open the drawer", "pull the drawer out"],
    "drawer-close": ["close the drawer", "push the drawer shut"],
    "cup": ["place the cup on the shelf", "put the mug on the rack"],
    "dropped": ["it dropped the cup", "the mug slipped out of the gripper and fell"],
    "wipe": ["wipe the table with the sponge", "clean the desk surface"],
    "pour": ["pour water into the bowl", "fill the bowl from the bottle"],
    "oven": ["open the microwave door", "shut the oven"],
    "towel": ["fold the towel", "hang the cloth on the hook"],
    "screws": ["sort the screws into bin 7"],
    "bolts": ["sort the bolts into bin 4"],
    "A113": ["move part A113 to the tray"],
    "A131": ["move part A131 to the tray"],
    "B220": ["move part B220 to the tray"],
    "B202": ["move part B202 to the tray"],
    "V2": ["turn valve V2 clockwise"],
    "V12": ["turn valve V12 clockwise"],
    "valve": ["tighten the valve by a quarter turn"],
    "plug": ["insert the plug into the socket", "connect the charger"],
    "plate": ["stack the plates in the dishwasher", "load the dirty dishes"],
    "fruit": ["hand me the apple", "pass the banana to the person"],
    "switch": ["press the green button", "flip the light switch"],
    "collision": ["the arm hit the table edge", "too fast, it bumped into the shelf"],
}
# A query, and the groups that answer it: 2 right, 1 near.
QUERIES = {
    "grab the scarlet cube": {"red-cube": 2, "blue-cube": 1},
    "where did it drop the mug": {"dropped": 2},
    "tidy up the table": {"wipe": 2},
    "slide open a drawer": {"drawer-open": 2, "oven": 1},
    "fill a bowl with water": {"pour": 2},
    "close the microwave": {"oven": 2, "drawer-close": 1},
    "navy cube": {"blue-cube": 2, "red-cube": 1},
    "folding laundry": {"towel": 2},
    "A113": {"A113": 2},
    "everything that went into bin 4": {"bolts": 2, "screws": 1},
    "V2": {"V2": 2},
    "screw the tap shut": {"valve": 2, "V2": 1, "V12": 1},
    "B220 in the wrong container": {"B220": 2},
    "where is A131": {"A131": 2},
    "valve V12 stuck": {"V12": 2, "V2": 1, "valve": 1},
    "collisions with furniture": {"collision": 2},
    "plug in the charger": {"plug": 2},
    "do the washing up": {"plate": 2, "wipe": 1},
    "give somebody fruit": {"fruit": 2},
    "green button": {"switch": 2},
    "the gripper lost its hold": {"dropped": 2},
    "put the cup away": {"cup": 2},
    "turn on the lamp": {"switch": 2},
    "moved too quickly": {"collision": 2},
    "drawer": {"drawer-open": 2, "drawer-close": 2},
    "put the dishes in the machine": {"plate": 2, "cup": 1},
}


def ndcg(ranked: list[str], gains: dict[str, int]) -> float:
    """Normalised discounted cumulative gain at 10 (Järvelin and Kekäläinen, 2002)."""
    group_of = {text: group for group, texts in INSTRUCTIONS.items() for text in texts}
    found = [gains.get(group_of[text], 0) for text in ranked[:10]]
    best = sorted((gains.get(group, 0) for group in group_of.values()), reverse=True)[:10]
    return _discounted(found) / _discounted(best)


def _discounted(gains: list[int]) -> float:
    return sum((2**gain - 1) / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def test_hybrid_is_at_least_as_good_as_either_alone():
    collection = CollectionFactory()
    viewer = MembershipFactory(collection=collection, role=Role.VIEWER).user
    results = [
        InferenceResultFactory(collection=collection, episode=None, robot=None, instruction=text)
        for texts in INSTRUCTIONS.values()
        for text in texts
    ]
    indexing.index_results([result.pk for result in results])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE embeddings")  # how rare a word is, PostgreSQL's statistics tell
    rows = Embedding.objects.all()
    texts = dict(rows.values_list("pk", "text"))

    scores: dict[str, list[float]] = {"meaning": [], "words": [], "hybrid": []}
    for query, gains in QUERIES.items():
        vector = encoders.query_encoder(encoders.current_model()).encode([query])[0]
        hits = search(principal=viewer, text=query, limit=10)
        scores["meaning"].append(ndcg([texts[pk] for pk in nearest(rows, vector)], gains))
        scores["words"].append(ndcg([texts[pk] for pk in by_words(rows, query)], gains))
        scores["hybrid"].append(ndcg([hit.text for hit in hits], gains))

    mean = {name: sum(values) / len(values) for name, values in scores.items()}
    assert mean["hybrid"] >= 0.9, mean
    assert mean["hybrid"] >= mean["meaning"], mean
    assert mean["hybrid"] >= mean["words"], mean
