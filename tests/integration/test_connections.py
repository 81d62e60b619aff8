"""Connections of the production server: time-outs, limits, slow and lost clients, and its stop."""

import json
import re
import resource
import select
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from framing_cases import HIT
from raw_http import RawConnection

from flask_redis_counter.testing import wait_until

from .serving import Serve
from .support import KEY, resident_bytes, within
from .test_live import Listener

HALF_HEAD = b"GET /count HTTP/1.1\r\nHost: a\r\nX-A: "
HALF_BODY = b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
HALF_CHUNKS = b"POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
#: A response that is larger than what a connection may hold for its client.
LARGE = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"
ADMIN_KEY = "correct-horse-battery-staple"

# Time-outs of the impatient server, in seconds.
SHORT = {
    "FIRST_BYTE_TIMEOUT": 1.5,
    "HEAD_TIMEOUT": 1.5,
    "BODY_TIMEOUT": 1.5,
    "KEEP_ALIVE_TIMEOUT": 3.0,
    "WRITE_TIMEOUT": 2.0,
}
#: Seconds by which a time-out may be exceeded: its precision, and a busy machine.
SLACK = 2.5

_IMPATIENT = f"""
from flask_redis_counter.web.http import connection
for name, value in {SHORT}.items():
    assert getattr(connection, name) > value
    setattr(connection, name, value)
from flask_redis_counter.cli.main import main
main(prog_name="flask-redis-counter")
"""


class ImpatientServe(Serve):
    """`serve` with short time-outs; forked workers inherit them."""

    program = ("-c", _IMPATIENT)


_BUGGY = """
from flask_redis_counter.web.server import hits, reads

def fail(*_, **__):
    raise RuntimeError("a bug")

hits.render_json = reads.render_json = hits.FlaskThreads.render_error = fail
from flask_redis_counter.cli.main import main
main(prog_name="flask-redis-counter")
"""


class BuggyServe(Serve):
    """`serve` whose fast path cannot render JSON, nor errors."""

    program = ("-c", _BUGGY)


@pytest.fixture(autouse=True, scope="module")
def _many_files():
    """Raise the limit of open files, for this process and its servers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def running(kind, folder, server, **more):
    """Run the service on one worker; check its exit code and its log at the end."""
    settings = {"COUNTER_TIMEOUT": "10", "COUNTER_ADMIN_KEY": ADMIN_KEY, **more}
    run = kind(folder / "log", "--workers=1", REDIS_URL=server.url, **settings)
    try:
        yield run.ready()
    finally:
        exit_code = run.stop()
    assert exit_code == 0
    assert "Traceback" not in run.log()


@pytest.fixture(scope="module")
def shared_run(server, tmp_path_factory):
    """The service, for the tests of this module that do not stop it."""
    with running(Serve, tmp_path_factory.mktemp("serve"), server) as run:
        yield run


@pytest.fixture
def run(shared_run, client):
    """The service, on an empty store."""
    return shared_run


@pytest.fixture(scope="module")
def shared_impatient(server, tmp_path_factory):
    """The service with short time-outs, for the tests of this module."""
    with running(ImpatientServe, tmp_path_factory.mktemp("serve"), server) as run:
        yield run


@pytest.fixture
def impatient(shared_impatient, client):
    """The service with short time-outs, on an empty store."""
    return shared_impatient


@pytest.fixture
def connect():
    """Open connections, which are closed after the test."""
    with ExitStack() as closing:
        yield lambda run, **options: closing.enter_context(RawConnection(run.port, **options))


def request(line, *fields):
    """Return the bytes of a request without a body."""
    return "\r\n".join((f"{line} HTTP/1.1", "Host: a", *fields, "", "")).encode()


def hit(connection):
    """Count a hit, and return the value."""
    connection.send(HIT)
    return value_of(connection.read())


def value_of(response):
    """Return the value in the response to a hit."""
    assert response is not None, "the server has closed the connection"
    assert response.status == 200, response.raw
    document = json.loads(response.body)
    assert document["counted"] is True
    return document["value"]


def check_problem(response, status):
    """Check that a response is a problem document, after which the connection closes."""
    assert response.status == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["connection"] == "close"
    assert json.loads(response.body)["status"] == status


def count(client):
    """Return the counter's value."""
    return int(client.get(KEY) or 0)


