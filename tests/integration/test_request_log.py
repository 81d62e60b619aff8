"""Request log, and request IDs of responses."""

import logging
import re

import pytest

from .support import nowhere, problem

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
LOGGER = "flask_redis_counter.web.request_log"


@pytest.fixture(autouse=True)
def levels():
    """Restore the log levels that a service has set."""
    yield
    logging.getLogger(LOGGER).setLevel(logging.NOTSET)


@pytest.fixture
def logging_web(server, client, client_of):
    """A client of a service that logs each request."""
    return client_of(REDIS_URL=server.url, COUNTER_TIMEOUT=10, COUNTER_ACCESS_LOG=True)


def lines(caplog):
    """Return the log records of requests."""
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
def test_access_log(logging_web, caplog, method, path, status):
    """Each request is one line with method, path, status and duration, and without an address."""
    logging_web.open(path, method=method, headers={"X-Request-ID": "a-1"})
    (line,) = lines(caplog)
    path = path.partition("?")[0]
    assert (line.method, line.path, line.status, line.request_id) == (method, path, status, "a-1")
    assert line.duration_ms >= 0
    assert line.levelname == "INFO"
    said = rf"{method} {path}: {status} in \d+\.\d ms, request a-1"
    assert re.fullmatch(said, line.getMessage())


def test_log_is_silent_by_default(web, caplog):
    """Successful requests and client errors are not logged by default."""
    for path in ("/count", "/", "/nowhere", "/counters/a"):
        web.get(path)
    assert not lines(caplog)


def test_failure_is_one_line(web_alone, caplog):
    """A failure is one line with the cause; the response has only the request ID."""
    answer = web_alone.get("/count")
    problem(answer, 503)
    (line,) = lines(caplog)
    assert line.levelname == "ERROR"
    assert "no connection to the store" in line.getMessage()
    assert "no connection to the store" in line.error
    assert line.exc_info is None
    assert answer.headers["X-Request-ID"] == line.request_id
    assert "connection" not in answer.text


def test_failure_is_one_line_in_the_access_log(client_of, caplog):
    """With the access log the line of the request has the error."""
    web = client_of(REDIS_URL=nowhere(), COUNTER_ACCESS_LOG=True)
    web.get("/count")
    (line,) = lines(caplog)
    assert line.error


def test_outage_is_throttled(own_server, client_of, caplog):
    """An outage logs the first failure, and a recovery line with the number of suppressed ones."""
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


def test_outage_in_the_access_log(client_of, caplog):
    """With the access log each failed request of an outage is logged."""
    web = client_of(REDIS_URL=nowhere(), COUNTER_ACCESS_LOG=True)
    for _ in range(3):
        web.post("/count")
    assert len(lines(caplog)) == 3


def test_spooling_is_not_a_failure(client_of, tmp_path, caplog):
    """A spooled hit is not a failure; spooling is logged once."""
    spool = {"COUNTER_ON_OUTAGE": "spool", "COUNTER_SPOOL_DIR": str(tmp_path)}
    web = client_of(REDIS_URL=nowhere(), **spool)
    for _ in range(3):
        assert web.get("/count").status_code == 202
    assert not lines(caplog)
    assert caplog.text.count("hits are spooled") == 1


@pytest.mark.parametrize("path", ["/count", "/", "/counters/a%20b", "/nowhere"])
def test_request_id_is_returned(web, path):
    """A request ID is returned; without one none is generated."""
    given = "3f2504e0-4f89-41d3:9a0c/0305e82c3301+=@x.y_z"
    assert web.get(path, headers={"X-Request-ID": given}).headers["X-Request-ID"] == given
    assert "X-Request-ID" not in web.get(path).headers


@pytest.mark.parametrize("given", ["", "a b", "a\tb", "ü", "a" * 129, "<script>", 'a"b', "a,b"])
def test_malformed_request_id(logging_web, caplog, given):
    """A malformed request ID is replaced by one that is safe in a log."""
    answer = logging_web.get("/count", headers={"X-Request-ID": given})
    (line,) = lines(caplog)
    assert re.fullmatch("[0-9a-f]{32}", line.request_id)
    assert answer.headers["X-Request-ID"] == line.request_id


@pytest.mark.parametrize("path", ["/count", "/"])
def test_trace_ids(logging_web, caplog, path):
    """The line has the trace ID and span ID of the request."""
    logging_web.get(path, headers={"traceparent": PARENT})
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
def test_malformed_traceparent(logging_web, caplog, given):
    """A malformed traceparent is ignored, as the recommendation demands."""
    logging_web.get("/count", headers={"traceparent": given})
    (line,) = lines(caplog)
    assert not hasattr(line, "trace_id")


def test_path_is_escaped(logging_web, caplog):
    """Line breaks in a path are escaped."""
    logging_web.get("/counters/a%0A2026-11-23%20ERROR%20all%20is%20lost%1b[31m")
    (line,) = lines(caplog)
    assert "\n" not in line.getMessage()
    assert "\x1b" not in line.getMessage()
