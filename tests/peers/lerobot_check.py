"""Opens an export with the published LeRobot loader; run by a Python that has it, not by the project's.

LeRobot 0.4.4 asks for other versions than the project's, so it lives in an environment of its own. Video is decoded by
torchcodec, which needs FFmpeg's libraries (Debian: ``ffmpeg``)::

    python -m venv var/peers/lerobot
    var/peers/lerobot/bin/pip install --no-deps lerobot==0.4.4
    var/peers/lerobot/bin/pip install "torch==2.13.0" "torchvision==0.28.0" "torchcodec==0.13.0" "numpy<2.3" \\
        "huggingface-hub==0.35.3" "datasets==4.8.5" "diffusers==0.35.2" "accelerate==1.15.0" "transformers==4.57.6" \\
        "av==15.1.0" "opencv-python-headless<4.13" einops draccus==0.10.0 jsonlines gymnasium deepdiff imageio \\
        pyserial termcolor num2words
    var/peers/lerobot/bin/python tests/peers/lerobot_check.py FOLDER EXPECTED.json

``EXPECTED.json`` is what the database holds, as ``tests/peers/test_lerobot.py`` writes it. The loader forgives much in
silence (a wrong rate, a wrong image shape, a feature that no file has), so everything is compared.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch

if not torch.version.cuda:
    # A CUDA build of torchvision beside a CPU build of torch fails at import unless these operators are known.
    operators = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):  # a build that fits brings them itself
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from lerobot.datasets.compute_stats import get_feature_stats
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from torch.utils.data import DataLoader

# H.264 at CRF 18, and colours at half the resolution: this near the images of the database are.
PIXEL_TOLERANCE = 6.0


def main(folder: str, expected_path: str) -> None:
    expected: dict[str, Any] = json.loads(Path(expected_path).read_text())
    dataset = LeRobotDataset("vla/export", root=folder)
    frames = expected["frames"]
    assert (dataset.num_frames, dataset.num_episodes) == (len(frames), expected["episodes"])
    assert dataset.fps == expected["fps"], dataset.fps
    assert dataset.meta.camera_keys == [f"observation.images.{camera}" for camera in expected["cameras"]]
    states, actions = [], []
    for index, want in enumerate(frames):
        frame = dataset[index]
        assert set(dataset.features) <= set(frame), sorted(set(dataset.features) - set(frame))
        assert frame["task"] == want["task"], (index, frame["task"])
        assert (int(frame["episode_index"]), int(frame["frame_index"])) == (want["episode"], want["frame"])
        assert abs(float(frame["timestamp"]) - want["frame"] / expected["fps"]) < 1e-4
        assert np.allclose(frame["observation.state"].numpy(), want["state"], atol=1e-6)
        assert np.allclose(frame["action"].numpy(), want["action"], atol=1e-6), index
        assert bool(frame["intervention"]) is want["intervention"]
        assert bool(frame["next.success"]) is want["success"]
        assert bool(frame["next.done"]) is want["done"]
        for camera in expected["cameras"]:
            image = frame[f"observation.images.{camera}"].numpy()
            assert list(image.shape) == [3, *expected["image_shape"][:2]], image.shape
            difference = abs(image.mean(axis=(1, 2)) * 255 - want["colours"][camera]).max()
            assert difference < PIXEL_TOLERANCE, (index, camera, difference)
        states.append(want["state"])
        actions.append(want["action"])
    for key, values in (("observation.state", states), ("action", actions)):
        numbers = np.array(values, dtype=np.float32).astype(np.float64)
        ours = dataset.meta.stats[key]
        for name, theirs in get_feature_stats(numbers, axis=0, keepdims=False).items():
            if not name.startswith("q"):  # LeRobot's own quantiles are those of a histogram
                assert np.allclose(ours[name], theirs, atol=1e-5), (key, name, ours[name], theirs)
        for name, share in (("q01", 0.01), ("q10", 0.1), ("q50", 0.5), ("q90", 0.9), ("q99", 0.99)):
            assert np.allclose(ours[name], np.quantile(numbers, share, axis=0), atol=1e-5), (key, name)
    for camera in expected["cameras"]:
        stats = dataset.meta.stats[f"observation.images.{camera}"]
        assert np.shape(stats["mean"]) == (3, 1, 1), np.shape(stats["mean"])
        mean = np.mean([want["colours"][camera] for want in frames], axis=0) / 255
        assert np.allclose(np.ravel(stats["mean"]), mean, atol=0.03), (camera, stats["mean"], mean)
    batch = next(iter(DataLoader(dataset, batch_size=4)))
    assert batch["action"].shape == (4, len(actions[0]))
    step = 1 / expected["fps"]
    ahead = LeRobotDataset("vla/export", root=folder, delta_timestamps={"action": [0.0, step]})
    second = ahead[0]["action"][1].numpy()
    assert np.allclose(second, actions[1], atol=1e-6)
    sys.stdout.write(f"lerobot opened {dataset.num_frames} frames of {dataset.num_episodes} episodes as they are\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
