"""Exports: every format opens where it is meant to, says the truth, and repeats to the byte."""

from __future__ import annotations

import csv
import hashlib
from datetime import datetime
from pathlib import Path

import av
import duckdb
import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.management import call_command

from core import object_store
from core.problems import Problem
from inference.models import InferenceResult
from pipeline import services
from pipeline.choices import JobState
from pipeline.exports import writer
from pipeline.exports.lerobot.video import VideoFile
from pipeline.exports.spreadsheets import cells_of
from pipeline.images import published
from pipeline.management.commands.export import Command as ExportCommand
from pipeline.models import Export
from pipeline.storage.catalogue import CorruptObjectError
from tests.factories import CollectionFactory, FeedbackFactory
from tests.pipeline.factories import make_episode

pytestmark = pytest.mark.django_db
FIXED = [[0.1] * 7 for _ in range(8)]


class NothingFound:
    """A finder of regions in images that hold nothing personal."""

    name = "rapidocr"

    def find(self, image):
        return []


@pytest.fixture
def clean_images(monkeypatch):
    monkeypatch.setattr(published, "text_finder", NothingFound)
    monkeypatch.setattr(published, "face_finder", NothingFound)


def export(collection, export_format, objects: Path, **query) -> tuple:
    row = services.start_export(collection=collection, export_format=export_format, query=query, enqueue=False)
    row = writer.write(row)
    return row, objects / f"exports/collection_{collection.slug}/export_{row.pk}"


def correct(result):
    return FeedbackFactory(inference_result=result, feedback_type="correction", human_correction=FIXED, rating=None)


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_parquet_opens_in_pandas_and_duckdb_with_the_rows_of_the_database(objects):
    collection = CollectionFactory()
    _, results = make_episode(collection, steps=6, outcome="success")
    correct(results[3])

    row, folder = export(collection, "parquet", objects)

    frame = pd.read_parquet(folder / "data.parquet")
    assert frame["request_id"].tolist() == [str(r.request_id) for r in results]
    assert np.array_equal(np.stack(frame["state"]), np.array([r.input_state for r in results]))
    path = folder / "data.parquet"
    assert duckdb.sql(f"SELECT count(*) FROM '{path}' WHERE corrected_actions IS NOT NULL").fetchall() == [(1,)]
    assert (row.state, row.records) == (JobState.SUCCEEDED, 6)


def test_the_command_copies_every_file_and_the_progress_only_grows(objects, tmp_path, monkeypatch):
    collection = CollectionFactory()
    make_episode(collection, steps=6)
    told = []
    monkeypatch.setattr(ExportCommand, "_tell", lambda _command, share: told.append(share))

    call_command("export", collection.slug, "--format", "csv", "--to", str(tmp_path / "out"))

    row = Export.objects.get()
    folder = objects / f"exports/collection_{collection.slug}/export_{row.pk}"
    assert bytes_below(tmp_path / "out") == bytes_below(folder)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_the_manifest_counts_and_hashes_what_was_written(objects):
    collection = CollectionFactory()
    _, results = make_episode(collection, steps=2)
    feedback = correct(results[0])

    row, folder = export(collection, "parquet", objects)

    manifest = orjson.loads((folder / "manifest.json").read_bytes())
    assert manifest == row.manifest
    for file in manifest["files"]:
        assert hashlib.sha256((folder / file["path"]).read_bytes()).hexdigest() == file["sha256"]
    assert manifest["counts"]["exported"] == 2
    assert manifest["policy_versions"] == {str(results[0].policy_version): 2}
    (annotator,) = manifest["annotators"]
    assert feedback.annotator.username not in annotator
    assert (folder / "README.md").read_text().startswith("---\n")


@pytest.mark.usefixtures("clean_images")
@pytest.mark.parametrize("export_format", ["parquet", "csv", "lerobot", "preferences"])
def test_the_same_query_on_the_same_data_gives_the_same_bytes(export_format, objects):
    collection = CollectionFactory()
    _, results = make_episode(collection, steps=4, images=True, outcome="success")
    make_episode(collection, steps=3, images=True)
    correct(results[1])

    _, first = export(collection, export_format, objects)
    _, second = export(collection, export_format, objects)

    assert bytes_below(first) == bytes_below(second)


