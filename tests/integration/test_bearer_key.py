"""Bearer keys for changes and metrics; wrong keys are limited and logged."""

import pytest

from flask_redis_counter.web import bearer_key

from .support import problem

KEY = "correct-horse-battery-staple"
TOKEN = "another-horse-another-staple"
LOGGER = "flask_redis_counter.web.bearer_key"


@pytest.fixture
def now(monkeypatch):
    """The clock of the limiter, which a test can advance."""
    clock = [1000.0]
    monkeypatch.setattr(bearer_key, "monotonic", lambda: clock[0])
    return clock


@pytest.fixture
def web(server, client, client_of):
    """A client of a service with keys."""
    return client_of(
        REDIS_URL=server.url,
        COUNTER_TIMEOUT=10,
        COUNTER_ADMIN_KEY=KEY,
        COUNTER_METRICS_TOKEN=TOKEN,
        COUNTER_TRUSTED_PROXIES="127.0.0.1",
    )


def put(web, key, client="192.0.2.1"):
    """Set a counter with a key, as the client of an address."""
    headers = {"Authorization": f"Bearer {key}", "X-Forwarded-For": client}
    return web.put("/counters/a", data=b'{"value": 7}', headers=headers)


def lines(caplog):
    """Return the log lines about keys."""
    return [record.getMessage() for record in caplog.records if record.name == LOGGER]


def test_metrics_token(web):
    """Metrics need their token; the admin key is not accepted."""
    for authorization in ("", "Bearer", f"Bearer {KEY}", f"Basic {TOKEN}", f"Bearer x{TOKEN}"):
        answer = web.get("/metrics", headers={"Authorization": authorization})
        problem(answer, 401)
        assert answer.www_authenticate.type == "bearer"
        assert "counter_hits_total" not in answer.text
    answer = web.get("/metrics", headers={"Authorization": f"bearer {TOKEN}"})
    assert "counter_hits_total" in answer.text


def test_wrong_keys_are_limited(web, client, now):
    """A client is blocked for the rest of a minute, also with the right key; others are not."""
    for _ in range(bearer_key.MAX_WRONG_KEYS):
        problem(put(web, "wrong"), 401)
    for key in ("wrong", KEY):
        answer = put(web, key)
        problem(answer, 429)
        assert answer.headers["Retry-After"] == "60"
    assert client.get("counter:{a}") is None
    assert put(web, KEY, "192.0.2.2").status_code == 201
    now[0] += 59.5
    assert put(web, KEY).headers["Retry-After"] == "1"
    now[0] += 0.6
    assert put(web, KEY).json["was"] == 7


def test_wrong_keys_of_a_network(web, now):
    """IPv6 addresses of one network are limited together."""
    for number in range(bearer_key.MAX_WRONG_KEYS):
        problem(put(web, "wrong", f"2001:db8::{number}"), 401)
    problem(put(web, "wrong", "2001:db8::ffff"), 429)


def test_wrong_tokens_are_limited(web, now):
    """Wrong metrics tokens are limited, too."""
    for _ in range(bearer_key.MAX_WRONG_KEYS):
        problem(web.get("/metrics", headers={"Authorization": "Bearer wrong"}), 401)
    problem(web.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}), 429)


def test_missing_key_is_not_limited(web, now, caplog):
    """A missing key is not a wrong key, and is not limited."""
    for _ in range(bearer_key.MAX_WRONG_KEYS + 1):
        problem(web.delete("/counters/a"), 401)
    assert lines(caplog) == []
    assert put(web, KEY).status_code == 201


def test_wrong_keys_are_logged(web, now, caplog):
    """Wrong keys are logged at once and then once per minute, without key and address."""
    for _ in range(3):
        put(web, "not-the-right-key")
    now[0] += 60
    put(web, "not-the-right-key")
    said = "wrong keys sent for COUNTER_ADMIN_KEY: {} since the last such line"
    assert lines(caplog) == [said.format(1), said.format(3)]
    assert "not-the-right" not in caplog.text
    assert "192.0.2" not in caplog.text


def test_max_clients(web, now, monkeypatch):
    """The number of tracked clients is bounded; the oldest is dropped first."""
    monkeypatch.setattr(bearer_key, "MAX_CLIENTS", 2)
    for _ in range(bearer_key.MAX_WRONG_KEYS):
        put(web, "wrong", "192.0.2.1")
    problem(put(web, KEY, "192.0.2.1"), 429)
    put(web, "wrong", "192.0.2.2")
    put(web, "wrong", "192.0.2.3")
    assert put(web, KEY, "192.0.2.1").status_code == 201
