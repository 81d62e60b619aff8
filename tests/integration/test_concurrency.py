"""Expensive responses: computed one at a time, and some of them cached for a second."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_redis_counter import create_app
from flask_redis_counter.testing import wait_until
from flask_redis_counter.web import concurrency

from .support import KEY, problem

#: Paths and the counter's method that each calls.
EXPENSIVE = {
    "/stats": "overview",
    "/stats/visits.svg": "overview",
    "/counters/visits/series": "series",
}


@pytest.fixture
def app(server, client):
    """The service; its counter has the value 1."""
    client.set(KEY, 1)
    return create_app({"REDIS_URL": server.url, "COUNTER_TIMEOUT": 10})


def read(app, path, **headers):
    """Send a request as a new client."""
    return app.test_client().get(path, headers=headers)


@pytest.mark.parametrize("path", ["/stats", "/stats/visits.svg"])
def test_response_is_cached(app, client, monkeypatch, path):
    """A response is cached per value of its parameters, and computed again after the TTL."""
    monkeypatch.setattr(concurrency, "TTL", 60)
    before = read(app, path)
    assert before.status_code == 200
    client.hset("counter:{visits}:days", mapping={"last": "x"})  # changes the chart
    read(app, "/count")
    assert read(app, path).data == before.data
    assert read(app, f"{path}?days=7").data != before.data
    with monkeypatch.context() as later:
        later.setattr(concurrency, "monotonic", lambda: float("inf"))
        assert read(app, path).data != before.data


def test_cached_response_has_own_headers(app, monkeypatch):
    """Headers of a request are not cached; the others are."""
    monkeypatch.setattr(concurrency, "TTL", 60)
    for identity in ("a", "b"):
        chart = read(app, "/stats/visits.svg", **{"X-Request-ID": identity})
        assert chart.headers["X-Request-ID"] == identity
        assert chart.headers["ETag"]
    assert "X-Request-ID" not in read(app, "/stats/visits.svg").headers


def test_conditional_request_bypasses_the_cache(app, monkeypatch):
    """A conditional request gets a 304 only while the chart is unchanged."""
    monkeypatch.setattr(concurrency, "TTL", 60)
    tag = read(app, "/stats/visits.svg").headers["ETag"]
    assert read(app, "/stats/visits.svg", **{"If-None-Match": tag}).status_code == 304
    read(app, "/count")
    assert read(app, "/stats/visits.svg", **{"If-None-Match": tag}).status_code == 200


def test_error_is_not_cached(app, client, monkeypatch):
    """An error is not cached."""
    monkeypatch.setattr(concurrency, "TTL", 60)
    assert read(app, "/stats/new.svg").headers["Counter-Status"] == "404"
    client.set("counter:{new}", 1)
    assert "Counter-Status" not in read(app, "/stats/new.svg").headers


def test_cache_is_bounded(app, monkeypatch):
    """The oldest response is evicted."""
    monkeypatch.setattr(concurrency, "TTL", 60)
    for days in range(7, 9 + concurrency.MAX_CACHED):
        read(app, f"/stats?days={days}")
    (limiter,) = (
        one for one in app.extensions.values() if isinstance(one, concurrency.ConcurrencyLimiter)
    )
    assert len(limiter._cache) == concurrency.MAX_CACHED


@pytest.mark.parametrize("path", EXPENSIVE)
def test_one_response_at_a_time(app, client, monkeypatch, path):
    """One response is computed at a time; excess requests get a 503, and hits still count."""
    counter = app.extensions["redis_counter"].counter
    compute, free, running, most = getattr(counter, EXPENSIVE[path]), threading.Event(), [], []

    def slowly(*arguments, **options):
        running.append(1)
        most.append(len(running))
        assert free.wait(10)
        running.pop()
        return compute(*arguments, **options)

    monkeypatch.setattr(counter, EXPENSIVE[path], slowly)
    monkeypatch.setattr(concurrency, "LOCK_TIMEOUT", 10)
    with ThreadPoolExecutor(concurrency.MAX_REQUESTS) as pool:
        asked = [pool.submit(read, app, path) for _ in range(concurrency.MAX_REQUESTS)]
        (limiter,) = wait_until(
            lambda: [
                one
                for one in app.extensions.values()
                if isinstance(one, concurrency.ConcurrencyLimiter)
            ],
            what="a request",
        )
        wait_until(lambda: limiter._slots._value == 0, what="all places taken")
        refused = read(app, path)
        if path.endswith(".svg"):
            assert refused.headers["Counter-Status"] == "503"
        else:
            assert problem(refused, 503)["detail"].startswith("Too many")
        assert refused.headers["Retry-After"] == "1"
        assert read(app, "/count").json["value"] == 2
        free.set()
        assert [answer.result().status_code for answer in asked] == [200] * concurrency.MAX_REQUESTS
    assert set(most) == {1}
    assert client.get(KEY) == b"2"


def test_lock_timeout(app, monkeypatch):
    """A request that waits for the lock too long gets a 503."""
    counter = app.extensions["redis_counter"].counter
    free, begun = threading.Event(), threading.Event()
    monkeypatch.setattr(counter, "series", lambda *_, **__: begun.set() or (free.wait(10) and []))
    monkeypatch.setattr(concurrency, "LOCK_TIMEOUT", 0.01)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(read, app, "/counters/visits/series")
        assert begun.wait(10)
        problem(read(app, "/counters/visits/series"), 503)
        free.set()
        assert first.result().status_code == 200
