"""What the log says of requests, and what goes with their answers."""

import logging
import re

import pytest

from .support import nowhere, problem

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
LOGGER = "flask_redis_counter.web.request_log"


@pytest.fixture(autouse=True)
def levels():
    """Put back what a service has set."""
    yield
    logging.getLogger(LOGGER).setLevel(logging.NOTSET)


@pytest.fixture
def talkative(server, client, client_of):
    """A client of a service that logs each request."""
    return client_of(REDIS_URL=server.url, COUNTER_TIMEOUT=10, COUNTER_ACCESS_LOG=True)


def lines(caplog):
    """Return what was said of requests."""
    return [record for record in caplog.records if record.name == LOGGER]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/count", 200),
        ("POST", "/counters/a/hits", 200),
        ("GET", "/counters/a", 404),
        ("GET", "/", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/count?amount=2", 400),
    ],
)
def test_one_line_a_request(talkative, caplog, method, path, status):
    """With what it was, how it ended and how long it took; and nobody's address."""
    talkative.open(path, method=method, headers={"X-Request-ID": "a-1"})
    (line,) = lines(caplog)
    path = path.partition("?")[0]
    assert (line.method, line.path, line.status, line.request_id) == (method, path, status, "a-1")
    assert line.duration_ms >= 0
    assert line.levelname == "INFO"
    said = rf"{method} {path}: {status} in \d+\.\d ms, request a-1"
    assert re.fullmatch(said, line.getMessage())


def test_nothing_is_said_unasked(web, caplog):
    """Of what went well, and of what was the client's fault."""
    for path in ("/count", "/", "/nowhere", "/counters/a"):
        web.get(path)
    assert not lines(caplog)


def test_a_failure_is_one_line(web_alone, caplog):
    """With its cause, which the answer does not have; the answer has what finds the line."""
    answer = web_alone.get("/count")
    problem(answer, 503)
    (line,) = lines(caplog)
    assert line.levelname == "ERROR"
    assert "no connection to the store" in line.getMessage()
    assert "no connection to the store" in line.error
    assert line.exc_info is None
    assert answer.headers["X-Request-ID"] == line.request_id
    assert "connection" not in answer.text


def test_a_failure_is_one_line_also_where_all_are_logged(client_of, caplog):
    """The line of the request has the error."""
    web = client_of(REDIS_URL=nowhere(), COUNTER_ACCESS_LOG=True)
    web.get("/count")
    (line,) = lines(caplog)
    assert line.error


def test_an_outage_is_few_lines(own_server, client_of, caplog):
    """The first request that failed, and one line when hits count again, with how many more did."""
    web = client_of(REDIS_URL=own_server.url)
    assert web.post("/count").status_code == 200
    own_server.kill()
    for _ in range(20):
        problem(web.post("/count"), 503)
    (line,) = lines(caplog)
    assert (line.levelname, line.path, line.status) == ("ERROR", "/count", 503)
    own_server.start()
    assert web.post("/count").status_code == 200
    line, last = lines(caplog)
    assert last.getMessage() == (
        "hits are counted again (suppressed before this: 19 similar lines)"
    )
    own_server.kill()
    problem(web.post("/count"), 503)
    assert len(lines(caplog)) == 3, "the next outage is told at once"


def test_an_outage_is_a_line_for_each_request_where_all_are_logged(client_of, caplog):
    """As was asked for."""
    web = client_of(REDIS_URL=nowhere(), COUNTER_ACCESS_LOG=True)
    for _ in range(3):
        web.post("/count")
    assert len(lines(caplog)) == 3


def test_what_is_spooled_is_no_failure(client_of, tmp_path, caplog):
    """That hits are written down is said once."""
    spool = {"COUNTER_ON_OUTAGE": "spool", "COUNTER_SPOOL_DIR": str(tmp_path)}
    web = client_of(REDIS_URL=nowhere(), **spool)
    for _ in range(3):
        assert web.get("/count").status_code == 202
    assert not lines(caplog)
    assert caplog.text.count("hits are written down") == 1


@pytest.mark.parametrize("path", ["/count", "/", "/counters/a%20b", "/nowhere"])
def test_an_identity_goes_back(web, path):
    """As it came; where none came, nothing is made up."""
    given = "3f2504e0-4f89-41d3:9a0c/0305e82c3301+=@x.y_z"
    assert web.get(path, headers={"X-Request-ID": given}).headers["X-Request-ID"] == given
    assert "X-Request-ID" not in web.get(path).headers


@pytest.mark.parametrize("given", ["", "a b", "a\tb", "ü", "a" * 129, "<script>", 'a"b', "a,b"])
def test_a_malformed_identity_is_none(talkative, caplog, given):
    """It gets one that is safe in a log."""
    answer = talkative.get("/count", headers={"X-Request-ID": given})
    (line,) = lines(caplog)
    assert re.fullmatch("[0-9a-f]{32}", line.request_id)
    assert answer.headers["X-Request-ID"] == line.request_id


@pytest.mark.parametrize("path", ["/count", "/"])
def test_the_trace_that_a_request_is_part_of(talkative, caplog, path):
    """So that a line is found from there."""
    talkative.get(path, headers={"traceparent": PARENT})
    (line,) = lines(caplog)
    assert (line.trace_id, line.span_id) == (TRACE, "00f067aa0ba902b7")


@pytest.mark.parametrize(
    "given",
    [
        "",
        TRACE,
        PARENT.replace(TRACE, "0" * 32),
        PARENT.replace("00f067aa0ba902b7", "0" * 16),
        f"ff{PARENT[2:]}",
        PARENT.upper(),
        f"{PARENT}x",
    ],
)
def test_a_malformed_trace_is_none(talkative, caplog, given):
    """As the recommendation wants it."""
    talkative.get("/count", headers={"traceparent": given})
    (line,) = lines(caplog)
    assert not hasattr(line, "trace_id")


def test_a_path_makes_no_line_of_its_own(talkative, caplog):
    """Whatever is in it."""
    talkative.get("/counters/a%0A2026-11-23%20ERROR%20all%20is%20lost%1b[31m")
    (line,) = lines(caplog)
    assert "\n" not in line.getMessage()
    assert "\x1b" not in line.getMessage()
