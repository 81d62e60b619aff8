"""Responses that cost much: computed one at a time, and some of them cached for a second."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_redis_counter import create_app
from flask_redis_counter.testing import wait_until
from flask_redis_counter.web import concurrency

from .support import KEY, problem

#: Each with what it asks of the counter.
COSTLY = {
    "/stats": "overview",
    "/stats/visits.svg": "overview",
    "/counters/visits/series": "series",
}


@pytest.fixture
def app(server, client):
    """The service, whose counter stands at 1."""
    client.set(KEY, 1)
    return create_app({"REDIS_URL": server.url, "COUNTER_TIMEOUT": 10})


def read(app, path, **headers):
    """Send a request of a client of its own."""
    return app.test_client().get(path, headers=headers)


@pytest.mark.parametrize("path", ["/stats", "/stats/visits.svg"])
def test_a_response_is_cached_for_a_second(app, client, monkeypatch, path):
    """For each value of its parameters; then it is computed again."""
    monkeypatch.setattr(concurrency, "TTL", 60)
    before = read(app, path)
    assert before.status_code == 200
    client.hset("counter:{visits}:days", mapping={"last": "x"})  # and the chart is another one
    read(app, "/count")
    assert read(app, path).data == before.data
    assert read(app, f"{path}?days=7").data != before.data
    with monkeypatch.context() as later:
        later.setattr(concurrency, "monotonic", lambda: float("inf"))
        assert read(app, path).data != before.data


def test_a_cached_response_has_no_header_of_another_request(app, monkeypatch):
    """Those that the app adds are each request's own; the others stay."""
    monkeypatch.setattr(concurrency, "TTL", 60)
    for identity in ("a", "b"):
        chart = read(app, "/stats/visits.svg", **{"X-Request-ID": identity})
        assert chart.headers["X-Request-ID"] == identity
        assert chart.headers["ETag"]
    assert "X-Request-ID" not in read(app, "/stats/visits.svg").headers


def test_a_conditional_request_is_not_answered_from_the_cache(app, monkeypatch):
    """It gets a 304 while the chart is the same."""
    monkeypatch.setattr(concurrency, "TTL", 60)
    tag = read(app, "/stats/visits.svg").headers["ETag"]
    assert read(app, "/stats/visits.svg", **{"If-None-Match": tag}).status_code == 304
    read(app, "/count")
    assert read(app, "/stats/visits.svg", **{"If-None-Match": tag}).status_code == 200


def test_an_error_is_not_cached(app, client, monkeypatch):
    """A page is right as soon as there is something to show."""
    monkeypatch.setattr(concurrency, "TTL", 60)
    assert read(app, "/stats/new.svg").headers["Counter-Status"] == "404"
    client.set("counter:{new}", 1)
    assert "Counter-Status" not in read(app, "/stats/new.svg").headers


def test_the_cache_is_bounded(app, monkeypatch):
    """The oldest response makes way for a new one."""
    monkeypatch.setattr(concurrency, "TTL", 60)
    for days in range(7, 9 + concurrency.MAX_CACHED):
        read(app, f"/stats?days={days}")
    (limiter,) = (
        one for one in app.extensions.values() if isinstance(one, concurrency.ConcurrencyLimiter)
    )
    assert len(limiter._cache) == concurrency.MAX_CACHED


@pytest.mark.parametrize("path", COSTLY)
def test_one_at_a_time_is_computed(app, client, monkeypatch, path):
    """Some wait for their turn, and the others are told at once to come back; hits count."""
    counter = app.extensions["redis_counter"].counter
    compute, free, running, most = getattr(counter, COSTLY[path]), threading.Event(), [], []

    def slowly(*arguments, **options):
        running.append(1)
        most.append(len(running))
        assert free.wait(10)
        running.pop()
        return compute(*arguments, **options)

    monkeypatch.setattr(counter, COSTLY[path], slowly)
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


def test_a_turn_that_does_not_come(app, monkeypatch):
    """503 after a while, also where there would be a place to wait."""
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
