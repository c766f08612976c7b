"""Pictures on their way from the robot's cameras to a policy."""

from __future__ import annotations

import base64

from inference.images import decode, encode_jpeg, fit
from inference.policies.base import ImageArray


def to_base64(picture: ImageArray) -> str:
    """``uint8 [height, width, 3]`` RGB as a JPEG file in the form that the API's JSON carries."""
    return base64.b64encode(encode_jpeg(picture)).decode("ascii")


def as_served(picture: ImageArray, size: tuple[int, int]) -> ImageArray:
    """What a policy gets to see of it in service: packed as JPEG, unpacked, and fitted to ``(height, width)``."""
    return fit(decode(encode_jpeg(picture)), size)