def test_csv_cells_that_look_like_formulas_are_made_harmless(objects):
    collection = CollectionFactory()
    make_episode(collection, steps=1, instruction='=HYPERLINK("http://x.example","click")')

    _, folder = export(collection, "csv", objects)

    with (folder / "data.csv").open(newline="", encoding="utf-8") as source:
        row = next(csv.DictReader(source))
    assert row["instruction"].startswith("'=")
    assert len(orjson.loads(row["state"])) == 7


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\tx", "\rx", "＝1"])
def test_no_formula_survives(text):
    assert cells_of(pa.chunked_array([[text]])).to_pylist() == [f"'{text}"]


def test_cells_hold_numbers_as_numbers_and_lists_as_json():
    assert cells_of(pa.chunked_array([[-1.5, None]])).to_pylist() == [-1.5, None]
    assert cells_of(pa.chunked_array([["plain", None]])).to_pylist() == ["plain", None]
    chunks = [[[0.1, -2.0], [1e-9, 3.5]], None, [], [[1.0, 2.0]]]
    texts = cells_of(pa.chunked_array([chunks], pa.list_(pa.list_(pa.float64())))).to_pylist()
    assert [None if text is None else orjson.loads(text) for text in texts] == chunks


def test_preferences_are_pairs_of_the_human_chunk_and_the_policys(objects):
    collection = CollectionFactory()
    _, results = make_episode(collection, steps=3)
    given = correct(results[1])
    given.seconds_spent = 12.5
    given.save()

    _, folder = export(collection, "preferences", objects)

    (line,) = (folder / "preferences.jsonl").read_text().splitlines()
    pair = orjson.loads(line)
    assert pair["chosen_actions"] == orjson.loads(pair["chosen"]) == FIXED
    assert pair["rejected_actions"] == orjson.loads(pair["rejected"]) == results[1].output_actions
    assert pair["prompt"].startswith("pick up the red cube\n")
    assert pair["action_names"] == ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]
    assert pair["annotator"] not in (None, str(given.annotator_id))
    assert pair["policy_version"] == f"{results[1].model_name}@{results[1].model_version}"
    assert datetime.fromisoformat(pair["corrected_at"]) == given.created_at
    assert pair["correction_seconds"] == 12.5


def test_an_export_whose_file_reads_back_otherwise_has_failed(objects, monkeypatch):
    collection = CollectionFactory()
    make_episode(collection, steps=2)
    put_file = object_store.put_file

    def flip_a_bit(key, path):
        blob = put_file(key, path)
        if key.endswith(".parquet"):
            stored = bytearray(object_store.get(key))
            stored[100] ^= 1
            object_store.put(key, bytes(stored))
        return blob

    monkeypatch.setattr(object_store, "put_file", flip_a_bit)
    with pytest.raises(CorruptObjectError):
        export(collection, "parquet", objects)
    assert Export.objects.get().state == JobState.FAILED


@pytest.mark.usefixtures("clean_images")
def test_the_same_frames_are_the_same_video_whatever_memory_held_before(tmp_path):
    """Up to six in a thousand were others (``VideoFile``)."""
    random = np.random.default_rng(0)
    left_behind = [random.integers(0, 255, size, dtype=np.uint8) for size in (1000, 3000, 5000, 10_000, 20_000, 40_000)]
    y, x = np.mgrid[0:48, 0:64]
    shades = [np.stack([(3 * x + s) % 200, (4 * y + s) % 200, 0 * x + s], axis=-1) for s in (0, 30, 60)]
    made = set()
    for number in range(200):
        path = tmp_path / f"{number}.mp4"
        video = VideoFile(path, width=64, height=48, fps=4)
        for frame in range(9):
            video.add(shades[frame % 3].astype(np.uint8))
            copies = [left_behind[i].copy() for i in random.permutation(len(left_behind))]
            del copies
        video.close()
        made.add(path.read_bytes())

    assert len(made) == 1


