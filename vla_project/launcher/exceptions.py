"""What can go wrong before the system runs. Every message is written for the person at the terminal."""

from __future__ import annotations


class LauncherError(Exception):
    """The launcher cannot go on; the message says why and what to do."""


class NoWheelForPlatformError(LauncherError):
    """An embedded service has no binaries for this machine.

    :param service: what is missing, e.g. ``PostgreSQL``
    :param variable: the environment variable that names a server of the user's own
    """

    def __init__(self, service: str, variable: str) -> None:
        super().__init__(
            f"There is no embedded {service} for this platform. "
            f"Set {variable} to a server of your own, or run everything in containers: docker compose up"
        )


class ServiceFailedError(LauncherError):
    """An embedded service ended, or did not answer, while it was being started."""