def wait_for_count(client, value):
    """Wait until the counter has a value."""
    wait_until(lambda: count(client) == value, what=f"the value {value}")


def is_readable(connection, seconds=0.0):
    """Return whether bytes or the end of the connection arrive within some seconds."""
    return bool(select.select([connection], [], [], seconds)[0])


def count_sockets(pid):
    """Return the number of sockets that a process holds."""
    links = [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir() if one.is_symlink()]
    return sum(link.startswith("socket:") for link in links)


def drip(connection, data):
    """Send bytes again and again, ten times a second, until the server responds or closes."""
    with suppress(ConnectionError):
        while not is_readable(connection, 0.1):
            connection.send(data)


@contextmanager
def paused_store(client):
    """Let hits wait in the store, and be counted afterwards."""
    client.client_pause(60_000, all=False)
    try:
        yield
    finally:
        client.client_unpause()


def wait_for_hits(client):
    """Wait until the store has got hits."""
    wait_until(lambda: client.info("clients")["blocked_clients"] > 0, what="hits in flight")


# Time-outs


def test_first_byte_timeout(run, connect, client):
    """A connection without a byte is closed after 5 s without a response; one in use stays open."""
    silent, used = connect(run), connect(run)
    assert hit(used) == 1
    begun = time.monotonic()
    assert silent.read() is None
    assert 4 < time.monotonic() - begun < 5 + SLACK
    assert hit(used) == 2 == count(client)


INCOMPLETE = {
    "method": (b"G", b"E"),
    "head": (HALF_HEAD, b"a"),
    "body": (HALF_BODY, b"a"),
    "chunks": (HALF_CHUNKS, b"1\r\na\r\n"),
    "chunk size": (HALF_CHUNKS, b"0"),
    "chunk extension": (HALF_CHUNKS + b"1;a=", b"a"),
    "trailers": (HALF_CHUNKS + b"0\r\n", b"X-A: a\r\n"),
}


@pytest.mark.parametrize("dripping", [False, True], ids=["stalled", "dripping"])
def test_incomplete_request_timeout(impatient, client, dripping):
    """An incomplete request gets 408, also if it goes on arriving, byte by byte; none counts."""

    def answers(kind):
        begun, more = INCOMPLETE[kind]
        with (
            RawConnection(impatient.port) as connection,
            within(SHORT["BODY_TIMEOUT"] + SLACK),
        ):
            connection.send(begun)
            if dripping:
                drip(connection, more)
            return connection.read_all()

    with ThreadPoolExecutor(len(INCOMPLETE)) as pool:
        answered = dict(zip(INCOMPLETE, pool.map(answers, INCOMPLETE), strict=True))
    if dripping:  # the parser has rejected GEEE, which is no known method
        assert [one.status for one in answered.pop("method")] == [501]
    for kind, responses in answered.items():
        assert len(responses) == 1, kind
        check_problem(responses[0], 408)
    assert count(client) == 0
    with RawConnection(impatient.port) as connection:
        assert hit(connection) == 1 == count(client)


@pytest.mark.parametrize("is_used", [False, True])
def test_empty_lines_do_not_keep_a_connection_open(impatient, connect, client, is_used):
    """Empty lines before a request do not extend the time-out of an idle connection."""
    connection = connect(impatient)
    name = "KEEP_ALIVE_TIMEOUT" if is_used else "FIRST_BYTE_TIMEOUT"
    if is_used:
        assert hit(connection) == 1
    with within(SHORT[name] + SLACK):
        drip(connection, b"\r\n")
        assert connection.read() is None
    assert count(client) == is_used


