from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis.exceptions

from core.dedicated_redis import DedicatedRedis
from core.redis import UNAVAILABLE, engine_redis, key


@pytest.fixture
def client() -> Iterator[DedicatedRedis]:
    made = DedicatedRedis()
    yield made
    made.close()


def test_a_command_has_its_reply(client: DedicatedRedis) -> None:
    client.execute("SET", key("dedicated"), b"\x00\xff", "EX", 60)

    assert client.execute("GET", key("dedicated")) == b"\x00\xff"


def test_an_error_is_raised_and_the_connection_goes_on(client: DedicatedRedis) -> None:
    connection = client.execute("CLIENT", "ID")

    with pytest.raises(redis.exceptions.ResponseError):
        client.execute("GET")

    assert client.execute("CLIENT", "ID") == connection


def test_a_script_that_redis_does_not_know_is_taught(client: DedicatedRedis) -> None:
    engine_redis().script_flush()

    said = [client.run("return {KEYS[1], ARGV[1]}", ["name"], [number]) for number in range(2)]

    assert said == [[b"name", b"0"], [b"name", b"1"]]


def test_a_lost_connection_is_told_once_and_made_again(client: DedicatedRedis) -> None:
    engine_redis().client_kill_filter(_id=client.execute("CLIENT", "ID"))

    with pytest.raises(UNAVAILABLE):
        client.execute("ECHO", "lost")

    assert client.execute("ECHO", "here") == b"here"
