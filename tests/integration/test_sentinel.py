"""A store behind Sentinels: URLs and clients, failovers, and Sentinels that fail."""

import asyncio
import signal
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from click.testing import CliRunner
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.sentinel import Sentinel

from flask_redis_counter import AsyncRedisCounter, RedisCounter
from flask_redis_counter.cli.main import main
from flask_redis_counter.errors import ConfigurationError, StoreError, StoreUnavailableError
from flask_redis_counter.store.subscriber import CounterSubscriber
from flask_redis_counter.testing import wait_until
from flask_redis_counter.testing.stacks.sentinel_group import SERVICE

from .support import SLACK, outcome, stored, wait_for_replicas, within


@contextmanager
def lying_sentinel(port):
    """Yield the address of a server that names the same port, whatever it is asked."""
    reply = f"*2\r\n$9\r\n127.0.0.1\r\n${len(str(port))}\r\n{port}\r\n".encode()
    master = b"*2\r\n$12\r\nconfig-epoch\r\n$6\r\n999999\r\n"
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=converse, args=(connection,), daemon=True).start()

    def converse(connection):
        with connection:
            while data := connection.recv(4096):
                commands = data.count(b"GET-MASTER-ADDR-BY-NAME"), data.count(b"\r\nMASTER\r\n")
                others = data.count(b"*") - sum(commands)
                connection.sendall(b"+OK\r\n" * others + reply * commands[0] + master * commands[1])

    threading.Thread(target=answer, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # ends the wait in accept()
        listener.close()


def retried(hit):
    """Return the value of the first hit that succeeds."""
    return wait_until(lambda: isinstance(it := outcome(hit), int) and it, timeout=20, what="a hit")


def test_hits_go_to_the_master_that_the_sentinels_name(group):
    """Hits, reads and changes work by URL, from threads and with asyncio."""
    with RedisCounter(group.url, timeout=5) as counter:
        assert counter.hit("visits").value == 1
        assert counter.value("visits") == 1
        assert counter.set("visits", 41) == 1

    async def count():
        async with AsyncRedisCounter(group.url, timeout=5) as counter:
            return (await counter.hit("visits")).value

    assert asyncio.run(count()) == 42
    assert stored(group) == 42


def test_hits_by_a_client_of_redis_py(group):
    """Clients of Sentinel.master_for() work, also if the Sentinel object is gone."""
    addresses = [("127.0.0.1", it.port) for it in group.sentinels]
    with RedisCounter(Sentinel(addresses).master_for(SERVICE), timeout=5) as counter:
        assert counter.hit("visits").value == 1

    async def count():
        client = AsyncSentinel(addresses).master_for(SERVICE)
        async with AsyncRedisCounter(client, timeout=5) as counter:
            return (await counter.hit("visits")).value

    assert asyncio.run(count()) == 2
    with pytest.raises(ConfigurationError, match="is a client for replicas"):
        RedisCounter(Sentinel(addresses).slave_for(SERVICE))
    with pytest.raises(ConfigurationError, match=r"method master_for\(\) returns"):
        RedisCounter(Sentinel(addresses))


def test_hits_continue_during_a_planned_failover(group):
    """No hit fails while the roles switch, and all hits after that go to the new master."""
    with RedisCounter(group.url, timeout=5) as counter:
        counter.hit("visits")
        old = group.named_master()
        group.client(group.sentinels[0]).execute_command("SENTINEL", "FAILOVER", SERVICE)
        while group.named_master() is old:
            counter.hit("before")
        wait_until(lambda: counter.hit("after") and stored(group, "after"), what="the new master")
        acknowledged = [counter.hit("visits").value for _ in range(100)]
        assert len(set(acknowledged)) == 100
        assert stored(group) == max(acknowledged)


def test_hits_find_the_new_master_after_a_crash(group):
    """After the death of the master, hits fail in time, and count once there is a new one."""
    with RedisCounter(group.url, timeout=0.5) as counter:
        assert counter.hit("visits").value == 1
        wait_for_replicas(group.client(group.named_master()))
        old = group.named_master()
        old.kill()
        with within(0.5 + SLACK):
            assert outcome(lambda: counter.hit("visits")) in ("not_counted", "unknown")
        assert retried(lambda: counter.hit("visits")) == 2
        group.wait_for_switch(old)
        old.start()  # it is a master until a Sentinel makes it a replica
        assert [counter.hit("visits").value for _ in range(20)] == list(range(3, 23))
        assert stored(group) == 22


def test_asyncio_finds_the_new_master_after_a_crash(group):
    """The same, awaited."""

    async def count():
        async with AsyncRedisCounter(group.url, timeout=0.5) as counter:
            values = [(await counter.hit("visits")).value]
            wait_for_replicas(group.client(group.named_master()))
            group.named_master().kill()
            async with asyncio.timeout(20):
                while len(values) < 5:
                    try:
                        values.append((await counter.hit("visits")).value)
                    except StoreError:
                        await asyncio.sleep(0.05)
            return values

    assert asyncio.run(count()) == [1, 2, 3, 4, 5]
    assert stored(group) == 5


def test_a_frozen_sentinel_delays_nothing(group):
    """A new counter finds the master at once if Sentinels hang."""
    group.sentinels[0].signal(signal.SIGSTOP)
    try:
        with RedisCounter(group.url, timeout=0.5) as counter:
            assert counter.hit("visits").value == 1
    finally:
        group.sentinels[0].signal(signal.SIGCONT)


def test_dead_sentinels(group):
    """Hits go on without Sentinels; a new counter fails in time, and says which are dead."""
    with RedisCounter(group.url, timeout=5) as counter:
        counter.hit("visits")
        for sentinel in group.sentinels:
            sentinel.kill()
        time.sleep(1.2)  # longer than an answer is valid
        assert counter.hit("visits").value == 2
    url = f"{group.url}?client_name=new"  # not the Sentinels that were asked before
    with (
        RedisCounter(url, timeout=0.5) as counter,
        within(0.5 + SLACK),
        pytest.raises(StoreUnavailableError) as caught,
    ):
        counter.hit("visits")
    assert f"no Sentinel names a master of '{SERVICE}'" in str(caught.value)
    for sentinel in group.sentinels:
        assert f"127.0.0.1:{sentinel.port}" in str(caught.value)


def test_a_lying_sentinel_is_outvoted(group):
    """A Sentinel that names a replica, a dead server or a wrong port costs no hit."""
    replica = next(it for it in group.servers if it is not group.named_master())
    for port in (replica.port, 1):
        with lying_sentinel(port) as address:
            url = group.url.replace("://", f"://{address},")
            with RedisCounter(url, timeout=5) as counter:
                assert counter.hit("visits").value == stored(group)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda group: group.url.replace(SERVICE, "other"), "knows no service 'other'"),
        (
            lambda group: f"redis+sentinel://127.0.0.1:{group.servers[0].port}/{SERVICE}",
            "it is not a Sentinel",
        ),
        (
            lambda group: f"{group.url}?sentinel_password=wrong",
            "it rejects the credentials",
        ),
    ],
)
def test_wrong_settings_are_named(group, change, message):
    """An unknown service, a server in place of a Sentinel and a wrong password are named."""
    with (
        RedisCounter(change(group), timeout=0.5) as counter,
        pytest.raises(StoreUnavailableError, match=message),
    ):
        counter.hit("visits")


