from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.launcher.conftest import wait_until
from vla_project.launcher import EmbeddedPostgres, EmbeddedRedis, LauncherError
from vla_project.launcher.exceptions import NoWheelForPlatformError, ServiceFailedError
from vla_project.launcher.identity import service_identity
from vla_project.launcher.ports import free_port

pytestmark = pytest.mark.processes


@pytest.fixture
def postgres(ready_postgres: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(ready_postgres, port=free_port(), settings={"fsync": "off"}) as service:
        yield service


@pytest.fixture
def store(var_dir: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(var_dir / "redis", port=free_port()) as service:
        yield service


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_postgres_has_the_extensions_and_an_ordinary_role(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.url) as connection:
        extensions = {name for (name,) in connection.execute("SELECT extname FROM pg_extension")}
        rights = connection.execute(
            "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        distance = connection.execute("SELECT '[1,0]'::vector <=> '[0,1]'::vector").fetchone()

    assert {"vector", "pg_stat_statements"} <= extensions
    assert rights == (False, True)
    assert distance == (1.0,)


def test_postgres_refuses_a_wrong_password(postgres: EmbeddedPostgres) -> None:
    for role in ("vla", "postgres"):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(f"postgresql://{role}:guess@127.0.0.1:{postgres.port}/vla")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes user")
def test_services_of_root_run_as_nobody(postgres: EmbeddedPostgres, store: EmbeddedRedis) -> None:
    nobody = service_identity()
    assert nobody is not None
    redis_pid = redis.Redis.from_url(store.url).info()["process_id"]
    postgres_pid = int((postgres.folder / "data" / "postmaster.pid").read_text().split()[0])

    assert [Path(f"/proc/{pid}").stat().st_uid for pid in (redis_pid, postgres_pid)] == [nobody.uid] * 2


def test_passwords_and_data_are_closed_to_others(postgres: EmbeddedPostgres, store: EmbeddedRedis) -> None:
    for service in (postgres, store):
        assert mode(service.folder / "password") == 0o600
        assert mode(service.log_file) == 0o600
        assert mode(service.folder / "data") == 0o700
        assert not any(service.url.split("@")[0].split(":")[-1] in argument for argument in service.argv())


def test_postgres_recovers_what_was_committed_before_a_kill(ready_postgres: Path) -> None:
    service = EmbeddedPostgres(ready_postgres, port=free_port())
    service.start()
    with psycopg.connect(service.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        postmaster = int((service.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)
    service.stop()

    wait_until(lambda: not _is_listening(service.url))
    with service, psycopg.connect(service.url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def _is_listening(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=1).close()
    except psycopg.OperationalError:
        return False
    return True


def test_postgres_starts_over_the_pid_file_of_a_dead_server_whose_number_is_taken(ready_postgres: Path) -> None:
    service = EmbeddedPostgres(ready_postgres, port=free_port())
    with subprocess.Popen(["sleep", "600"]) as other:
        (service.folder / "data" / "postmaster.pid").write_text(f"{other.pid}\n{service.folder}\n0\n0\n\n\n0 0\n")
        try:
            with service:
                assert service.is_ready()
        finally:
            other.kill()


def test_an_interrupted_creation_leaves_nothing_that_looks_finished(
    var_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = EmbeddedPostgres(var_dir / "postgres", port=free_port(), settings={"fsync": "off"})
    with monkeypatch.context() as patched:
        patched.setattr("vla_project.launcher.postgres.EXTENSIONS", ("no_such_extension",))
        with pytest.raises(ServiceFailedError, match="no_such_extension"):
            service.prepare()

    assert list(service.folder.iterdir()) == []
    with service:
        assert service.is_ready()


def test_data_of_another_postgresql_is_refused_with_the_way_out(var_dir: Path) -> None:
    service = EmbeddedPostgres(var_dir / "postgres", port=free_port())
    (service.folder / "data").mkdir(parents=True)
    (service.folder / "data" / "PG_VERSION").write_text("15\n")

    with pytest.raises(LauncherError, match=r"made by PostgreSQL 15, and this is PostgreSQL 18.*Upgrading"):
        service.prepare()


def test_redis_is_append_only_and_never_evicts(store: EmbeddedRedis) -> None:
    client = redis.Redis.from_url(store.url)

    assert client.config_get("appendonly") == {"appendonly": "yes"}
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=store.port, retry=Retry(NoBackoff(), retries=0)).ping()


def test_redis_keeps_its_data_through_a_kill(store: EmbeddedRedis) -> None:
    client = redis.Redis.from_url(store.url)
    client.xadd("records", {"request": "1"})
    os.kill(client.info()["process_id"], signal.SIGKILL)
    store.stop()

    store.start()

    assert redis.Redis.from_url(store.url).xlen("records") == 1


def test_a_service_that_cannot_start_says_what_it_wrote(store: EmbeddedRedis, var_dir: Path) -> None:
    second = EmbeddedRedis(var_dir / "second", port=store.port)

    with pytest.raises(ServiceFailedError, match=r"Redis did not start:(.|\n)*(?i:address already in use|password)"):
        second.start()


@pytest.mark.parametrize(("service", "variable"), [(EmbeddedPostgres, "DATABASE_URL"), (EmbeddedRedis, "REDIS_URL")])
def test_without_a_wheel_the_message_names_the_variable_and_the_containers(
    service: type[EmbeddedPostgres | EmbeddedRedis], variable: str, var_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(NoWheelForPlatformError, match=rf"Set {variable} .* docker compose up"):
        service(var_dir / "service", port=free_port()).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes user")
def test_programs_that_the_services_user_cannot_reach_are_copied_and_run(
    var_dir: Path, ready_postgres: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the environment lies under root's own 0700 home."""
    monkeypatch.setattr(
        "vla_project.launcher.identity.Identity.can_enter", lambda self, folder: "site-packages" not in folder.parts
    )
    service = EmbeddedPostgres(ready_postgres, port=free_port())

    with service, psycopg.connect(service.url) as connection:
        vector = connection.execute("SELECT '[1]'::vector").fetchone()

    assert vector == ("[1]",)
    assert service.argv()[0].startswith(str(var_dir / "programs"))
    assert EmbeddedRedis(var_dir / "redis", port=1).argv()[0].startswith(str(var_dir / "programs"))
