"""The launcher as a user meets it, with the services alone; the whole system has its own end-to-end test."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from tests.launcher.conftest import Launched, wait_until
from vla_project.launcher.environment import read_env_file
from vla_project.launcher.identity import service_identity
from vla_project.launcher.ports import free_port
from vla_project.launcher.var_dir import services_folder

pytestmark = pytest.mark.processes

Launch = Callable[..., Launched]
SERVICES = ("-m", "vla_project.launcher", "services")
RUNNING = "The services run"
# Imported first, because the user may not be able to enter the interpreter's own folder.
AS_NOBODY = """
import encodings.idna, os, sys
from vla_project.launcher.__main__ import main
os.setgid(65534); os.setuid(65534)
sys.exit(main())
"""


def test_a_first_start_makes_the_services_and_manage_py_finds_them_in_run_env(launch: Launch, var_dir: Path) -> None:
    launch(*SERVICES).wait_for(RUNNING)

    values = read_env_file(var_dir / "run.env")

    assert stat.S_IMODE((var_dir / "run.env").stat().st_mode) == 0o600
    psycopg.connect(values["DATABASE_URL"]).close()
    assert redis.Redis.from_url(values["REDIS_URL"]).ping()
    assert values["VAR_DIR"] == str(var_dir)
    assert values["DJANGO_SETTINGS_MODULE"] == "vla_project.settings.local"


@pytest.mark.usefixtures("ready_postgres")
def test_addresses_secrets_and_data_are_the_same_the_next_time(launch: Launch, var_dir: Path) -> None:
    port = str(free_port())
    first = launch(*SERVICES, PORT=port)
    first.wait_for(RUNNING)
    before = (var_dir / "run.env").read_text()
    redis.Redis.from_url(read_env_file(var_dir / "run.env")["REDIS_URL"]).set("kept", "yes")
    first.send(signal.SIGINT)
    assert first.status() == 0

    launch(*SERVICES, PORT=port).wait_for(RUNNING)

    assert (var_dir / "run.env").read_text() == before
    assert redis.Redis.from_url(read_env_file(var_dir / "run.env")["REDIS_URL"]).get("kept") == b"yes"
    assert stat.S_IMODE((var_dir / "secrets.env").stat().st_mode) == 0o600


@pytest.mark.usefixtures("ready_postgres")
def test_a_killed_redis_is_back_on_its_port_with_its_data(launch: Launch, var_dir: Path) -> None:
    running = launch(*SERVICES)
    running.wait_for(RUNNING)
    client = redis.Redis.from_url(read_env_file(var_dir / "run.env")["REDIS_URL"])
    client.set("answered", "200")
    killed = client.info()["process_id"]

    os.kill(killed, signal.SIGKILL)

    running.wait_for("redis ended: killed by SIGKILL. Starting it again in 0.1 s.")

    def is_back() -> bool:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False

    wait_until(is_back)
    assert client.info()["process_id"] != killed
    assert client.get("answered") == b"200"


@pytest.mark.usefixtures("ready_postgres")
def test_a_killed_postgres_is_back_with_its_data(launch: Launch, var_dir: Path) -> None:
    running = launch(*SERVICES)
    running.wait_for(RUNNING)
    url = read_env_file(var_dir / "run.env")["DATABASE_URL"]
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    postmaster = int((var_dir / "postgres" / "data" / "postmaster.pid").read_text().split()[0])

    os.kill(postmaster, signal.SIGKILL)

    running.wait_for("postgres ended: killed by SIGKILL")

    def answer() -> tuple[int] | None:
        try:
            with psycopg.connect(url, connect_timeout=1) as connection:
                return connection.execute("SELECT answer FROM kept").fetchone()
        except psycopg.OperationalError:
            return None

    wait_until(lambda: answer() == (42,))


@pytest.mark.usefixtures("ready_postgres")
def test_a_second_launcher_in_the_same_folder_is_refused(launch: Launch) -> None:
    first = launch(*SERVICES)
    first.wait_for(RUNNING)

    second = launch(*SERVICES)

    assert second.status() == 1
    assert "The system already runs in" in second.output
    assert f"(process {first.process.pid})" in second.output


@pytest.mark.usefixtures("ready_postgres")
def test_after_a_kill_of_the_launcher_the_next_one_waits_for_its_processes_and_recovers(
    launch: Launch, var_dir: Path
) -> None:
    first = launch(*SERVICES)
    first.wait_for(RUNNING)
    before = read_env_file(var_dir / "run.env")
    first.send(signal.SIGKILL)
    first.status()

    launch(*SERVICES).wait_for(RUNNING)

    after = read_env_file(var_dir / "run.env")
    assert after["DATABASE_URL"] == before["DATABASE_URL"]
    psycopg.connect(after["DATABASE_URL"]).close()


def test_a_service_whose_url_is_given_is_not_started(launch: Launch, var_dir: Path) -> None:
    launch(*SERVICES, DATABASE_URL=os.environ["DATABASE_URL"]).wait_for(RUNNING)

    assert not (var_dir / "postgres").exists()
    assert read_env_file(var_dir / "run.env")["DATABASE_URL"] == os.environ["DATABASE_URL"]


def test_an_occupied_port_is_said_at_once(launch: Launch, var_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = launch("-m", "vla_project.launcher", "run", PORT=str(port))

        assert refused.status() == 1
    assert f"Port {port} is in use by another program. Choose another: PORT={port + 1} make run" in refused.output
    assert not (var_dir / "postgres").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="root may write everywhere, so an ordinary user tries")
def test_a_folder_of_another_user_is_refused_with_one_clear_message(launch: Launch, var_dir: Path) -> None:
    lock = var_dir / "launcher.lock"
    lock.touch()
    lock.chmod(0o600)
    refused = launch("-c", AS_NOBODY, "services")

    assert refused.status() == 1
    assert f"{var_dir} cannot be written (Permission denied)." in refused.output
    assert "Traceback" not in refused.output


@pytest.mark.skipif(os.geteuid() != 0, reason="everyone else tests this all the time")
@pytest.mark.usefixtures("ready_postgres")
def test_an_ordinary_user_needs_no_rights_but_to_the_folder(launch: Launch, var_dir: Path) -> None:
    subprocess.run(["chown", "-R", "65534:65534", var_dir], check=True)
    (var_dir / "postgres").chmod(0o700)

    launch("-c", AS_NOBODY, "services").wait_for(RUNNING)

    psycopg.connect(read_env_file(var_dir / "run.env")["DATABASE_URL"]).close()
    assert stat.S_IMODE((var_dir / "postgres").stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes user")
def test_root_may_keep_the_project_in_a_closed_folder(launch: Launch, var_dir: Path, new_cluster: Path) -> None:
    project = var_dir / "home"
    (project / "var").mkdir(parents=True)
    project.chmod(0o700)
    services = services_folder(project / "var", service_identity())
    assert services.is_relative_to("/var/lib/vla-data-collection")
    subprocess.run(["cp", "-a", new_cluster, services / "postgres"], check=True)
    try:
        running = launch(*SERVICES, VAR_DIR=str(project / "var"))
        running.wait_for(RUNNING)

        psycopg.connect(read_env_file(project / "var" / "run.env")["DATABASE_URL"]).close()
        assert (project / "var" / "postgres").resolve() == services / "postgres"
        running.send(signal.SIGTERM)
        assert running.status() == 0
    finally:
        shutil.rmtree(services)


@pytest.mark.usefixtures("ready_postgres")
def test_status_tells_running_from_not_running(launch: Launch, var_dir: Path) -> None:
    before = launch("-m", "vla_project.launcher", "status")
    assert before.status() == 1
    assert f"Nothing runs in {var_dir}." in before.output
    running = launch(*SERVICES)
    running.wait_for(RUNNING)

    during = launch("-m", "vla_project.launcher", "status")

    assert during.status() == 1
    assert f"Launcher: process {running.process.pid}" in during.output
    assert "not ready" in during.output
