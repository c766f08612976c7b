"""Search on a small hand-labelled set: hybrid ranks at least as well as either ranking alone."""

from __future__ import annotations

import math

import pytest

from accounts.choices import Role
from pipeline.embeddings import encoders, indexing
from pipeline.embeddings.search import nearest, search, with_words
from pipeline.models import Embedding
from tests.factories import CollectionFactory, InferenceResultFactory, MembershipFactory

pytestmark = [pytest.mark.ml, pytest.mark.django_db]

INSTRUCTIONS = {
    "red-cube": ["pick up the red cube", "grasp the red block", "take the crimson box from the table"],
    "blue-cube": ["pick up the blue cube", "lift the navy block"],
    "drawer": ["open the drawer", "pull the drawer out", "close the drawer"],
    "cup": ["place the cup on the shelf", "put the mug on the rack", "it dropped the cup"],
    "wipe": ["wipe the table with the sponge", "clean the desk surface"],
    "pour": ["pour water into the bowl", "fill the bowl from the bottle"],
    "door": ["open the microwave door", "shut the oven"],
    "towel": ["fold the towel", "hang the cloth on the hook"],
}
# A query, and the groups that answer it: 2 right, 1 near.
QUERIES = {
    "grab the scarlet cube": {"red-cube": 2, "blue-cube": 1},
    "where did it drop the mug": {"cup": 2},
    "tidy up the table": {"wipe": 2},
    "slide open a drawer": {"drawer": 2, "door": 1},
    "fill a bowl with water": {"pour": 2},
    "close the microwave": {"door": 2, "drawer": 1},
    "navy cube": {"blue-cube": 2, "red-cube": 1},
    "folding laundry": {"towel": 2},
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
    rows = Embedding.objects.all()
    texts = dict(rows.values_list("pk", "text"))

    scores: dict[str, list[float]] = {"meaning": [], "words": [], "hybrid": []}
    for query, gains in QUERIES.items():
        vector = encoders.query_encoder().encode([query])[0]
        hits = search(principal=viewer, text=query, limit=10)
        scores["meaning"].append(ndcg([texts[pk] for pk in nearest(rows, vector)], gains))
        scores["words"].append(ndcg([texts[pk] for pk in with_words(rows, query)], gains))
        scores["hybrid"].append(ndcg([hit.text for hit in hits], gains))

    mean = {name: sum(values) / len(values) for name, values in scores.items()}
    assert mean["hybrid"] >= 0.8, mean
    assert mean["hybrid"] >= mean["meaning"] - 1e-9, mean
    assert mean["hybrid"] >= mean["words"], mean