def test_keep_alive_timeout(impatient, connect, client):
    """An idle connection is closed without a response after the time-out, which a hit restarts."""
    connection = connect(impatient)
    for value in (1, 2):
        assert not is_readable(connection, SHORT["KEEP_ALIVE_TIMEOUT"] - 1.5)
        assert hit(connection) == value
    with within(SHORT["KEEP_ALIVE_TIMEOUT"] + SLACK):
        assert connection.read() is None
    assert count(client) == 2


def test_hit_in_flight_has_no_timeout(impatient, connect, client):
    """A hit that waits for the store longer than any time-out of the connection is answered."""
    connection = connect(impatient)
    with paused_store(client):
        connection.send(HIT)
        wait_for_hits(client)
        assert not is_readable(connection, SHORT["KEEP_ALIVE_TIMEOUT"] + 1)
    assert value_of(connection.read()) == 1 == count(client)


# Limits


def test_idle_connections_block_none(serve, server, client):
    """With 3,000 idle connections and 200 half-sent requests others are answered within 1 s."""
    run = serve("--workers=2", REDIS_URL=server.url, COUNTER_TIMEOUT="10").ready()
    hits = 0
    with ExitStack() as held:

        def connect():
            return held.enter_context(RawConnection(run.port))

        kept = [connect() for _ in range(2000)]
        for connection in kept:
            connection.send(HIT)
        values = {value_of(connection.read()) for connection in kept}
        assert values == set(range(1, len(kept) + 1))
        for _ in range(1000):
            connect()
        for number in range(200):
            connect().send(HALF_BODY if number % 2 else HALF_HEAD)
        hits = len(kept)
        for number in range(60):
            begun = time.monotonic()
            with RawConnection(run.port) as other:
                if number % 3:
                    hits += 1
                    assert hit(other) == hits
                else:
                    other.send(request("GET /healthz" if number % 2 else "GET /"))
                    assert other.read().status == 200
            assert time.monotonic() - begun < 1
        for connection in (kept[0], kept[-1]):  # still open
            hits += 1
            assert hit(connection) == hits
    assert count(client) == hits


def test_longest_idle_connections_are_closed(serve, connect, server, client):
    """Beyond the maximum, a connection that has been idle longest is closed for a new one."""
    settings = {"COUNTER_MAX_CONNECTIONS": "20", "COUNTER_TIMEOUT": "10"}
    run = serve("--workers=1", REDIS_URL=server.url, **settings).ready()
    old = [connect(run) for _ in range(10)]
    half_sent = connect(run)
    half_sent.send(HALF_HEAD)
    for connection in old:
        hit(connection)
    later = time.monotonic() + 2.5  # the precision of idle times is a second
    wait_until(lambda: time.monotonic() > later, what="a later time")
    new = [old.pop(0)] + [connect(run) for _ in range(9)]
    for connection in new:
        hit(connection)
    new.append(connect(run))
    assert hit(new[-1]) == 21
    closed = [one for one in [*old, half_sent] if is_readable(one, 0.2)]
    assert closed
    for connection in closed:
        assert connection.read() is None
    for connection in new:
        hit(connection)
    assert count(client) == 32


def test_connections_whose_clients_do_not_read_make_room(serve, connect, server, client):
    """Idle connections with unread responses are closed for new ones; none of these gets a 503."""
    settings = {"COUNTER_MAX_CONNECTIONS": "20", "COUNTER_TIMEOUT": "10"}
    run = serve("--workers=1", REDIS_URL=server.url, **settings).ready()
    sent = 0
    for _ in range(25):
        unread = connect(run, receive_buffer=1024)
        for _ in range(8):
            unread.send(16 * HIT)
            sent += 16
            wait_for_count(client, sent)
    for number in range(1, 41):
        with RawConnection(run.port) as other:
            assert hit(other) == sent + number
    assert count(client) == sent + 40


