from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.exceptions

from core.redis import UNAVAILABLE, engine_redis, key
from core.shared_redis import SharedConnectionRedis, new_shared_engine_redis, subscribed


@pytest.fixture
async def client() -> AsyncIterator[SharedConnectionRedis]:
    made = new_shared_engine_redis()
    yield made
    await made.aclose()


async def test_every_caller_gets_the_reply_to_his_own_command(client: SharedConnectionRedis) -> None:
    names = [key("shared", number) for number in range(50)]

    await asyncio.gather(*(client.set(name, number, ex=60) for number, name in enumerate(names)))
    found = await asyncio.gather(*(client.get(name) for name in names))

    assert found == [str(number).encode() for number in range(50)]


async def test_all_callers_share_one_connection(client: SharedConnectionRedis) -> None:
    replies = await asyncio.gather(*(client.execute_command("CLIENT", "ID") for _ in range(20)))

    assert len(set(replies)) == 1


async def test_an_error_reaches_its_own_caller_only(client: SharedConnectionRedis) -> None:
    name = key("shared", "text")
    await client.set(name, "text", ex=60)

    refused, found = await asyncio.gather(client.incr(name), client.get(name), return_exceptions=True)

    assert isinstance(refused, redis.exceptions.ResponseError)
    assert found == b"text"


async def test_a_script_that_redis_has_forgotten_is_loaded_again(client: SharedConnectionRedis) -> None:
    script = client.register_script("return ARGV[1]")
    await client.script_flush()

    assert await script(args=["said"]) == b"said"


async def test_a_caller_that_leaves_disturbs_nobody(client: SharedConnectionRedis) -> None:
    leaving = asyncio.create_task(client.execute_command("ECHO", "first"))
    staying = asyncio.create_task(client.execute_command("ECHO", "second"))
    await asyncio.sleep(0)
    leaving.cancel()

    assert await staying == b"second"
    assert await client.execute_command("ECHO", "third") == b"third"


async def test_a_connection_that_was_lost_is_made_again_unseen(client: SharedConnectionRedis) -> None:
    connection = await client.execute_command("CLIENT", "ID")
    engine_redis().client_kill_filter(_id=connection)

    assert await client.execute_command("ECHO", "still here") == b"still here"
    assert await client.execute_command("CLIENT", "ID") != connection


async def test_without_redis_every_waiting_caller_is_told(unused_tcp_port: int) -> None:
    client = SharedConnectionRedis.from_url(f"redis://127.0.0.1:{unused_tcp_port}/0", socket_connect_timeout=1)

    told = await asyncio.gather(*(client.get("name") for _ in range(3)), return_exceptions=True)

    assert all(isinstance(error, UNAVAILABLE) for error in told)
    await client.aclose()


async def test_a_redis_that_says_nothing_is_given_up_after_the_timeout(unused_tcp_port: int) -> None:
    server = await asyncio.start_server(lambda reader, _writer: reader.read(), "127.0.0.1", unused_tcp_port)
    client = SharedConnectionRedis.from_url(f"redis://127.0.0.1:{unused_tcp_port}/0")
    client.timeout = 0.2

    with pytest.raises(UNAVAILABLE):
        await client.get("name")

    await client.aclose()
    server.close()


async def test_closing_ends_who_still_waits() -> None:
    client = new_shared_engine_redis()
    waiting = asyncio.create_task(client.get(key("shared", "never")))
    await asyncio.sleep(0)
    await client.aclose()

    with pytest.raises(UNAVAILABLE):
        await waiting


async def test_what_is_published_is_handed_out_until_the_connection_is_lost(client: SharedConnectionRedis) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    channel = key("shared", "channel")

    async with subscribed(client, channel, heard.put_nowait) as lost:
        await client.publish(channel, b"first")
        await client.publish(channel, b"second")
        assert [await heard.get(), await heard.get()] == [b"first", b"second"]
        assert not lost.is_set()
        engine_redis().client_kill_filter(_type="pubsub")
        await asyncio.wait_for(lost.wait(), 5)


async def test_without_redis_nobody_subscribes(unused_tcp_port: int) -> None:
    client = SharedConnectionRedis.from_url(f"redis://127.0.0.1:{unused_tcp_port}/0", socket_connect_timeout=1)

    with pytest.raises(UNAVAILABLE):
        async with subscribed(client, "channel", lambda _data: None):
            pass
    await client.aclose()
