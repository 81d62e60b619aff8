"""Pages of an app whose store does not answer: fast, honest, and quiet in the log."""

import signal
import time

import pytest
from flask import Flask, render_template_string

from flask_redis_counter import (
    ConfigurationError,
    CounterError,
    FlaskRedisCounter,
    Spool,
    create_app,
)
from flask_redis_counter.store.pool import ConnectionPool
from flask_redis_counter.testing import wait_until

from .support import SLACK, nowhere, within

TIMEOUT = 0.5
PAGE = "{{ visits('a') }} {{ visits('b') }} {{ visits('c') }} {{ visits('d') }} {{ visits('e') }}"


def app_of(url, **settings):
    """Return an app with a page that counts once and reads five times, and its extension."""
    app = Flask("theirs")
    app.config.update(REDIS_URL=url, COUNTER_TIMEOUT=TIMEOUT, **settings)
    visits = FlaskRedisCounter(app)

    @app.get("/")
    @visits.counted("front")
    def index():
        return render_template_string(PAGE)

    return app, visits


def test_a_page_waits_once_for_a_frozen_store(own_server, caplog):
    """Twenty pages with six questions each cost about one deadline, and then count again."""
    app, visits = app_of(own_server.url)
    web = app.test_client()
    assert web.get("/").text == "0 0 0 0 0"
    own_server.signal(signal.SIGSTOP)
    with within(TIMEOUT + SLACK):
        pages = [web.get("/") for _ in range(20)]
    assert {(page.status_code, page.text) for page in pages} == {(200, "None None None None None")}
    assert len(caplog.messages) == 2, "one of the hits, one of the reads"
    own_server.signal(signal.SIGCONT)

    def is_over():
        pages.append(web.get("/"))
        return "visits are counted again" in caplog.text and "be read again" in caplog.text

    wait_until(is_over, what="that pages count and have their numbers")
    with app.app_context():
        value = visits.counter.value("front")
        outcomes = visits.counter.metrics.snapshot().outcomes
    # One that was asked in vain may have counted; those that were not asked have not.
    counted, unknown = outcomes["counted"], outcomes["unknown"]
    assert counted <= value <= counted + unknown
    failed = outcomes["not_counted"] + unknown
    assert failed >= 20
    unread = sum(page.text.count("None") for page in pages)
    said = "again (suppressed before this: {} similar lines)"
    assert sorted(caplog.messages[2:]) == [
        f"counters can be read {said.format(unread - 1)}",
        f"visits are counted {said.format(failed - 1)}",
    ]


def test_a_hit_in_a_view_asks_all_the_same(own_server):
    """Whoever wants a value gets it from the first hit after the store's return."""
    app, visits = app_of(own_server.url)
    web = app.test_client()
    own_server.signal(signal.SIGSTOP)
    web.get("/")
    own_server.signal(signal.SIGCONT)
    with app.app_context():
        wait_until(lambda: visits.counter.ping() is None, what="the store")
        before = visits.counter.value("front")
        assert visits.hit("front").value == before + 1
    assert web.get("/").text == "0 0 0 0 0", "that it answers holds for the next page"


def test_a_request_waits_once_whatever_it_asks(own_server):
    """Hits that follow in the same request fail at once, and say that they are not counted."""
    app, visits = app_of(own_server.url)

    @app.get("/orders")
    @visits.counted("orders")
    def orders():
        told = []
        for _ in range(10):
            try:
                told.append(visits.hit("orders").counted)
            except CounterError as error:
                told.append(error.outcome)
        return told

    web = app.test_client()
    assert web.get("/orders").json == [True] * 10
    own_server.signal(signal.SIGSTOP)
    with within(TIMEOUT + SLACK):
        assert web.get("/orders").json == ["not_counted"] * 10
    own_server.signal(signal.SIGCONT)
    assert web.get("/").status_code == 200
    with app.app_context():
        wait_until(lambda: visits.counter.ping() is None, what="the store")
        outcomes = visits.counter.metrics.snapshot().outcomes
        assert 11 <= visits.counter.value("orders") <= 11 + outcomes["unknown"]


