"""The main job, from a robot's picture to a corrected row in Parquet, on the processes that `make run` starts."""

from __future__ import annotations

import io
import json
import subprocess
import urllib.parse
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from websockets.sync.client import connect

from inference.robot_api import openpi_msgpack
from tests.e2e.system import ROBOT, RunningSystem
from tests.inference.waiting import wait_until

pytestmark = [pytest.mark.processes, pytest.mark.browser]


def log_in(page: Page, system: RunningSystem, name: str) -> None:
    person = system.demo[name]
    page.goto(f"{system.base_url}/feedback/")
    page.get_by_label("Username").fill(person["username"])
    page.get_by_label("Password").fill(person["password"])
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Feedback")).to_be_visible()


def test_the_printed_curl_line_answers_with_a_chunk(system: RunningSystem) -> None:
    wait_until(lambda: system.demo["curl"] in system.log.read_text(), seconds=30)
    answer = subprocess.run(["bash", "-c", system.demo["curl"]], capture_output=True, check=True, timeout=30).stdout
    body = json.loads(answer)
    assert (len(body["actions"]), len(body["actions"][0])) == (8, 4)
    assert body["safety"]["verdict"] in ("pass", "clamped")
    assert body["model"]["name"] == "panda-pick"


def test_a_frame_with_large_raw_pictures_is_answered(system: RunningSystem) -> None:
    url = f"ws://127.0.0.1:{system.port}/ws/policy/{system.demo['collection']}"
    with connect(url, additional_headers={"Authorization": f"Api-Key {system.demo['api_key']}"}) as socket:
        wanted = openpi_msgpack.unpack_map(socket.recv(10, decode=False))
        picture = np.zeros((640, 640, 3), np.uint8)  # one alone is more than a megabyte
        observation = {
            **{f"observation/{camera}": picture for camera in wanted["cameras"]},
            "observation/state": np.zeros(wanted["state_size"]),
            "prompt": "pick up the red cube",
        }
        socket.send(openpi_msgpack.pack(observation))
        answer = openpi_msgpack.unpack_map(socket.recv(30, decode=False))

    assert answer["actions"].shape == (wanted["action_horizon"], wanted["action_dim"])


def test_readiness_names_each_dependency(system: RunningSystem) -> None:
    body = json.loads(system.get("/readyz").read())
    assert body["status"] == "ready"
    assert body["checks"] == {"database": "ok", "redis": "ok", "storage": "ok", "inference worker": "ok"}


def test_a_robot_is_seen_live_and_corrected_and_the_correction_reaches_parquet_and_the_audit_trail(
    system: RunningSystem, chromium: Browser
) -> None:
    page = chromium.new_context(viewport={"width": 1440, "height": 900}).new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    log_in(page, system, "annotator")

    # The robot's camera and its actions change before one's eyes.
    page.goto(f"{system.base_url}/live/demo/")
    card = page.locator("article.robot", has_text="panda-sim")
    camera = card.locator("[data-camera]")
    expect(camera).to_be_visible(timeout=20_000)
    picture, plot = camera.get_attribute("src"), _pixels(card)
    wait_until(lambda: camera.get_attribute("src") != picture, seconds=20)
    wait_until(lambda: _pixels(card) != plot, seconds=20)
    assert camera.evaluate("image => image.naturalWidth") > 0

    # One chunk is corrected.
    page.goto(f"{system.base_url}/feedback/")
    with system.database() as connection:
        wait_until(lambda: connection.execute("SELECT 1 FROM feedback_tasks").fetchone(), seconds=60)
    # From here on it is about what the robot has done.
    with system.resting(ROBOT):
        page.reload()
        page.locator("[data-shortcut=n]").click()
        expect(page.locator("form[data-editor]")).to_be_visible()
        task_id = urllib.parse.urlsplit(page.url).path.split("/")[2]
        number = page.locator("form[data-editor] input[type=number]").first
        corrected = "0.0123"
        expect(page.locator("[data-numbers]:not([open])")).to_be_visible()  # the page's script has run
        page.locator("[data-numbers] > summary").click()
        number.fill(corrected)
        number.press("Tab")
        page.locator("#comment").fill("the hand should move a little further")
        page.get_by_role("button", name="Submit, next").click()
        page.wait_for_url(lambda url: task_id not in url)
        assert not faults

        with system.database() as connection:
            row = connection.execute(
                "SELECT f.human_correction, f.feedback_type, u.username, f.inference_result_id, r.request_id, f.id "
                "FROM feedback f JOIN users u ON u.id = f.annotator_id "
                "JOIN inference_results r ON r.id = f.inference_result_id WHERE f.task_id = %s",
                [task_id],
            ).fetchone()
            assert row is not None
            actions, kind, annotator, _result_id, request_id, feedback_id = row
            assert (kind, annotator) == ("correction", "annotator")
            assert any(float(corrected) == pytest.approx(value) for step in actions for value in step)
            audited = connection.execute(
                "SELECT actor_name FROM audit_logs WHERE resource_id = %s OR changes::text LIKE %s",
                [feedback_id, f"%{feedback_id}%"],
            ).fetchall()
            assert ("annotator",) in audited

        # What was said is embedded, and the correction is in the next run's Parquet.
        with system.database() as connection:
            wait_until(
                lambda: connection.execute("SELECT 1 FROM embeddings WHERE source_id = %s", [feedback_id]).fetchone(),
                seconds=60,
            )
        printed = system.manage("run_pipeline", "demo")
        manifest_key = printed.strip().splitlines()[-1]
        folder = (system.var_dir / "storage" / manifest_key).parent
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest
        rows: list[dict[str, Any]] = []
        for batch in sorted(folder.glob("batch_*.parquet")):
            rows += pq.read_table(io.BytesIO(batch.read_bytes())).to_pylist()
        (mine,) = [row for row in rows if str(row["request_id"]) == str(request_id)]
        assert mine["corrected_actions"] == actions

        # And admins see it.
        admin = chromium.new_context().new_page()
        log_in(admin, system, "admin")
        admin.goto(f"{system.base_url}/admin/feedback/feedback/")
        expect(admin.get_by_text("Correction").first).to_be_visible()


def _pixels(card: Locator) -> str:
    return str(card.locator("canvas[data-plot]").evaluate("canvas => canvas.toDataURL()"))
