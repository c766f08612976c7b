"""The replay's data: frames in order, with what people and other versions said."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.choices import Role
from accounts.models import AuditLog
from collections_app.models import Episode
from tests.factories import (
    CollectionFactory,
    EpisodeFactory,
    FeedbackFactory,
    InferenceResultFactory,
    MembershipFactory,
    PolicyVersionFactory,
)
from vla_project.pages import replay
from vla_project.pages.replay import episode_results, replay_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def episode() -> Episode:
    return EpisodeFactory(collection=CollectionFactory())


def test_frames_follow_the_steps_whenever_they_were_recorded(episode: Episode) -> None:
    for step in (2, 0, 1):
        InferenceResultFactory(collection=episode.collection, episode=episode, robot=episode.robot, step=step)
    results, more = episode_results(episode)
    assert [result.step for result in results] == [0, 1, 2]
    assert not more


def test_a_long_episode_comes_in_parts(episode: Episode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "FRAMES_AT_ONCE", 2)
    for step in range(5):
        InferenceResultFactory(collection=episode.collection, episode=episode, robot=episode.robot, step=step)
    parts = [episode_results(episode, part=part) for part in (1, 2, 3)]
    assert [([r.step for r in results], more) for results, more in parts] == [
        ([0, 1], True),
        ([2, 3], True),
        ([4], False),
    ]


def test_a_correction_stands_beside_what_was_sent(episode: Episode) -> None:
    result: Any = InferenceResultFactory(collection=episode.collection, episode=episode, robot=episode.robot)
    corrected = [[0.02] * 7 for _ in range(8)]
    FeedbackFactory(inference_result=result, feedback_type="correction", human_correction=corrected)
    (frame,) = replay_of(episode.collection, [result])["frames"]
    assert frame["sent"] == result.output_actions
    assert frame["corrected"] == corrected


def test_a_replaced_correction_is_not_shown(episode: Episode) -> None:
    result: Any = InferenceResultFactory(collection=episode.collection, episode=episode, robot=episode.robot)
    FeedbackFactory(inference_result=result, feedback_type="correction", human_correction=[[0.0] * 7], current=False)
    (frame,) = replay_of(episode.collection, [result])["frames"]
    assert frame["corrected"] is None


def test_a_shadow_version_is_offered_for_comparison(episode: Episode) -> None:
    moment = timezone.now()
    common = {"collection": episode.collection, "episode": episode, "robot": episode.robot, "created_at": moment}
    sent = InferenceResultFactory(**common)
    other = PolicyVersionFactory(name="newer", version="2")
    chunk = [[0.03] * 7 for _ in range(8)]
    InferenceResultFactory(
        **common, request_id=sent.request_id, shadow=True, policy_version=other, output_actions=chunk
    )
    results, _ = episode_results(episode)
    (frame,) = replay_of(episode.collection, results)["frames"]
    assert frame["others"] == [{"model": "newer@2", "actions": chunk}]


def test_an_annotator_sets_outcome_and_tags_and_it_is_audited(episode: Episode) -> None:
    visitor = Client()
    visitor.force_login(MembershipFactory(collection=episode.collection, role=Role.ANNOTATOR).user)
    response = visitor.post(f"/episodes/{episode.pk}/", {"outcome": "failure", "tags": "slipped, night , slipped"})
    assert response.status_code == 302
    episode.refresh_from_db()
    assert (episode.outcome, episode.tags) == ("failure", ["slipped", "night"])
    assert AuditLog.objects.filter(resource_id=episode.pk, action="episode.updated").exists()


@pytest.mark.parametrize("part", ["0", "-3", "x", "9" * 30, ""])
def test_a_part_that_is_none_is_the_first(episode: Episode, part: str) -> None:
    visitor = Client()
    visitor.force_login(MembershipFactory(collection=episode.collection).user)
    response = visitor.get(f"/episodes/{episode.pk}/", {"part": part})
    assert response.status_code == 200
    assert response.context["part"] == 1