def test_too_many_busy_connections(serve, connect, server, client):
    """If all connections wait for the store, a new one gets 503; the waiting hits count."""
    settings = {"COUNTER_MAX_CONNECTIONS": "10", "COUNTER_TIMEOUT": "20"}
    run = serve("--workers=1", REDIS_URL=server.url, **settings).ready()
    first = [connect(run) for _ in range(10)]
    with paused_store(client):
        for connection in first:
            connection.send(HIT)
        wait_for_hits(client)
        for _ in range(30):
            refused = connect(run)
            with suppress(ConnectionError):
                refused.send(HIT)
            (response,) = refused.read_all()
            check_problem(response, 503)
    assert {value_of(one.read()) for one in first} == set(range(1, 11))
    assert count(client) == 10
    assert hit(connect(run)) == 11


# Clients that do not read


def test_unread_responses_do_not_exhaust_memory(serve, connect, server, client):
    """900 connections with 30 unread pipelined responses each: bounded memory, others go on."""
    run = serve("--workers=1", REDIS_URL=server.url, COUNTER_TIMEOUT="10").ready()
    (worker,) = run.children()
    assert hit(connect(run)) == 1
    before = resident_bytes(worker)
    for number in range(900):
        connection = connect(run, receive_buffer=4096)
        connection.send(30 * LARGE if number % 3 else 30 * request("GET /"))
    peak = hits = 0
    until = time.monotonic() + 8
    while time.monotonic() < until:
        with within(5), RawConnection(run.port) as other:
            hits += 1
            assert hit(other) == 1 + hits
        with within(5), RawConnection(run.port) as other:
            other.send(request("GET /healthz"))
            assert other.read().status == 200
        peak = max(peak, resident_bytes(worker))
    assert peak - before < 100 * 1024 * 1024
    assert count(client) == 1 + hits


def test_unread_hits_all_count(run, connect, client):
    """Hits whose responses are read late have counted once each."""
    readers = [connect(run, receive_buffer=4096) for _ in range(100)]
    for reader in readers:
        reader.send(100 * HIT)
    values = [value_of(reader.read()) for reader in readers for _ in range(100)]
    assert sorted(values) == list(range(1, 10_001))
    assert count(client) == 10_000


def test_client_that_does_not_read_is_disconnected(impatient, connect, client):
    """A client that reads nothing for the time-out is disconnected. Its earlier hits count."""
    (worker,) = impatient.children()
    lazy = connect(impatient, receive_buffer=4096)
    assert hit(lazy) == 1
    before = count_sockets(worker)
    lazy.send(4 * HIT + 1000 * LARGE + HIT)
    timeout = SHORT["WRITE_TIMEOUT"] + 2 * SLACK
    wait_until(lambda: count_sockets(worker) < before, what="the end", timeout=timeout)
    assert hit(connect(impatient)) == 6 == count(client)


def test_slow_reader_gets_everything(impatient, connect, client):
    """A client that reads slowly, but steadily, gets all responses in order."""
    slow = connect(impatient, receive_buffer=4096)
    begun = time.monotonic()
    slow.send(HIT + 30 * LARGE + HIT)
    assert value_of(slow.read()) == 1
    length = len(slow.read().body)
    for _ in range(29):
        select.select([], [], [], 0.2)  # at this pace, it reads for longer than the time-out
        assert len(slow.read().body) == length
    assert value_of(slow.read()) == 2 == count(client)
    assert time.monotonic() - begun > 2 * SHORT["WRITE_TIMEOUT"]