def test_pages_spool_without_asking(own_server, tmp_path):
    """With a spool each visit is written down at once, and counts later."""
    app, visits = app_of(own_server.url, COUNTER_ON_OUTAGE="spool", COUNTER_SPOOL_DIR=str(tmp_path))
    web = app.test_client()
    assert web.get("/").text == "0 0 0 0 0"
    own_server.signal(signal.SIGSTOP)
    with within(TIMEOUT + SLACK):
        for _ in range(20):
            assert web.get("/").status_code == 200
    own_server.signal(signal.SIGCONT)
    spool = Spool(tmp_path)
    wait_until(lambda: spool.length() == 0, what="the spool to be empty")
    with app.app_context():
        assert wait_until(lambda: visits.counter.value("front"), what="the value") == 21
        visits.counter.close()


def test_a_refused_connection_is_not_remembered(own_server):
    """Where the store is stopped, and not silent, the first page after its return counts."""
    app, visits = app_of(own_server.url)
    web = app.test_client()
    own_server.kill()
    for _ in range(3):
        web.get("/")
    # What the first hit spent on its retries is over by now.
    breaker = app.extensions["redis_counter"].breaker
    wait_until(lambda: not breaker.is_open(), what="the pause to be over")
    assert web.get("/").text == "None None None None None"
    own_server.start()
    assert web.get("/").text == "0 0 0 0 0"
    with app.app_context():
        assert visits.counter.value("front") == 1


def test_several_values_are_one_question(server, client, monkeypatch):
    """`visits("a", "b")` is a mapping, with None for what is no integer, and one round trip."""
    app, visits = app_of(server.url)
    client.set("counter:{a}", 7)
    client.set("counter:{broken}", "text")
    round_trips = []
    round_trip = ConnectionPool.round_trip
    monkeypatch.setattr(
        ConnectionPool, "round_trip", lambda *given: round_trips.append(1) or round_trip(*given)
    )
    with app.app_context():
        assert visits.visits("a", "b", "broken") == {"a": 7, "b": 0, "broken": None}
        assert len(round_trips) == 1
        template = "{% set seen = visits('a', 'b') %}{{ seen.a }} {{ seen.b }}"
        assert render_template_string(template) == "7 0"


def test_several_values_while_the_store_is_away():
    """Each is None, so that a template can name them all the same."""
    app, visits = app_of(nowhere())
    with app.app_context():
        assert visits.visits("a", "b") == {"a": None, "b": None}


def test_no_store_for_tests(tmp_path):
    """COUNTER_ENABLED=false: pages work, nothing is counted, asked, written or started."""
    app, visits = app_of(
        nowhere(),
        COUNTER_ENABLED="false",
        COUNTER_ON_OUTAGE="spool",
        COUNTER_SPOOL_DIR=str(tmp_path / "spool"),
    )

    @app.get("/order")
    def order():
        hit = visits.hit("orders")
        return f"{hit.value} {hit.counted}"

    web = app.test_client()
    began = time.monotonic()
    assert web.get("/").text == "None None None None None"
    assert web.get("/order").text == "0 False"
    assert time.monotonic() - began < TIMEOUT
    assert not list(tmp_path.iterdir())
    with app.app_context():
        assert visits.visits("a", "b") == {"a": None, "b": None}
        assert set(visits.counter.metrics.snapshot().outcomes.values()) == {0}


def test_an_app_under_test_counts(server, client):
    """`app.testing` alone changes nothing."""
    app, _ = app_of(server.url)
    app.testing = True
    app.test_client().get("/")
    assert client.get("counter:{front}") == b"1"


def test_a_service_that_counts_nothing():
    """An error that says so: it is a setting for apps."""
    with pytest.raises(ConfigurationError, match="COUNTER_ENABLED"):
        create_app({"COUNTER_ENABLED": False})
