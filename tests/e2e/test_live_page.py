"""A viewer's browser follows a robot. How soon is recorded, not asserted: a busy machine is no fault."""

from __future__ import annotations

import base64
import io
import json
import statistics
import time
import urllib.request
from collections.abc import Callable

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from inference.demo_robot.description import CAMERAS, STATE_DIMENSIONS
from tests.e2e.system import RunningSystem
from tests.e2e.test_whole_system import log_in

pytestmark = [pytest.mark.processes, pytest.mark.browser, pytest.mark.usefixtures("nothing_but_answers")]

STEPS = 30

# Notes, for every step of the robot "probe", the moment at which its card first showed it.
WATCH = """() => {
  window.shownAt = {};
  new MutationObserver(() => {
    const text = document.querySelector("[data-robot=probe] [data-latency]")?.textContent ?? "";
    const step = text.match(/step (\\d+)/)?.[1];
    if (step && !(step in window.shownAt)) window.shownAt[step] = Date.now();
  }).observe(document.getElementById("fleet"), { subtree: true, childList: true, characterData: true });
}"""


def test_the_page_shows_every_step_of_a_robot(
    system: RunningSystem, chromium: Browser, record_property: Callable[[str, object], None]
) -> None:
    page = chromium.new_context().new_page()
    log_in(page, system, "viewer")
    page.goto(f"{system.base_url}/live/demo/")
    expect(page.locator("#connection")).to_have_text("Live")
    page.evaluate(WATCH)
    _ask(system, step=0)
    expect(page.locator("[data-robot=probe]")).to_contain_text("step 0", timeout=20_000)
    answered = {}
    for step in range(1, STEPS + 1):
        answered[step] = _ask(system, step=step)
        # Two answers within one frame of the screen would be drawn as one.
        page.wait_for_function("step => step in window.shownAt", arg=step, timeout=20_000)
    shown = page.evaluate("window.shownAt")
    delays = [shown[str(step)] - at for step, at in answered.items()]
    record_property("median milliseconds from answer to screen", statistics.median(delays))


def _ask(system: RunningSystem, *, step: int) -> float:
    """Ask for a chunk as a robot would; when its answer was there, in Unix milliseconds."""
    picture = io.BytesIO()
    Image.new("RGB", (96, 96), (step * 8 % 256, 90, 120)).save(picture, "JPEG")
    encoded = base64.b64encode(picture.getvalue()).decode()
    body = {
        "collection": system.demo["collection"],
        "robot": "probe",
        "step": step,
        "instruction": "pick up the red cube",
        "state": [0.0] * len(STATE_DIMENSIONS),
        "images": dict.fromkeys(CAMERAS, encoded),
    }
    request = urllib.request.Request(
        f"{system.base_url}/api/v1/inference",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Api-Key {system.demo['api_key']}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()
    return time.time() * 1000