class TestLeRobot:
    """What protocols for LeRobotDataset v3.0 ask for, and where loaders err in silence."""

    @pytest.fixture
    def dataset(self, objects):
        collection = CollectionFactory()
        _, first = make_episode(collection, steps=6, images=True, outcome="success", instruction="stack the blocks")
        _, second = make_episode(collection, steps=4, images=True, outcome="failure")
        _, third = make_episode(collection, steps=3, images=True, instruction="stack the blocks")
        correct(second[2])
        row, folder = export(collection, "lerobot", objects)
        return row, folder, [first, second, third]

    def frames(self, folder) -> pd.DataFrame:
        return pd.read_parquet(folder / "data/chunk-000/file-000.parquet")

    def info(self, folder) -> dict:
        return orjson.loads((folder / "meta/info.json").read_bytes())

    def test_the_columns_are_exactly_the_features_that_are_not_video(self, dataset):
        _, folder, _ = dataset
        features = self.info(folder)["features"]
        columns = pq.read_schema(folder / "data/chunk-000/file-000.parquet").names
        assert set(columns) == {name for name, feature in features.items() if feature["dtype"] != "video"}
        assert not any("/" in name for name in features)

    def test_frames_are_counted_as_the_loader_expects(self, dataset):
        _, folder, _ = dataset
        frames, info = self.frames(folder), self.info(folder)
        assert frames["index"].tolist() == list(range(13))
        assert frames["episode_index"].tolist() == [0] * 6 + [1] * 4 + [2] * 3
        assert frames["frame_index"].tolist() == [*range(6), *range(4), *range(3)]
        assert info["fps"] == 4
        assert np.allclose(frames["timestamp"], frames["frame_index"] / info["fps"], atol=1e-6)
        assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 13, 2)
        assert info["codebase_version"] == "v3.0"

    def test_states_and_actions_equal_the_databases_with_corrections_applied(self, dataset):
        _, folder, episodes = dataset
        frames = self.frames(folder)
        records = [record for episode in episodes for record in episode]
        expected = [r.output_actions[0] for r in records]
        expected[8] = FIXED[0]
        assert np.allclose(np.stack(frames["observation.state"]), [r.input_state for r in records], atol=1e-6)
        assert np.allclose(np.stack(frames["action"]), expected, atol=1e-6)
        assert frames["intervention"].tolist() == [i == 8 for i in range(13)]

    def test_units_and_policy_versions_go_along(self, dataset):
        _, folder, episodes = dataset
        features = self.info(folder)["features"]
        assert features["action"]["names"][-1] == "gripper"
        assert features["action"]["info"]["units"] == ["m", "m", "m", "rad", "rad", "rad", "1"]
        assert features["observation.state"]["info"]["units"] == ["rad"] * 7
        rows = pd.read_parquet(folder / "meta/episodes/chunk-000/file-000.parquet")
        assert rows["policy_versions"].tolist() == [str(records[0].policy_version) for records in episodes]

    def test_duckdb_joins_frames_to_their_episodes(self, dataset):
        _, folder, _ = dataset
        rows = duckdb.sql(
            f"SELECT e.episode, count(*), sum(f.intervention::int) FROM '{folder}/data/*/*.parquet' f "
            f"JOIN '{folder}/meta/episodes/*/*.parquet' e USING (episode_index) GROUP BY ALL ORDER BY min(f.index)"
        ).fetchall()
        assert [row[1:] for row in rows] == [(6, 0), (4, 1), (3, 0)]

    def test_success_is_said_on_the_last_frame(self, dataset):
        _, folder, _ = dataset
        frames = self.frames(folder)
        assert frames.index[frames["next.done"]].tolist() == [5, 9, 12]
        assert frames.index[frames["next.success"]].tolist() == [5]
        assert frames["next.reward"].sum() == 1.0

    def test_tasks_are_found_by_position_and_by_name(self, dataset):
        _, folder, _ = dataset
        tasks = pd.read_parquet(folder / "meta/tasks.parquet")
        assert tasks.index.name == "task"
        assert tasks["task_index"].tolist() == [0, 1]
        assert tasks.iloc[0].name == "stack the blocks"
        assert self.frames(folder)["task_index"].tolist() == [0] * 6 + [1] * 4 + [0] * 3

    def test_an_episodes_row_stands_at_its_index(self, dataset):
        _, folder, _ = dataset
        rows = pd.read_parquet(folder / "meta/episodes/chunk-000/file-000.parquet")
        assert rows["episode_index"].tolist() == [0, 1, 2]
        assert rows["dataset_from_index"].tolist() == [0, 6, 10]
        assert rows["dataset_to_index"].tolist() == [6, 10, 13]
        assert rows["length"].tolist() == [6, 4, 3]
        assert rows["tasks"].map(list).tolist() == [
            ["stack the blocks"],
            ["pick up the red cube"],
            ["stack the blocks"],
        ]
        assert rows["success"].tolist()[:2] == [True, False]
        key = "videos/observation.images.base"
        assert rows[f"{key}/from_timestamp"].tolist() == [0.0, 1.5, 2.5]
        assert rows[f"{key}/to_timestamp"].tolist() == [1.5, 2.5, 3.25]

    def test_each_episode_is_a_row_group(self, dataset):
        _, folder, _ = dataset
        metadata = pq.ParquetFile(folder / "data/chunk-000/file-000.parquet").metadata
        assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [6, 4, 3]

    @pytest.mark.parametrize("camera", ["base", "wrist"])
    def test_the_video_has_a_frame_per_row_at_its_time(self, dataset, camera):
        _, folder, _ = dataset
        with av.open(str(folder / f"videos/observation.images.{camera}/chunk-000/file-000.mp4")) as container:
            stream = container.streams.video[0]
            times = [float(frame.pts * stream.time_base) for frame in container.decode(stream)]
            assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        feature = self.info(folder)["features"][f"observation.images.{camera}"]
        assert np.allclose(times, np.arange(13) / 4)
        assert feature["shape"] == [48, 64, 3]
        assert feature["info"]["video.fps"] == 4

    def test_a_video_frame_is_the_image_that_was_recorded(self, dataset):
        _, folder, _ = dataset
        with av.open(str(folder / "videos/observation.images.base/chunk-000/file-000.mp4")) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        brightness = [frame.astype(float).mean() for frame in frames]
        assert brightness[0] == pytest.approx(brightness[6], abs=3)
        assert abs(brightness[1] - brightness[0]) > 5

    def test_statistics_are_those_of_the_frames(self, dataset):
        _, folder, _ = dataset
        stats = orjson.loads((folder / "meta/stats.json").read_bytes())
        actions = np.stack(self.frames(folder)["action"]).astype(float)
        assert np.allclose(stats["action"]["mean"], actions.mean(axis=0))
        assert np.allclose(stats["action"]["std"], actions.std(axis=0))
        assert np.allclose(stats["action"]["q90"], np.quantile(actions, 0.9, axis=0))
        assert stats["action"]["count"] == [13]
        image = stats["observation.images.base"]
        assert np.array(image["mean"]).shape == (3, 1, 1)
        assert 0.0 <= np.min(image["min"]) <= np.max(image["max"]) <= 1.0

    def test_what_cannot_be_a_frame_is_counted(self, objects):
        collection = CollectionFactory()
        refused, _ = make_episode(collection, steps=2)
        InferenceResult.objects.filter(episode=refused).update(safety_verdict="rejected", output_actions=[])
        _, results = make_episode(collection, steps=3, images=True)
        results[1].images = {}
        results[1].save()
        row, folder = export(collection, "lerobot", objects)
        assert row.manifest["counts"]["left_out"] == {"frames_without_an_action": 2, "frames_without_an_image": 1}
        assert self.frames(folder)["frame_index"].tolist() == [0, 1]