def test_flood_of_hits_delays_no_other_client(run, connect, client):
    """While clients send hits without waiting for responses, others are answered within 1 s."""
    floods = [connect(run) for _ in range(4)]
    done = threading.Event()

    def flood(connection):
        sent = 0
        with ThreadPoolExecutor(1) as pool:
            while not done.is_set():
                sending = pool.submit(connection.send, 500 * HIT)
                values = [value_of(connection.read()) for _ in range(500)]
                sending.result()
                assert values == sorted(set(values))
                sent += 500
        return sent

    with ThreadPoolExecutor(len(floods)) as pool:
        flooding = [pool.submit(flood, one) for one in floods]
        try:
            hits = 0
            for _ in range(30):
                with within(1), RawConnection(run.port) as other:
                    hit(other)
                    hits += 1
                    other.send(request("GET /healthz"))
                    assert other.read().status == 200
        finally:
            done.set()
        hits += sum(one.result() for one in flooding)
        assert count(client) == hits


# Clients that disconnect


@pytest.mark.parametrize("how", ["close", "reset", "half_close"])
@pytest.mark.parametrize("sent", [HALF_HEAD, HALF_BODY + b"a", HALF_CHUNKS + b"5\r\nhel"])
def test_incomplete_request_does_not_count(run, connect, client, sent, how):
    """A client disconnects within a request: the hit before it counts, the request does not."""
    lost = RawConnection(run.port)
    assert hit(lost) == 1
    lost.send(sent)
    getattr(lost, how)()
    if how == "half_close":
        assert all(response.status >= 400 for response in lost.read_all())
        lost.close()
    assert hit(connect(run)) == 2 == count(client)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_disconnect_before_the_response(run, connect, client, how):
    """A hit counts once if its client disconnects before the response; others are answered."""
    lost, other = RawConnection(run.port), connect(run)
    with paused_store(client):
        lost.send(3 * HIT + request("GET /") + HIT)
        wait_for_hits(client)
        getattr(lost, how)()
        other.send(HIT)
    assert value_of(other.read()) == 4
    assert hit(other) == 5 == count(client)  # the hit behind the page was not started


def test_half_closed_connection_gets_its_responses(run, connect, client):
    """A client that ends its stream of requests gets all responses, and then the end."""
    connection = connect(run)
    connection.send(100 * HIT + request("GET /healthz") + HIT)
    connection.half_close()
    responses = connection.read_all()
    assert responses.pop(-2).status == 200
    assert [value_of(one) for one in responses] == list(range(1, 102))
    assert count(client) == 101


# Order


def test_pipelined_requests_are_answered_in_order(run, connect, client):
    """Hits, reads, pages, changes and errors of one connection take effect in their order."""
    admin = f"Authorization: Bearer {ADMIN_KEY}"
    body = b'{"value": 1000}'
    put = request("PUT /counters/orders", admin, f"Content-Length: {len(body)}") + body
    round_ = [
        HIT,
        request("GET /counters/visits", "Accept: text/plain"),
        request("POST /count"),
        request("GET /nowhere"),
        put,
        request("POST /counters/orders/hits?amount=7"),
        request("GET /counters/orders", "Accept: text/plain"),
        request("DELETE /counters/orders", admin),
        request("POST /counters/orders/hits?amount=0"),
        request("HEAD /counters/visits"),
        request("GET /stats"),
        request("GET /count", "Accept: text/html"),
        request("POST /count", "Content-Length: 5") + b"hello",
    ]
    connection = connect(run)
    connection.send(5 * b"".join(round_))
    value = 0
    for _ in range(5):
        assert value_of(connection.read()) == value + 1
        assert connection.read().body == b"%d\n" % (value + 1)
        assert value_of(connection.read()) == value + 2
        assert connection.read().status == 404
        assert json.loads(connection.read().body)["value"] == 1000
        assert value_of(connection.read()) == 1007
        assert connection.read().body == b"1007\n"
        assert json.loads(connection.read().body)["was"] == 1007
        assert connection.read().status == 400
        head = connection.read(head=True)
        assert (head.status, int(head.headers["content-length"]) > 0) == (200, True)
        for _ in range(2):
            page = connection.read()
            assert (page.status, page.headers["content-type"][:9]) == (200, "text/html")
        assert value_of(connection.read()) == value + 4
        value += 4
    assert count(client) == value
    assert client.get("counter:{orders}") is None


