"""Asks the running system whether it is ready, as any other program would: `GET /readyz`."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from dataclasses import dataclass

from vla_project.launcher.exceptions import ServiceFailedError
from vla_project.launcher.service import START_SECONDS, EmbeddedService

_POLL_SECONDS = 0.1
# Straight to this machine, whatever proxy the environment names.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Readiness:
    """:param detail: the body of the answer, one line a dependency; empty when nobody answered"""

    is_ready: bool
    detail: str


def readiness(base_url: str) -> Readiness:
    """One question."""
    try:
        with _direct.open(f"{base_url}/readyz", timeout=5) as answer:
            return Readiness(is_ready=True, detail=answer.read().decode(errors="replace"))
    except urllib.error.HTTPError as refusal:
        return Readiness(is_ready=False, detail=refusal.read().decode(errors="replace"))
    except OSError:
        return Readiness(is_ready=False, detail="")


async def until_ready(base_url: str) -> None:
    """Return when the system is ready; never, if it never is."""
    while not (state := await asyncio.to_thread(readiness, base_url)).is_ready:
        # Once it answers, asking takes time from those that must become ready.
        await asyncio.sleep(0.5 if state.detail else _POLL_SECONDS)


async def until_answering(service: EmbeddedService) -> None:
    """Return when ``service`` answers.

    :raises ServiceFailedError: it has not for ``START_SECONDS``
    """
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await asyncio.to_thread(service.is_ready):
                await asyncio.sleep(_POLL_SECONDS / 5)
    except TimeoutError:
        raise ServiceFailedError(
            f"{service.title} does not answer on port {service.port}; its log is {service.log_file}."
        ) from None
