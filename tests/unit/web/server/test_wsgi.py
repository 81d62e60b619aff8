"""Requests in threads, while others occupy all of them."""

import asyncio
import threading

import pytest
from flask import Flask

from flask_redis_counter.web.http.request import Request
from flask_redis_counter.web.server import wsgi
from flask_redis_counter.web.server.wsgi import FlaskThreads


class Client:
    """The connection of a request, as far as its environ needs it."""

    client = "127.0.0.1"
    scheme = "http"
    server = ("127.0.0.1", 5000)


@pytest.fixture
def release():
    """An event that lets the slow view return."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def app(release):
    """An app with a view that waits."""
    app = Flask("slow")

    @app.get("/slow")
    def slow():
        release.wait(30)
        return "slow"

    @app.get("/exit")
    def leave():
        raise SystemExit

    @app.get("/healthz")
    def healthz():
        return "alive"

    return app


def request(target):
    """Return a GET request."""
    return Request(Client(), "GET", target, {"host": "a"})


def test_monitoring_of_an_overloaded_worker(app, release, monkeypatch):
    """Excess requests get a 503 at once; the checks of orchestrators are still answered."""
    monkeypatch.setattr(wsgi, "MAX_QUEUED", wsgi.THREADS + 3)

    async def overload():
        threads = FlaskThreads(app)
        responses = []
        rejections = [
            threads.call(request(b"/slow"), responses.append) for _ in range(wsgi.THREADS + 5)
        ]
        assert [bool(one) for one in rejections] == [False] * (wsgi.THREADS + 3) + [True, True]
        assert rejections[-1].status == 503
        alive = asyncio.get_running_loop().create_future()
        assert threads.call(request(b"/healthz?a"), alive.set_result) is None
        assert (await asyncio.wait_for(alive, 10)).body == b"alive"
        assert responses == []
        release.set()
        async with asyncio.timeout(10):
            while len(responses) < wsgi.THREADS + 3:
                await asyncio.sleep(0.01)
        assert {response.body for response in responses} == {b"slow"}
        assert threads.call(request(b"/slow"), responses.append) is None
        threads.close()

    asyncio.run(overload())


def test_exit_in_a_view_is_answered(app, caplog):
    """A view that raises SystemExit gets a 500, and its thread goes on."""

    async def leave():
        threads = FlaskThreads(app)
        for _ in range(wsgi.THREADS + 1):
            answer = asyncio.get_running_loop().create_future()
            assert threads.call(request(b"/exit"), answer.set_result) is None
            assert (await asyncio.wait_for(answer, 10)).status == 500
        threads.close()

    asyncio.run(leave())
    assert "SystemExit" in caplog.text
