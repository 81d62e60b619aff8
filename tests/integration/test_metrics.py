"""Metrics, and whether they add up."""

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from flask_redis_counter.testing import wait_until
from flask_redis_counter.web.routes import metrics

from .support import KEY, MAX, problem

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


def samples(web):
    """Return the samples of a scrape."""
    response = web.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parse(response.text)
        for sample in family.samples
    }


def outcomes_of(web):
    """Return the number of hits by outcome."""
    return {
        labels[0]: count
        for (name, *labels), count in samples(web).items()
        if name == "counter_hits_total" and count
    }


def test_metrics_before_the_first_hit(web):
    """All outcomes exist from the start, so that a rate begins at 0."""
    found = samples(web)
    assert found["counter_hits_total", "counted"] == 0
    assert found["counter_hits_total", "unknown"] == 0
    assert found["counter_hit_duration_seconds_count",] == 0
    assert found["counter_batch_hits_bucket", "+Inf"] == 0
    assert found["counter_store_up",] == 1
    assert found["counter_store_memory_bytes",] > 0
    assert "counter_spool_hits" not in {name for name, *_ in found}


def test_hits_add_up_to_the_value(web, client):
    """Hits of all routes add up to the value; reads are not hits."""
    web.get("/count")
    web.get("/count", headers={"Accept": "text/html"})
    web.post("/counters/visits/hits?amount=40")
    web.get("/hit/visits.svg")
    web.get("/counters/visits")
    web.head("/count")
    found = samples(web)
    assert outcomes_of(web) == {"counted": 4}
    assert found["counter_added_total",] == int(client.get(KEY)) == 43
    assert found["counter_hit_duration_seconds_count",] == 4
    assert found["counter_hit_duration_seconds_bucket", "+Inf"] == 4
    assert found["counter_hit_duration_seconds_sum",] > 0
    assert found["counter_batch_hits_sum",] == 4


def test_hits_that_add_nothing(server, client, client_of):
    """Replayed, skipped and rejected hits are counted by outcome, and add nothing."""
    web = client_of(REDIS_URL=server.url, COUNTER_TIMEOUT=10, COUNTER_VISITOR_WINDOW=60)
    key = {"Idempotency-Key": "k"}
    for _ in range(2):
        web.post("/counters/visits/hits", headers=key)
        web.get("/count")
    client.set("counter:{full}", MAX)
    problem(web.post("/counters/full/hits"), 409)
    problem(web.post("/counters/a%20b/hits"), 400)  # was never a hit
    assert outcomes_of(web) == {"counted": 2, "replayed": 1, "skipped": 1, "not_counted": 1}
    assert samples(web)["counter_added_total",] == int(client.get(KEY)) == 2


def test_metrics_during_an_outage(web_alone):
    """During an outage the scrape succeeds, and reports it."""
    problem(web_alone.get("/count"), 503)
    found = samples(web_alone)
    assert found["counter_store_up",] == 0
    assert outcomes_of(web_alone) == {"not_counted": 1}
    assert found["counter_round_trips_failed_total",] >= 1
    assert found["counter_hit_duration_seconds_count",] == 1


def test_metrics_without_the_right_to_info(web, client, server, client_of):
    """Without the right to INFO the store's own metrics are left out."""
    client.acl_setuser("counts", enabled=True, nopass=True, keys="*", commands=["+@all", "-info"])
    try:
        place = server.url.removeprefix("redis://")
        web = client_of(REDIS_URL=f"redis://counts:x@{place}", COUNTER_TIMEOUT=10)
        found = samples(web)
    finally:
        client.acl_deluser("counts")
    assert found["counter_store_up",] == 1
    assert ("counter_store_memory_bytes",) not in found


def test_metrics_of_spooled_hits(own_server, tmp_path, client_of):
    """Spooled hits are counted after their replay; then everything adds up."""
    settings = {"COUNTER_ON_OUTAGE": "spool", "COUNTER_SPOOL_DIR": str(tmp_path)}
    web = client_of(REDIS_URL=own_server.url, COUNTER_TIMEOUT=0.2, **settings)
    assert web.get("/count").status_code == 200
    own_server.stop()
    for _ in range(3):
        assert web.get("/count").status_code == 202
    assert outcomes_of(web) == {"counted": 1, "spooled": 3}
    assert samples(web)["counter_spool_hits",] == 3
    own_server.start()
    # They leave the spool a moment before the metrics count them.
    wait_until(lambda: samples(web)["counter_spool_counted_total",] == 3, what="three more")
    found = samples(web)
    assert found["counter_spool_hits",] == 0
    assert found["counter_added_total",] + found["counter_spool_added_total",] == 4


def test_openmetrics(web):
    """OpenMetrics is returned on request, and its own parser accepts it."""
    web.get("/count")
    response = web.get("/metrics", headers=OPENMETRICS)
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in parse_openmetrics(response.text)}
    assert families["counter_hits"].type == "counter"
    assert families["counter_hit_duration_seconds"].type == "histogram"


def test_metrics_ignore_trusted_hosts(server, client_of):
    """Metrics and health accept any host, because monitors use addresses."""
    web = client_of(
        REDIS_URL=server.url, COUNTER_TRUSTED_HOSTS="visits.example", COUNTER_TIMEOUT=10
    )
    problem(web.get("/count"), 400)
    assert samples(web)["counter_store_up",] == 1


def test_metrics_without_prometheus_client(web, monkeypatch):
    """Without prometheus-client the response says what to install."""
    monkeypatch.setattr(metrics, "metrics_available", lambda: False)
    assert "pip install" in problem(web.get("/metrics"), 501)["detail"]


def test_metrics_off(server, client_of):
    """With metrics turned off the route is a 404."""
    problem(client_of(REDIS_URL=server.url, COUNTER_METRICS=False).get("/metrics"), 404)
