"""The memory that connections hold: bytes that wait for a client, or for earlier requests."""

import pytest

from flask_redis_counter.web.http import connection_table
from flask_redis_counter.web.http.connection_table import ConnectionTable

from .transport import Clock, Echo, Transport

MAX_HELD = 30_000
BODY = b"b" * 900
POST = b"POST /page HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n" + BODY
HEAD = b"GET /hit HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 6000


@pytest.fixture
def table(monkeypatch):
    """A table with a small limit."""
    monkeypatch.setattr(connection_table, "MAX_HELD_BYTES", MAX_HELD)
    return ConnectionTable(Clock(), 100)


def test_body_waits_alone(table):
    """Behind a request in progress, at most one body is in memory; nothing more is read."""
    echo = Echo()
    wire = Transport(table, echo)
    for _ in range(30):
        wire.send(POST)
    assert len(wire.unread) >= 27
    for _ in range(30):
        echo.release(0)
        wire.step()
        wire.receive(10_000)
    assert wire.read.count(b"HTTP/1.1 200 OK") == 30
    assert wire.read.count(BODY) == 30
    assert table.held_bytes == 0


def test_incomplete_requests_are_limited(table):
    """Of many clients that send a part of a large request, those that came first are closed."""
    echo = Echo()
    wires = [Transport(table, echo) for _ in range(10)]
    for wire in wires:
        wire.send(HEAD)
        assert table.held_bytes <= MAX_HELD
    assert [wire.is_closing for wire in wires] == [True] * 6 + [False] * 4
    wires[-1].send(b"\r\n\r\n")
    wires[-1].protocol.check_timeout(table.now)
    assert len(echo.started) == 1
    assert table.held_bytes == 3 * len(HEAD)
    for wire in wires:
        wire.lose()
    assert table.held_bytes == 0


def test_connection_over_the_limit_alone_is_closed(table, monkeypatch):
    """A connection that holds too many bytes by itself starts nothing more."""
    monkeypatch.setattr(connection_table, "MAX_HELD_BYTES", 10_000)
    echo = Echo()
    wire = Transport(table, echo)
    wire.send(b"GET /large/now HTTP/1.1\r\nHost: a\r\n\r\nGET /hit HTTP/1.1\r\nHost: a\r\n\r\n")
    wire.step()
    assert wire.is_lost
    assert len(echo.started) == 1
    assert table.held_bytes == 0
