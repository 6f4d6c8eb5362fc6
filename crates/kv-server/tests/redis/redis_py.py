"""The server as redis for Python meets it: commands, pipelines, WATCH among threads, a pool."""

import asyncio
import sys
import threading

import redis
import redis.asyncio

port = int(sys.argv[1])


def commands(client):
    client.delete("k", "n", "a", "b")
    assert client.set("k", b"\x00\xff\r\n") is True
    assert client.get("k") == b"\x00\xff\r\n"
    assert client.get("nope") is None
    assert client.set("k", "v", nx=True) is None
    assert client.set("k", "v", ex=100, get=True) == b"\x00\xff\r\n"
    assert client.ttl("k") == 100
    assert client.incrbyfloat("n", 1.5) == 1.5
    assert client.mset({"a": 1, "b": 2}) and client.mget("a", "nope", "b") == [b"1", None, b"2"]
    assert sorted(client.scan_iter(match="[ab]", count=1)) == [b"a", b"b"]
    assert client.getrange("k", 0, 0) == b"v" and client.strlen("k") == 1
    assert client.rename("a", "c") and client.exists("a", "c") == 1 and client.delete("c") == 1
    try:
        client.incr("k")
        raise AssertionError("k is no number")
    except redis.ResponseError as error:
        assert "not an integer" in str(error)
    with client.pipeline(transaction=False) as pipe:
        assert pipe.set("p", 1).incr("p").get("p").execute() == [True, 2, b"2"]
    with client.pipeline() as pipe:
        assert pipe.set("p", 5).decr("p").execute() == [True, 4]
    assert client.info("server")["redis_version"].startswith("7.")
    assert client.config_get("maxmemory") == {"maxmemory": "0"}
    assert "get" in client.command() and client.client_id() > 0 and client.dbsize() >= 3


def transactions():
    with redis.Redis(port=port, single_connection_client=True) as client:
        client.delete("house")
        assert client.execute_command("BEGIN") == 1
        client.set("house", "small")
        assert redis.Redis(port=port).get("house") is None
        assert client.execute_command("COMMIT") in (True, b"OK", "OK")
        assert redis.Redis(port=port).get("house") == b"small"


def watch_among_threads():
    pool = redis.ConnectionPool(port=port, max_connections=8)
    client = redis.Redis(connection_pool=pool)
    client.delete("watched")

    def add():
        for _ in range(40):
            client.transaction(one_more, "watched")

    def one_more(pipe):
        now = int(pipe.get("watched") or 0)
        pipe.multi()
        pipe.set("watched", now + 1)

    threads = [threading.Thread(target=add) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get("watched") == b"240"


async def asynchronous():
    client = redis.asyncio.Redis(port=port, protocol=3)
    await client.delete("async")
    sums = await asyncio.gather(*(client.incr("async") for _ in range(50)))
    assert sorted(sums) == list(range(1, 51))
    await client.aclose()


for version in (2, 3):
    commands(redis.Redis(port=port, protocol=version))
transactions()
watch_among_threads()
asyncio.run(asynchronous())
print("all is well")