@pytest.mark.parametrize(
    "tiny",
    [
        b"GET /count HTTP/1.1\r\nHost:a\r\n\r\n",
        b"GET /count HTTP/1.0\r\nConnection:keep-alive\r\n\r\n",
    ],
    ids=["HTTP/1.1", "HTTP/1.0"],
)
def test_many_tiny_hits(run, connect, client, tiny):
    """16 KiB of hits in one write are counted once each, and answered in order."""
    number = 16_384 // len(tiny)
    connection = connect(run)
    connection.send(number * tiny)
    assert [value_of(connection.read()) for _ in range(number)] == list(range(1, number + 1))
    assert count(client) == number


def test_rejection_waits_for_earlier_responses(run, connect, client):
    """A malformed request behind hits in flight is answered after them."""
    connection = connect(run)
    with paused_store(client):
        connection.send(3 * HIT + b"GET /count HTTP/1.1\r\nHost : a\r\n\r\n" + HIT)
        wait_for_hits(client)
        assert not is_readable(connection, 0.3)
    *hits, rejected = connection.read_all()
    assert [value_of(one) for one in hits] == [1, 2, 3]
    check_problem(rejected, 400)
    assert count(client) == 3


@pytest.mark.parametrize(
    ("rejected", "line"),
    [
        (b"GET /a?b=c HTTP/1.1\r\nX-Request-ID: abc\r\n\r\n", "GET /a: 400"),
        (b"\x16\x03\x01", "- -: 400"),
        (request("POST /count", "Content-Length: 70000"), "POST /count: 413"),
        (request("BREW /count"), "BREW -: 501"),
        (request("GET http://user:secret@a/count"), "GET -: 400"),
    ],
    ids=["no-host", "malformed", "too-large", "unknown-method", "password"],
)
def test_rejected_requests_are_in_the_access_log(serve, connect, server, client, rejected, line):
    """The log has one line for a request that reaches no view, with the ID of its response."""
    run = serve("--workers=1", REDIS_URL=server.url, COUNTER_ACCESS_LOG="true").ready()
    connection = connect(run)
    connection.send(rejected)
    (response,) = connection.read_all()
    request_id = response.headers["x-request-id"]
    wait_until(lambda: request_id in run.log(), what="the line")
    [logged] = [one for one in run.log().splitlines() if request_id in one]
    assert re.search(rf"{line} in \d\.\d ms, request {request_id}$", logged)
    assert "secret" not in logged
    assert count(client) == 0


def test_late_request_is_logged_with_its_time(server, client, tmp_path):
    """The log says how long the server waited for a request that did not arrive in time."""
    with running(ImpatientServe, tmp_path, server, COUNTER_ACCESS_LOG="true") as run:
        with RawConnection(run.port) as connection:
            connection.send(b"HEAD /count?a=b HTTP/1.1\r\nHo")
            response = connection.read(head=True)
            assert response.status == 408
            assert connection.read() is None
        request_id = response.headers["x-request-id"]
        wait_until(lambda: request_id in run.log(), what="the line")
        [logged] = [one for one in run.log().splitlines() if request_id in one]
    milliseconds = re.search(r"HEAD /count: 408 in ([\d.]+) ms", logged)[1]
    assert float(milliseconds) > 1000 * SHORT["HEAD_TIMEOUT"]
    assert count(client) == 0


# Protocol


