"""Everything that may go wrong between an observation and its actions. Imports no Django."""

from __future__ import annotations


class PolicyError(Exception):
    """Base of what a policy may raise."""


class PolicyConfigurationError(PolicyError):
    """An option is missing, unknown or of the wrong type."""


class PolicyLoadError(PolicyError):
    """Weights or code could not be loaded."""


class AcceleratorOutOfMemoryError(PolicyError):
    """The batch does not fit into the accelerator's memory; a smaller one may."""


class PolicyOutputError(PolicyError):
    """A policy returned something that is not a chunk: wrong count, wrong shape, NaN or infinity."""


class ImageRefusedError(ValueError):
    """Not an image that is understood, or a damaged one."""


class ImageTooLargeError(ImageRefusedError):
    """More pixels than allowed."""
