"""Beside a torch without CUDA, a torchvision built for CUDA cannot be imported, and takes transformers with it.

Its import looks for two operators that its own shared library would have registered. Defining them is enough: nothing
here calls them.
"""

from __future__ import annotations

import importlib.metadata
from functools import cache
from typing import Any


@cache
def define_missing_operators() -> Any:
    """Define ``torchvision::nms`` and ``qnms`` where torch has no CUDA. The cache keeps the definition referenced."""
    import torch

    try:
        importlib.metadata.version("torchvision")
    except importlib.metadata.PackageNotFoundError:
        return None
    if torch.version.cuda is not None:
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    return library