def test_credentials(group):
    """The Sentinels' and the servers' credentials are different ones."""
    for sentinel in group.sentinels:
        group.client(sentinel).execute_command("ACL SETUSER", "default", "resetpass", ">asked")
    group.client(group.servers[0]).config_set("requirepass", "counted")
    url = group.url.replace("://", "://:counted@")
    with RedisCounter(f"{url}?sentinel_password=asked", timeout=5) as counter:
        assert counter.hit("visits").value == 1
    with (
        RedisCounter(url, timeout=0.5) as counter,
        pytest.raises(StoreUnavailableError, match="rejects the credentials"),
    ):
        counter.hit("visits")


def test_names_that_stop_resolving(group, monkeypatch):
    """Known Sentinels are followed through a failover; a new process says that none answers."""
    resolve, gone = socket.getaddrinfo, threading.Event()

    def look_up(host, *arguments, **options):
        if host == "sentinel.example":
            if gone.is_set():
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            host = "127.0.0.1"
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    url = group.url.replace("127.0.0.1", "sentinel.example")
    with RedisCounter(url, timeout=2) as counter:
        assert counter.hit("visits").value == 1
        gone.set()
        assert counter.hit("visits").value == 2
        group.fail_over()
        # The former master may still acknowledge this hit, which is then sent again.
        assert retried(lambda: counter.hit("visits")) == 3
        wait_until(lambda: counter.value("visits") == 3, timeout=10, what="a sum of 3")
        other = f"{url}?client_name=another"  # asks the Sentinels on connections of its own
        with (
            RedisCounter(other, timeout=0.5) as another,
            within(0.5 + SLACK),
            pytest.raises(StoreUnavailableError, match=r"no Sentinel names a master.*resolution"),
        ):
            another.hit("visits")


def test_only_replicas(group):
    """If the Sentinels name a replica, hits fail in time and say so."""
    port = next(it.port for it in group.servers if it is not group.named_master())
    with (
        lying_sentinel(port) as address,
        RedisCounter(f"redis+sentinel://{address}/{SERVICE}", timeout=0.5) as counter,
        within(0.5 + SLACK),
        pytest.raises(StoreUnavailableError, match="is a replica"),
    ):
        counter.hit("visits")


def test_live_values_after_a_failover(group):
    """A subscriber gets the notifications of the new master."""

    async def listen():
        seen = []
        subscriber = CounterSubscriber(group.url, seen.append)
        subscriber.subscribe("counter:{visits}")
        old = group.named_master()
        old.kill()
        async with AsyncRedisCounter(group.url, timeout=0.5) as counter, asyncio.timeout(20):
            while True:
                try:
                    await counter.hit("visits")
                    break
                except StoreError:
                    await asyncio.sleep(0.05)
            seen.clear()
            while not seen:
                await counter.hit("visits")
                await asyncio.sleep(0.1)
        subscriber.close()

    asyncio.run(listen())


def test_commands(group, tmp_path):
    """Commands work on a store behind Sentinels."""

    def run(*arguments, code=0):
        result = CliRunner().invoke(main, arguments, env={"REDIS_URL": group.url})
        assert result.exit_code == code, result.output
        return result.output

    assert run("hit", "visits") == "1\n"
    assert run("watch", "visits", "--times", "1") == "visits 1\n"
    assert "failure" not in run("doctor")
    exported = tmp_path / "counters.json"
    run("export", str(exported))
    run("delete", "visits")
    run("import", str(exported))
    assert run("get", "visits") == "1\n"
    group.client(group.servers[0]).set("plain", 7)
    run("import", "--redis", group.url, "--key", "plain", "--name", "other")
    assert run("get", "other") == "7\n"
