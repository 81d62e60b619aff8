"""Pages of an app during an outage: they are served fast, and the log is throttled."""

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
from flask_redis_counter.testing import wait_until

from .support import SLACK, nowhere, within

TIMEOUT = 0.5
PAGE = "{{ visits('a') }} {{ visits('b') }} {{ visits('c') }} {{ visits('d') }} {{ visits('e') }}"


def make_app(url, **settings):
    """Return an app with a page that counts once and reads five times, and its extension."""
    app = Flask("theirs")
    app.config.update(REDIS_URL=url, COUNTER_TIMEOUT=TIMEOUT, **settings)
    visits = FlaskRedisCounter(app)

    @app.get("/")
    @visits.counted("front")
    def index():
        return render_template_string(PAGE)

    return app, visits


def test_page_waits_once_for_a_frozen_store(own_server, caplog):
    """Twenty pages with six calls each take about one timeout, and count again afterwards."""
    app, visits = make_app(own_server.url)
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
    # A hit that was sent without a reply may have counted; the others have not.
    counted, unknown = outcomes["counted"], outcomes["unknown"]
    assert counted <= value <= counted + unknown
    failed = outcomes["not_counted"] + unknown
    assert failed >= 20
    unread = sum(page.text.count("None") for page in pages)
    suffix = "again (suppressed before this: {} similar lines)"
    assert sorted(caplog.messages[2:]) == [
        f"counters can be read {suffix.format(unread - 1)}",
        f"visits are counted {suffix.format(failed - 1)}",
    ]


def test_hit_asks_the_store_in_a_new_request(own_server):
    """The first hit after the store's return has a value."""
    app, visits = make_app(own_server.url)
    web = app.test_client()
    own_server.signal(signal.SIGSTOP)
    web.get("/")
    own_server.signal(signal.SIGCONT)
    with app.app_context():
        wait_until(lambda: visits.counter.ping() is None, what="the store")
        before = visits.counter.value("front")
        assert visits.hit("front").value == before + 1
    assert web.get("/").text == "0 0 0 0 0", "the breaker is closed again for the next page"


def test_request_waits_once_for_all_its_hits(own_server):
    """Later hits of the same request fail at once, and are not counted."""
    app, visits = make_app(own_server.url)

    @app.get("/orders")
    @visits.counted("orders")
    def orders():
        outcomes = []
        for _ in range(10):
            try:
                outcomes.append(visits.hit("orders").counted)
            except CounterError as error:
                outcomes.append(error.outcome)
        return outcomes

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


def test_pages_spool_while_the_breaker_is_open(own_server, tmp_path):
    """Each visit is spooled at once, and counted later."""
    app, visits = make_app(
        own_server.url, COUNTER_ON_OUTAGE="spool", COUNTER_SPOOL_DIR=str(tmp_path)
    )
    web = app.test_client()
    assert web.get("/").text == "0 0 0 0 0"
    own_server.signal(signal.SIGSTOP)
    with within(TIMEOUT + SLACK):
        for _ in range(20):
            assert web.get("/").status_code == 200
    own_server.signal(signal.SIGCONT)
    spool = Spool(tmp_path)
    wait_until(lambda: spool.pending_hits() == 0, what="the spool to be empty")
    with app.app_context():
        assert wait_until(lambda: visits.counter.value("front"), what="the value") == 21
        visits.counter.close()


def test_refused_connection_does_not_open_the_breaker(own_server):
    """The first page after the return of a stopped store counts."""
    app, visits = make_app(own_server.url)
    web = app.test_client()
    own_server.kill()
    for _ in range(3):
        web.get("/")
    # The first hit spent some time on retries, which opened the breaker for a moment.
    breaker = app.extensions["redis_counter"].breaker
    wait_until(lambda: not breaker.is_open(), what="the pause to be over")
    assert web.get("/").text == "None None None None None"
    own_server.start()
    assert web.get("/").text == "0 0 0 0 0"
    with app.app_context():
        assert visits.counter.value("front") == 1


def test_visits_reads_several_counters_in_one_round_trip(server, client, monkeypatch):
    """`visits("a", "b")` is a mapping, with None for a key that does not hold an integer."""
    app, visits = make_app(server.url)
    client.set("counter:{a}", 7)
    client.set("counter:{broken}", "text")
    round_trips = []
    with app.app_context():
        pool = visits.counter._pool
        round_trip = pool.round_trip
        monkeypatch.setattr(
            pool, "round_trip", lambda *given: round_trips.append(1) or round_trip(*given)
        )
        assert visits.visits("a", "b", "broken") == {"a": 7, "b": 0, "broken": None}
        assert len(round_trips) == 1
        template = "{% set seen = visits('a', 'b') %}{{ seen.a }} {{ seen.b }}"
        assert render_template_string(template) == "7 0"


def test_visits_of_several_counters_during_an_outage():
    """Each value is None, so that a template can use them."""
    app, visits = make_app(nowhere())
    with app.app_context():
        assert visits.visits("a", "b") == {"a": None, "b": None}


def test_disabled_app_needs_no_store(tmp_path):
    """With COUNTER_ENABLED=false pages work, and nothing is counted, read, written or started."""
    app, visits = make_app(
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


def test_app_in_testing_mode_counts(server, client):
    """`app.testing` has no effect of its own."""
    app, _ = make_app(server.url)
    app.testing = True
    app.test_client().get("/")
    assert client.get("counter:{front}") == b"1"


def test_disabled_service_is_an_error():
    """COUNTER_ENABLED is a setting for apps."""
    with pytest.raises(ConfigurationError, match="COUNTER_ENABLED"):
        create_app({"COUNTER_ENABLED": False})
