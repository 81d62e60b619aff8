"""Live counters: events from real servers, also through outages."""

import asyncio
import json
import re
import signal
import socket
import sys
import threading
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
import redis
import requests

from flask_redis_counter import AsyncRedisCounter, RedisCounter, create_app
from flask_redis_counter.store import subscription
from flask_redis_counter.testing import wait_until
from flask_redis_counter.web.http.connection_table import ConnectionTable
from flask_redis_counter.web.server import events
from flask_redis_counter.web.server.events import EventBroadcaster

from .listening import allow_files, open_listeners, until
from .serving import Serve
from .support import KEY, nowhere, within
from .wire import Wire

CHANNEL = f"{KEY}:live"


class Listener:
    """A client that reads events, as a browser does.

    :ivar events: received names and values.
    :ivar ended: whether the stream has ended properly.
    """

    def __init__(self, port, query=""):
        url = f"http://127.0.0.1:{port}/live{query}"
        self._answer = requests.get(url, stream=True, timeout=30)
        self.status, self.headers = self._answer.status_code, self._answer.headers
        self.events = []
        self.ended = False
        if self.status == 200:
            self._socket = self._answer.raw._fp.fp.raw._sock
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()

    def _read(self):
        with suppress(requests.RequestException):  # cut off
            for line in self._answer.iter_lines():
                if line.startswith(b"data: "):
                    event = json.loads(line[6:])
                    self.events.append((event["name"], event["value"]))
            self.ended = True

    def hears(self, name, value):
        """Wait until the last event has this value."""
        wait_until(lambda: self.events[-1] == (name, value), what=f"{name}: {value}")

    def close(self):
        """Disconnect."""
        if self.status == 200:
            with suppress(OSError):  # the stream has ended, or was closed before
                self._socket.shutdown(socket.SHUT_RDWR)
            self._reader.join(10)  # it must not read from a closed stream
        self._answer.close()


@pytest.fixture
def serve(tmp_path):
    """Start `serve`; kill it after the test if it still runs."""
    with ExitStack() as stopping:

        def start(url, workers=1, **settings):
            log = tmp_path / f"log{len(list(tmp_path.glob('log*')))}"
            run = Serve(log, f"--workers={workers}", REDIS_URL=url, **settings)
            stopping.callback(run.stop)
            return run.ready()

        yield start


@pytest.fixture
def listen():
    """Open streams; close all after the test."""
    with ExitStack() as closing:

        def start(run, query=""):
            listener = Listener(run.port, query)
            closing.callback(listener.close)
            return listener

        yield start


@pytest.fixture
def counter(server, client):
    """The counters, as another process hits them."""
    with RedisCounter(server.url, timeout=10) as counter:
        yield counter


def test_events_of_another_process(serve, listen, server, counter):
    """The first event has the current value, each change sends another; also of a new counter."""
    counter.hit("visits", 41)
    run = serve(server.url)
    listener, other = listen(run), listen(run, "?name=orders&name=visits")
    assert listener.status == 200
    assert listener.headers["Content-Type"].startswith("text/event-stream")
    assert listener.headers["Cache-Control"] == "no-store"
    listener.hears("visits", 41)
    counter.hit("visits")
    listener.hears("visits", 42)
    other.hears("visits", 42)
    counter.hit("orders", 2**63 - 1)
    other.hears("orders", 2**63 - 1)
    counter.set("visits", 7)
    listener.hears("visits", 7)
    run.get()
    listener.hears("visits", 8)
    assert {name for name, _ in listener.events} == {"visits"}


def test_events_of_all_workers(serve, listen, server, client):
    """Each worker sends events of all hits, and has one connection for all its listeners."""
    run = serve(server.url, workers=2)
    listeners = [listen(run) for _ in range(12)]
    for value in range(1, 6):
        assert run.get().json()["value"] == value
    for listener in listeners:
        listener.hears("visits", 5)
    # A connection that has just had a message is unsubscribed for a moment.
    assert wait_until(lambda: len(client.client_list(_type="pubsub")), what="subscriptions") <= 2


def test_events_are_throttled(serve, listen, server, client, counter):
    """Many hits are about four events per second, with the newest value at the end."""
    run = serve(server.url)
    listener = listen(run)
    wait_until(lambda: client.pubsub_numsub(CHANNEL)[0][1], what="a subscription")
    for _ in range(2000):
        counter.hit("visits")
        if len(listener.events) >= 5:
            break
    hits = counter.value("visits")
    listener.hears("visits", hits)
    assert hits > 20
    assert len(listener.events) <= 8


