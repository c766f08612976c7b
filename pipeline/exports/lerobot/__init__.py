"""The format ``lerobot``: LeRobotDataset v3.0, written from its specification, without the library."""

from pipeline.exports.lerobot.format import LeRobotFormat

__all__ = ["LeRobotFormat"]
