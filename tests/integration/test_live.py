"""Live counters: events from real servers, and what becomes of them in an outage."""

import asyncio
import json
import signal
import socket
import threading
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress

import pytest
import redis
import requests

from flask_redis_counter import AsyncRedisCounter, RedisCounter, create_app
from flask_redis_counter.store import subscriber
from flask_redis_counter.testing import wait_until
from flask_redis_counter.web.rsgi import events
from flask_redis_counter.web.rsgi.events import EventBroadcaster

from .support import KEY, nowhere, within
from .test_serve import Serve

CHANNEL = f"{KEY}:live"


class Listener:
    """Somebody who listens, as a browser does.

    :ivar events: names and values, as they came.
    :ivar ended: whether the stream is over, as it should be.
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
        """Wait until it hears that, as the last thing."""
        wait_until(lambda: self.events[-1] == (name, value), what=f"{name}: {value}")

    def close(self):
        """Go away."""
        if self.status == 200:
            with suppress(OSError):  # it has ended, or was closed before
                self._socket.shutdown(socket.SHUT_RDWR)
            self._reader.join(10)  # it must not read on what is closed
        self._answer.close()


@pytest.fixture
def serve(tmp_path):
    """Start `serve`; whatever still runs afterwards is stopped."""
    with ExitStack() as stopping:

        def start(url, workers=1, **settings):
            log = tmp_path / f"log{len(list(tmp_path.glob('log*')))}"
            run = Serve(log, f"--workers={workers}", REDIS_URL=url, **settings)
            stopping.callback(run.stop)
            return run.ready()

        yield start


@pytest.fixture
def listen():
    """Open streams; all are closed afterwards."""
    with ExitStack() as closing:

        def start(run, query=""):
            listener = Listener(run.port, query)
            closing.callback(listener.close)
            return listener

        yield start


@pytest.fixture
def counter(server, client):
    """The counters, as another process counts on them."""
    with RedisCounter(server.url, timeout=10) as counter:
        yield counter


def test_what_another_counts_is_heard(serve, listen, server, counter):
    """First how it stands, then each new value; of a counter that is made later as well."""
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


def test_all_workers_hear(serve, listen, server, client):
    """Whichever of them counts; each has one connection for all its listeners."""
    run = serve(server.url, workers=2)
    listeners = [listen(run) for _ in range(12)]
    for value in range(1, 6):
        assert run.get().json()["value"] == value
    for listener in listeners:
        listener.hears("visits", 5)
    assert 1 <= len(client.client_list(_type="pubsub")) <= 2


def test_many_hits_are_few_events(serve, listen, server, client, counter):
    """About four a second, and the newest value at the end."""
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


def test_a_seat_is_free_again(serve, listen, server, client):
    """Beyond the bound it is 503, before anything is opened; who goes away makes room."""
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


def test_nobody_listens_any_more(serve, listen, server, client):
    """The connection to the store is closed with the last listener."""
    run = serve(server.url)
    listeners = [listen(run), listen(run, "?name=orders")]
    wait_until(lambda: client.pubsub_numsub(CHANNEL)[0][1], what="a subscription")
    for listener in listeners:
        listener.close()
    wait_until(lambda: not client.client_list(_type="pubsub"), what="the end of it")


def test_a_store_that_comes_back(serve, listen, own_server):
    """The stream goes on, and what was missed is heard."""
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


def test_a_stop_ends_the_streams(serve, listen, server, client):
    """It does not wait for those who listen."""
    run = serve(server.url, workers=2)
    listeners = [listen(run) for _ in range(10)]
    with within(2):
        assert run.stop() == 0
    wait_until(lambda: all(listener.ended for listener in listeners), what="the end")
    assert "Traceback" not in run.log()


@pytest.mark.parametrize(
    ("query", "status"),
    [("?name=a%20b", 400), ("?names=a", 400), ("?" + "&".join(["name=a"] * 21), 400)],
)
def test_what_cannot_be_heard(query, status):
    """It is said at once."""
    web = create_app({"REDIS_URL": nowhere()}).test_client()
    assert web.get(f"/live{query}").status_code == status


def test_where_it_is_off(serve, server):
    """404, and the pages do without."""
    run = serve(server.url, COUNTER_MAX_LISTENERS="0")
    assert run.get("/live").status_code == 404
    assert "live.js" not in run.get("/").text


def test_head(serve, server):
    """The headers of the events, and an end: nobody takes a seat."""
    run = serve(server.url, COUNTER_MAX_LISTENERS="1")
    for _ in range(3):
        answer = requests.head(f"http://127.0.0.1:{run.port}/live", timeout=5)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")


def test_under_another_server():
    """501, and the pages do without."""
    web = create_app({"REDIS_URL": nowhere()}).test_client()
    response = web.get("/live")
    assert response.status_code == 501
    assert "production server" in response.json["detail"]
    assert "live.js" not in web.get("/").text


def test_a_user_without_channels_counts(server, client):
    """What nobody can be told is counted all the same."""
    client.acl_setuser(
        "quiet", enabled=True, nopass=True, keys="*", commands=["+@all"], reset_channels=True
    )
    with RedisCounter(server.url.replace("//", "//quiet:x@"), timeout=10) as quiet:
        assert quiet.hit("visits", visitor="someone").value == 1
        assert quiet.hit("visits", idempotency_key="t").value == 2
        assert quiet.set("visits", 5) == 2
        assert quiet.series("visits", days=1)[0].hits == 2
    client.acl_deluser("quiet")


class Wire:
    """A connection as Granian has it."""

    def __init__(self):
        self.sent = []
        self.gone = asyncio.Event()
        self.blocked = False

    def response_stream(self, status, headers):
        """Begin."""
        return self

    async def send_str(self, text):
        """Take a text; one that is blocked does not."""
        if self.blocked:
            await asyncio.Event().wait()
        self.sent.append(text)

    async def client_disconnect(self):
        """Wait for the client's end."""
        await self.gone.wait()