def test_a_query_chooses_the_records(objects):
    collection = CollectionFactory()
    make_episode(collection, steps=2, outcome="success")
    _, failed = make_episode(collection, steps=3, outcome="failure")
    correct(failed[0])

    assert export(collection, "parquet", objects, outcome="failure")[0].records == 3
    assert export(collection, "parquet", objects, corrected=True)[0].records == 1
    assert export(collection, "parquet", objects, corrected=False)[0].records == 4
    assert export(collection, "parquet", objects, created_before="2026-11-20T09:00:00.3Z")[0].records == 4


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"colour": "red"}, "/query/colour"),
        ({"created_after": "yesterday"}, "/query/created_after"),
        ({"created_after": "2026-11-20T09:00:00"}, "/query/created_after"),
        ({"corrected": "yes"}, "/query/corrected"),
        ({"outcome": "great"}, "/query/outcome"),
        ({"robot": ["arm"]}, "/query/robot"),
        ({"redact_images": False}, "/query/redact_images"),
    ],
)
def test_a_wrong_query_is_refused_with_the_field(query, pointer):
    with pytest.raises(Problem) as caught:
        services.start_export(collection=CollectionFactory(), export_format="parquet", query=query, enqueue=False)
    assert caught.value.errors[0].pointer == pointer


def test_an_empty_collection_exports_to_an_empty_data_set(objects):
    for export_format in ("parquet", "csv", "lerobot", "preferences"):
        row, folder = export(CollectionFactory(), export_format, objects)
        assert (row.state, row.records) == (JobState.SUCCEEDED, 0)
        assert (folder / "manifest.json").exists()