def test_continue_is_sent_before_a_wanted_body(run, connect, client):
    """`100 Continue` precedes a body that is read; it is not sent if the request is rejected."""
    expects = ["Expect: 100-continue", "Content-Length: 5"]
    connection = connect(run)
    for value in (1, 2):
        connection.send(request("POST /count", *expects))
        assert connection.read().raw == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.send(b"hello")
        assert value_of(connection.read()) == value
    connection.send(request("POST /count", expects[0], "Content-Length: 70000"))
    (rejected,) = connection.read_all()
    check_problem(rejected, 413)
    assert count(client) == 2


def test_continue_waits_for_earlier_responses(run, connect, client):
    """`100 Continue` of a request behind a hit in flight follows the response to the hit."""
    connection = connect(run)
    with paused_store(client):
        connection.send(HIT + request("POST /count", "Expect: 100-continue", "Content-Length: 1"))
        wait_for_hits(client)
        assert not is_readable(connection, 0.3)
    assert value_of(connection.read()) == 1
    assert connection.read().status == 100
    connection.send(b"a")
    assert value_of(connection.read()) == 2 == count(client)


def test_http10_keep_alive(run, connect, client):
    """An HTTP/1.0 client that asks to keep the connection gets that header back; others do not."""
    connection = connect(run)
    for value, path in enumerate(("/count", "/count", "/healthz"), 1):
        connection.send(f"GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode())
        response = connection.read()
        assert response.headers["connection"] == "keep-alive"
        assert path == "/healthz" or value_of(response) == value
    connection.send(b"GET /count HTTP/1.0\r\nExpect: 100-continue\r\n\r\n")
    (response,) = connection.read_all()
    assert response.headers["connection"] == "close"
    assert value_of(response) == 3 == count(client)


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/openapi.json"])
def test_head_has_no_body(run, connect, client, path):
    """A response to HEAD has the length of the body, but no body; the connection goes on."""
    connection = connect(run)
    connection.send(request(f"HEAD {path}") + HIT)
    response = connection.read(head=True)
    assert int(response.headers["content-length"]) > 0
    assert value_of(connection.read()) == 1 == count(client)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request("HEAD /count", "Expect: a"), 417),
        (request("HEAD /count", "X : a"), 400),
        (request("HEAD /count", "X: " + 40_000 * "a"), 431),
        (request("HEAD /count?" + 17_000 * "a"), 414),
        (b"\r\nHEAD /count HTTP/1.1\r\nHo", 400),
    ],
    ids=["expectation", "field", "fields", "target", "incomplete"],
)
def test_rejected_head_has_no_body(run, connect, client, sent, status):
    """A rejected HEAD request gets no body either, also if its head is not complete."""
    connection = connect(run)
    connection.send(sent)
    if status == 400:
        connection.half_close()
    assert connection.read(head=True).status == status
    assert connection.read() is None
    assert count(client) == 0


@pytest.mark.parametrize("sent", [b"HI", b"HIT /cou", 40 * b"A" + b" ", request("HIT /count")])
def test_unknown_method_is_rejected_at_once(run, connect, client, sent):
    """The server does not wait for the rest of the request line."""
    connection = connect(run)
    connection.send(sent)
    (response,) = connection.read_all()
    check_problem(response, 501)
    assert count(client) == 0


@pytest.mark.parametrize(
    "rejected",
    [
        b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + 1_000_000 * b"a",
        HALF_CHUNKS + b"x\r\n" + 1_000_000 * b"a",
        HALF_HEAD + 1_000_000 * b"a",
        request("GET /healthz", "Connection: close") + 1_000_000 * b"a",
    ],
    ids=["body", "chunk", "head", "behind the last request"],
)
def test_client_that_goes_on_sending_can_read_the_response(run, connect, client, rejected):
    """A client that sends more than the server reads gets the response, and no reset before."""
    connection = connect(run)
    connection.send(rejected)
    (response,) = connection.read_all()
    assert response.status in (200, 400, 413, 431)
    assert count(client) == 0


# The end of the server


