"""Malformed messages and request smuggling: the same responses on the fast path and from Flask."""

import json
from contextlib import ExitStack, suppress

import pytest
from framing_cases import CASES
from raw_http import RawConnection

from .serving import Serve
from .support import KEY

_SENTINEL = b"POST /counters/sentinel/hits HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def services(server, tmp_path_factory):
    """The service on one worker, with the fast path and without."""
    with ExitStack() as stopping:
        runs = []
        for fast in ("true", "false"):
            log = tmp_path_factory.mktemp("serve") / "log"
            settings = {"COUNTER_FAST_PATH": fast, "COUNTER_TIMEOUT": "10"}
            settings["PYTHONHASHSEED"] = "0"  # the order of the methods in Allow
            run = Serve(log, "--workers=1", REDIS_URL=server.url, **settings)
            stopping.callback(run.stop)
            runs.append(run.ready())
        yield runs


def exchange(run, sent, *, closed):
    """Send bytes, and return all responses; the server has to close the connection in order.

    :param closed: False: the connection has to serve another request, which closes it.
    """
    with RawConnection(run.port, timeout=15) as connection:
        with suppress(ConnectionError):  # the server does not read what it has rejected
            connection.send(sent if closed else sent + _SENTINEL)
        responses = [one for one in connection.read_all() if one.status != 100]
    if not closed:
        assert json.loads(responses.pop().body)["name"] == "sentinel"
    return responses


def count_of(run, client):
    """Return the counter's value after all hits that the worker has got."""
    with RawConnection(run.port) as connection:
        connection.send(_SENTINEL)
        assert connection.read().status == 200
    return int(client.get(KEY) or 0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_framing(services, client, case):
    """The statuses and the count are as in the table; both paths answer byte for byte alike."""
    answered = []
    for run in services:
        client.flushall()
        responses = exchange(run, case.sent, closed=case.closed)
        case.check(one.status for one in responses)
        assert count_of(run, client) == case.counted
        answered.append([one.undated for one in responses])
    assert answered[0] == answered[1]
    for number, response in enumerate(responses):
        is_last = case.closed and number == len(responses) - 1
        assert (response.headers.get("connection") == "close") == is_last
        if response.status != 200:
            assert response.headers["content-type"] == "application/problem+json"
            assert json.loads(response.body)["status"] == response.status


@pytest.mark.parametrize(
    "case",
    [one for one in CASES if len(one.sent) < 2000],
    ids=lambda case: case.name,
)
def test_framing_in_pieces(services, client, case):
    """A message that arrives byte by byte is answered as one that arrives whole."""
    run = services[0]
    client.flushall()
    with RawConnection(run.port, timeout=15) as connection:
        with suppress(ConnectionError):
            for byte in case.sent if case.closed else case.sent + _SENTINEL:
                connection.send(bytes([byte]))
        statuses = [one.status for one in connection.read_all() if one.status != 100]
    if not case.closed:
        assert statuses.pop() == 200
    case.check(statuses)
    assert count_of(run, client) == case.counted