async def until(look):
    """Wait for something in the event loop."""
    async with asyncio.timeout(30):
        while not look():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def live_on(url):
    """Open a broadcaster with one wire that listens to the own counter."""
    async with AsyncRedisCounter(url) as counter:
        broadcaster = EventBroadcaster(url, counter, 5)
        wire = Wire()
        serving = asyncio.ensure_future(broadcaster.serve(wire, [], ["visits"]))
        yield broadcaster, wire, counter
        broadcaster.close()
        await serving


@contextmanager
def quick(monkeypatch):
    """Let what takes long be short."""
    with monkeypatch.context() as patch:
        patch.setattr(events, "HEARTBEAT", 0.05)
        patch.setattr(events, "READ_RETRY_DELAY", 0.05)
        patch.setattr(subscriber, "KEEPALIVE_INTERVAL", 0.2)
        yield


def test_a_sign_of_life(server, client, monkeypatch):
    """Comments, where there is nothing to say; also while the store is away."""

    async def listen(url):
        async with live_on(url) as (_, wire, _):
            await until(lambda: wire.sent.count(":\n\n") >= 3)
            return wire.sent[0]

    with quick(monkeypatch):
        assert asyncio.run(listen(server.url)) == "retry: 2000\n\n"
        assert asyncio.run(listen(nowhere())) == "retry: 2000\n\n"


def test_a_store_that_freezes(own_server, monkeypatch):
    """It is noticed by its silence, and heard again afterwards."""

    async def listen():
        async with live_on(own_server.url) as (broadcaster, wire, counter):
            await counter.hit("visits")
            await until(lambda: '"value": 1' in str(wire.sent))
            first = broadcaster._subscriber._connection
            own_server.signal(signal.SIGSTOP)
            await until(lambda: broadcaster._subscriber._connection is not first)
            own_server.signal(signal.SIGCONT)
            await until(lambda: broadcaster._subscriber._connection is not None)
            with redis.Redis.from_url(own_server.url) as client:
                client.incr(KEY)
                client.publish(CHANNEL, "")
            await until(lambda: '"value": 2' in str(wire.sent))

    with quick(monkeypatch):
        asyncio.run(listen())


def test_a_counter_that_breaks(server, client):
    """It is not heard, and the others are."""
    client.set(KEY, "text")

    async def listen():
        async with live_on(server.url) as (broadcaster, wire, counter):
            other = Wire()
            serving = asyncio.ensure_future(broadcaster.serve(other, [], ["visits", "other"]))
            await counter.hit("other")
            await until(lambda: '{"name": "other", "value": 1}' in str(other.sent))
            assert "visits" not in str(wire.sent + other.sent)
            other.gone.set()
            await serving

    asyncio.run(listen())


def test_another_database_is_not_heard(server, client):
    """A channel is the whole server's; the value is the counter's own."""
    client.set(KEY, 5)

    async def listen():
        async with live_on(server.url) as (_, wire, _):
            await until(lambda: '"value": 5' in str(wire.sent))
            elsewhere = server.url.removesuffix("0") + "1"
            async with AsyncRedisCounter(elsewhere) as other:
                await other.hit("visits", 100)
            client.incr(KEY)
            client.publish(CHANNEL, "")
            await until(lambda: '"value": 6' in str(wire.sent))
            assert '"value": 100' not in str(wire.sent)

    asyncio.run(listen())


def test_a_client_that_does_not_read(server, client):
    """It keeps nobody from being served, nor from an end."""

    async def listen():
        async with live_on(server.url) as (broadcaster, wire, counter):
            stuck = Wire()
            stuck.blocked = True
            serving = asyncio.ensure_future(broadcaster.serve(stuck, [], ["visits"]))
            await counter.hit("visits")
            await until(lambda: '"value": 1' in str(wire.sent))
            broadcaster.close()
            await asyncio.wait_for(serving, 5)
            with broadcaster.reserve() as slot:
                assert not slot.free
            await asyncio.wait_for(broadcaster.serve(Wire(), [], ["visits"]), 5)

    asyncio.run(listen())