@pytest.mark.parametrize("fast", ["true", "false"])
def test_stop(serve, connect, server, client, fast):
    """SIGTERM: hits in flight are answered, streams end, other connections close, within 5 s."""
    settings = {"COUNTER_TIMEOUT": "10", "COUNTER_FAST_PATH": fast}
    run = serve("--workers=1", REDIS_URL=server.url, **settings).ready()
    silent, idle, half_head, half_body = (connect(run) for _ in range(4))
    assert hit(idle) == 1
    streams = [Listener(run.port) for _ in range(2)]
    for stream in streams:
        stream.hears("visits", 1)
    half_head.send(HALF_HEAD)
    half_body.send(HALF_BODY)
    in_flight = [connect(run) for _ in range(5)]
    pipelined = connect(run)
    with ThreadPoolExecutor(1) as pool:
        with paused_store(client):
            for connection in in_flight:
                connection.send(HIT)
            pipelined.send(3 * HIT)
            wait_for_hits(client)
            begun = time.monotonic()
            stopping = pool.submit(run.stop)
            assert idle.read() is None
            assert silent.read() is None
            assert not is_readable(in_flight[0])
        responses = [connection.read_all() for connection in (*in_flight, pipelined)]
        assert stopping.result() == 0
        assert time.monotonic() - begun < 5
    for stream in streams:
        wait_until(lambda: stream.ended, what="the end of a stream")  # noqa: B023
        stream.close()
    for connection in (half_head, half_body):
        assert all(response.status >= 400 for response in connection.read_all())
    for answered in responses:
        assert answered[-1].headers["connection"] == "close"
    values = [value_of(response) for answered in responses for response in answered]
    assert sorted(values) == list(range(2, len(values) + 2))
    assert len(values) == (8 if fast == "true" else len(values))
    assert count(client) == 1 + len(values)
    assert "Traceback" not in run.log()


def test_hit_sent_while_stopping(serve, connect, server, client):
    """Hits that arrive during a stop either count and are answered, or do neither."""
    run = serve("--workers=2", REDIS_URL=server.url, COUNTER_TIMEOUT="10").ready()
    acknowledged = []

    def visit():
        with suppress(OSError), RawConnection(run.port) as visitor:
            while True:
                visitor.send(HIT)
                response = visitor.read()
                if response is None:
                    return
                acknowledged.append(value_of(response))

    with ThreadPoolExecutor(16) as pool:
        visits = [pool.submit(visit) for _ in range(16)]
        wait_until(lambda: len(acknowledged) > 500, what="hits")
        run.signal(signal.SIGTERM)
        for one in visits:
            one.result()
    assert run.wait() == 0
    # A hit in the last write of a connection may count without a response only if it was in flight.
    assert len(set(acknowledged)) == len(acknowledged)
    assert count(client) == len(acknowledged) == max(acknowledged)


@pytest.mark.parametrize(
    "target",
    [b"POST /counters/visits/hits", b"POST /counters/text/hits", b"GET /counters/visits.json"],
    ids=["hit", "hit that fails", "read"],
)
def test_client_of_a_failed_response_does_not_wait(server, client, tmp_path, target):
    """A bug ends the connection at once, and is logged; the hit counts once, and others go on."""
    client.set(KEY, 5)
    client.set("counter:{text}", "not a number")
    run = BuggyServe(tmp_path / "log", "--workers=1", REDIS_URL=server.url, COUNTER_TIMEOUT="10")
    try:
        run.ready()
        with RawConnection(run.port) as failing, within(5):
            failing.send(target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            with suppress(ConnectionResetError):
                assert failing.read() is None
        with RawConnection(run.port) as other:
            other.send(b"GET /counters/visits.txt HTTP/1.1\r\nHost: a\r\n\r\n")
            value = int(other.read().body)
    finally:
        run.stop()
    assert value == 5 + target.startswith(b"POST /counters/visits")
    assert "RuntimeError: a bug" in run.log()