def test_max_listeners(serve, listen, server, client):
    """One listener too many gets a 503 before a stream is opened; a slot is freed on disconnect."""
    run = serve(server.url, COUNTER_MAX_LISTENERS="2")
    listeners = [listen(run), listen(run)]
    refused = run.get("/live")
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["Content-Type"] == "application/problem+json"
    listeners[0].close()
    wait_until(lambda: listen(run).status == 200, what="a seat")
    assert run.get("/live").status_code == 503
    assert run.get().json()["value"] == 1


def test_client_that_ends_its_direction(serve, server, client):
    """A client that sends no more has left: its stream ends, and its slot is free at once."""
    run = serve(server.url, COUNTER_MAX_LISTENERS="1")
    for more in (b"", b"GE", b"GET /count HTTP/1.1\r\nHost: a\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", run.port), timeout=10) as left:
            left.sendall(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
            assert left.recv(1000).startswith(b"HTTP/1.1 200 ")
            left.sendall(more)
            left.shutdown(socket.SHUT_WR)
            with within(3):  # before a heartbeat
                while left.recv(1000):
                    pass
    assert client.get(KEY) is None


def test_stream_of_http10_is_the_last_response(serve, server, client):
    """Its body ends with the connection: a hit behind it is neither counted nor answered."""
    run = serve(server.url)
    with socket.create_connection(("127.0.0.1", run.port), timeout=10) as listening:
        head = b"GET /live HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
        listening.sendall(head + 50 * b"GET /count HTTP/1.1\r\nHost: a\r\n\r\n")
        received = listening.recv(1000)
        assert b"Connection: close\r\n" in received
        assert run.stop() == 0
        while more := listening.recv(1000):
            received += more
    assert received.count(b"HTTP/1.1 200") == 1
    assert client.get(KEY) is None


def test_connection_without_listeners(serve, listen, server, client):
    """The connection to the store is closed with the last listener."""
    run = serve(server.url)
    listeners = [listen(run), listen(run, "?name=orders")]
    wait_until(lambda: client.pubsub_numsub(CHANNEL)[0][1], what="a subscription")
    for listener in listeners:
        listener.close()
    wait_until(lambda: not client.client_list(_type="pubsub"), what="the end of it")


def test_events_after_an_outage(serve, listen, own_server):
    """After an outage the stream continues with the current value."""
    run = serve(own_server.url)
    listener = listen(run)
    assert run.get().json()["value"] == 1
    listener.hears("visits", 1)
    own_server.kill()
    late = listen(run)
    assert late.status == 200
    own_server.start()
    wait_until(lambda: run.get().json().get("value") == 2, what="a hit")
    for one in (listener, late):
        one.hears("visits", 2)
    run.get()
    listener.hears("visits", 3)


def test_stop_ends_streams(serve, listen, server, client):
    """A stop does not wait for listeners."""
    run = serve(server.url, workers=2)
    listeners = [listen(run) for _ in range(10)]
    with within(2):
        assert run.stop() == 0
    wait_until(lambda: all(listener.ended for listener in listeners), what="the end")
    assert "Traceback" not in run.log()


async def count_repeatedly(port, clients, stopping):
    """Send hits on several connections; return the values and the longest time of a response."""

    async def count():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        values, longest = [], 0.0
        while not stopping.is_set():
            begun = loop.time()
            writer.write(b"GET /count HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            size = int(re.search(rb"Content-Length: (\d+)", head)[1])
            values.append(json.loads(await reader.readexactly(size))["value"])
            longest = max(longest, loop.time() - begun)
        writer.close()
        return values, longest

    loop = asyncio.get_running_loop()
    results = await asyncio.gather(*(count() for _ in range(clients)))
    return [value for values, _ in results for value in values], max(one for _, one in results)


def test_thousand_listeners(serve, server, client):
    """1,000 clients listen to one worker while it counts; each gets the last value and an end."""
    allow_files(1500)
    run = serve(server.url)

    async def listen():
        stopping = asyncio.Event()
        counting = asyncio.create_task(count_repeatedly(run.port, 8, stopping))
        listeners = await open_listeners(run.port, 1000)
        assert {one.status for one in listeners} == {200}
        for one in listeners:
            one.values.clear()
        await until(lambda: all(len(one.values) >= 3 for one in listeners))
        stopping.set()
        values, longest = await counting
        assert sorted(values) == list(range(1, len(values) + 1))
        assert longest < 1
        await until(lambda: all(one.values[-1] == len(values) for one in listeners))
        assert all(one.values == sorted(set(one.values)) for one in listeners)
        refused = await asyncio.to_thread(run.get, "/live")
        assert refused.status_code == 503
        with within(3):
            assert await asyncio.to_thread(run.stop) == 0
        await until(lambda: all(one.lost for one in listeners))
        assert all(one.ended for one in listeners)
        assert "Traceback" not in run.log()

    asyncio.run(listen())


@pytest.mark.parametrize(
    ("query", "status"),
    [("?name=a%20b", 400), ("?names=a", 400), ("?" + "&".join(["name=a"] * 21), 400)],
)
def test_stream_rejects_invalid_requests(query, status):
    """An invalid request is an error at once."""
    web = create_app({"REDIS_URL": nowhere()}).test_client()
    assert web.get(f"/live{query}").status_code == status


def test_live_off(serve, server):
    """With live events turned off the route is a 404, and pages work without them."""
    run = serve(server.url, COUNTER_MAX_LISTENERS="0")
    assert run.get("/live").status_code == 404
    assert "live.js" not in run.get("/").text


def test_head_of_the_stream(serve, server):
    """HEAD returns the headers of the stream, and needs no slot."""
    run = serve(server.url, COUNTER_MAX_LISTENERS="1")
    for _ in range(3):
        answer = requests.head(f"http://127.0.0.1:{run.port}/live", timeout=5)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")


def test_live_under_another_server():
    """Under another server the route is a 501, and pages work without events."""
    web = create_app({"REDIS_URL": nowhere()}).test_client()
    response = web.get("/live")
    assert response.status_code == 501
    assert "production server" in response.json["detail"]
    assert "live.js" not in web.get("/").text


def test_hits_without_the_right_to_publish(server, client):
    """Hits are counted if the store's user has no right to publish."""
    client.acl_setuser(
        "quiet", enabled=True, nopass=True, keys="*", commands=["+@all"], reset_channels=True
    )
    with RedisCounter(server.url.replace("//", "//quiet:x@"), timeout=10) as quiet:
        assert quiet.hit("visits", visitor="someone").value == 1
        assert quiet.hit("visits", idempotency_key="t").value == 2
        assert quiet.set("visits", 5) == 2
        assert quiet.series("visits", days=1)[0].hits == 2
    client.acl_deluser("quiet")


class NoApplication:
    """An application that answers nothing: the test opens the stream."""

    max_body_bytes = 0

    def start(self, request, is_first):
        """Keep the request."""
        request.is_exclusive = True
        self.request = request
        return True


def open_wire(broadcaster, table, *names):
    """Let a client listen to counters; return its connection."""
    application = NoApplication()
    wire = Wire().connect(table, application)
    wire.receive(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
    slot = broadcaster.reserve()
    slot.names = list(names)
    broadcaster.open(application.request, [], slot)
    return wire


@asynccontextmanager
async def live_on(url):
    """Open a broadcaster with one wire that listens to the own counter."""
    async with AsyncRedisCounter(url) as counter:
        broadcaster = EventBroadcaster(url, counter, 5)
        table = ConnectionTable(asyncio.get_running_loop(), 10)
        wire = open_wire(broadcaster, table, "visits")
        yield broadcaster, table, wire, counter
        broadcaster.close()


@contextmanager
def quick(monkeypatch):
    """Shorten the intervals."""
    with monkeypatch.context() as patch:
        patch.setattr(events, "HEARTBEAT", 0.05)
        patch.setattr(events, "READ_RETRY_DELAY", 0.05)
        patch.setattr(subscription, "KEEPALIVE_INTERVAL", 0.2)
        yield


def test_heartbeat(server, client, monkeypatch):
    """Comments are sent if there are no changes, also during an outage."""

    async def listen(url):
        async with live_on(url) as (_, _, wire, _):
            await until(lambda: wire.sent.count(b"\r\n:\n\n\r\n") >= 3)
            return wire.sent

    with quick(monkeypatch):
        for url in (server.url, nowhere()):
            assert re.search(rb"\r\n\r\nd\r\nretry: \d{4}\n\n\r\n", asyncio.run(listen(url)))


def test_reconnection_is_spread(server, client):
    """Browsers are told different times for their reconnection, one to four seconds."""

    async def listen():
        async with live_on(server.url) as (broadcaster, table, _, _):
            wires = [open_wire(broadcaster, table, "visits") for _ in range(4)]
            return [int(re.search(rb"retry: (\d+)\n\n", wire.sent)[1]) for wire in wires]

    delays = [delay for _ in range(3) for delay in asyncio.run(listen())]
    assert 1000 <= min(delays) < max(delays) <= 4000


def test_frozen_store(own_server, monkeypatch):
    """A frozen store is detected by its silence, and events continue afterwards."""

    async def listen():
        async with live_on(own_server.url) as (broadcaster, _, wire, counter):
            await counter.hit("visits")
            await until(lambda: b'"value": 1' in wire.sent)
            [subscribed] = broadcaster._subscriber._subscriptions.values()
            first = subscribed._connection
            own_server.signal(signal.SIGSTOP)
            await until(lambda: subscribed._connection is not first)
            own_server.signal(signal.SIGCONT)
            await until(lambda: subscribed._connection is not None)
            with redis.Redis.from_url(own_server.url) as client:
                client.incr(KEY)
                client.publish(CHANNEL, "")
            await until(lambda: b'"value": 2' in wire.sent)

    with quick(monkeypatch):
        asyncio.run(listen())


def test_events_of_an_invalid_counter(server, client):
    """An invalid counter sends no events, and others still do."""
    client.set(KEY, "text")

    async def listen():
        async with live_on(server.url) as (broadcaster, table, wire, counter):
            other = open_wire(broadcaster, table, "visits", "other")
            await counter.hit("other")
            await until(lambda: b'{"name": "other", "value": 1}' in other.sent)
            assert b"visits" not in wire.sent + other.sent

    asyncio.run(listen())


def test_events_of_another_database(server, client):
    """Hits in another database, which shares the channels, do not change the value."""
    client.set(KEY, 5)

    async def listen():
        async with live_on(server.url) as (_, _, wire, _):
            await until(lambda: b'"value": 5' in wire.sent)
            elsewhere = server.url.removesuffix("0") + "1"
            async with AsyncRedisCounter(elsewhere) as other:
                await other.hit("visits", 100)
            client.incr(KEY)
            client.publish(CHANNEL, "")
            await until(lambda: b'"value": 6' in wire.sent)
            assert b'"value": 100' not in wire.sent

    asyncio.run(listen())


def test_client_that_does_not_read(server, client):
    """A client that does not read holds up no other; it gets the newest value when it reads."""

    async def listen():
        async with live_on(server.url) as (broadcaster, table, wire, counter):
            stuck = open_wire(broadcaster, table, "visits")
            await until(lambda: b"retry" in stuck.sent)
            stuck.pause()
            before = stuck.sent
            for value in (1, 2, 3):
                await counter.hit("visits")
                await until(lambda value=value: b'"value": %d' % value in wire.sent)
            assert stuck.sent == before
            stuck.resume()
            await until(lambda: b'"value": 3' in stuck.sent)
            assert b'"value": 2' not in stuck.sent

    asyncio.run(listen())


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's table of connections")
def test_listener_that_never_reads(serve, listen, server, client, counter):
    """It holds up no other, takes little of the kernel's memory, and is closed after 15 seconds."""
    names = [f"{'long' * 15}-{number}" for number in range(20)]
    query = "?" + "&".join(f"name={name}" for name in names)
    run = serve(server.url, COUNTER_MAX_LISTENERS="2")
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", run.port))
        stuck.sendall(f"GET /live{query} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        ends = [f":{port:04X}" for port in (run.port, stuck.getsockname()[1])]

        def unsent_bytes():
            """Return the number of unsent bytes in the kernel; None: the connection is closed."""
            for row in Path("/proc/net/tcp").read_text().splitlines():
                _, local, remote, state, queues, *_ = row.split()
                if state == "01" and local.endswith(ends[0]) and remote.endswith(ends[1]):
                    return int(queues.partition(":")[0], 16)
            return None

        wait_until(lambda: unsent_bytes() is not None, what="a stream")
        reading, peak = listen(run, query), 0
        assert reading.status == 200

        def is_closed():
            """Let all counters change; the listener that reads hears of it."""
            nonlocal peak
            for name in names:
                value = counter.hit(name).value
            wait_until(lambda: (names[-1], value) in reading.events, what="an event", timeout=2)
            unsent = unsent_bytes()
            peak = max(peak, unsent or 0)
            return unsent is None

        wait_until(is_closed, what="the end", pause=0)
        assert 10_000 < peak < 60_000
        assert listen(run).status == 200


def test_slot_of_a_lost_connection(server, client):
    """A slot is free again when its connection is lost, also before the stream is open."""

    async def listen():
        async with live_on(server.url) as (broadcaster, table, _, _):
            for _ in range(10):
                application = NoApplication()
                lost = Wire().connect(table, application)
                lost.receive(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
                slot = broadcaster.reserve()
                assert slot.is_free
                slot.names = ["visits"]
                lost.disconnect()
                await asyncio.sleep(0)
                broadcaster.open(application.request, [], slot)
                await asyncio.sleep(0)
            wires = [open_wire(broadcaster, table, "visits") for _ in range(4)]
            assert not broadcaster.reserve().is_free
            wires[0].disconnect()
            await until(lambda: broadcaster.reserve().is_free)

    asyncio.run(listen())


def test_closed_broadcaster(server, client):
    """A closed broadcaster has ended its streams, has no free slot, and opens none."""

    async def listen():
        async with live_on(server.url) as (broadcaster, table, wire, _):
            broadcaster.close()
            assert wire.sent.endswith(b"0\r\n\r\n")
            assert not broadcaster.reserve().is_free
            late = open_wire(broadcaster, table, "visits")
            assert late.sent.endswith(b"0\r\n\r\n")

    asyncio.run(listen())
