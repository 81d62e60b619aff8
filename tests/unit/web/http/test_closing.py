"""The end of a connection: clients that read slowly, close one direction, or have already gone."""

import gc

import pytest

from flask_redis_counter.web.http.connection import LINGER_TIMEOUT, WRITE_TIMEOUT, HTTPConnection
from flask_redis_counter.web.http.connection_table import ConnectionTable
from flask_redis_counter.web.http.stream import ResponseStream

from .transport import Clock, Echo, Transport

LARGE = b"GET /large/now HTTP/1.1\r\nHost: a\r\n"
HIT = b"GET /hit HTTP/1.1\r\nHost: a\r\n\r\n"


class Server:
    """Connections, and their clock."""

    def __init__(self):
        self.clock = Clock()
        self.table = ConnectionTable(self.clock, 10)
        self.echo = Echo()

    def connect(self, **options):
        """Return a new connection."""
        return Transport(self.table, self.echo, **options)

    def wait(self, seconds, wire):
        """Let time pass for a connection, as the table's timer does."""
        for _ in range(round(seconds)):
            self.clock.now += 1
            self.table.now = self.clock.now
            wire.protocol.check_timeout(self.clock.now)
            wire.step()


@pytest.fixture
def server():
    """A server without connections."""
    return Server()


@pytest.mark.parametrize("end", ["close", "drain", "rejection"])
def test_slow_reader_gets_the_whole_last_response(server, end):
    """A client that keeps reading gets all of the last response, however long it takes."""
    wire = server.connect()
    if end == "drain":
        wire.send(LARGE.replace(b"/now", b"") + b"\r\n")
        wire.protocol.drain()
        server.echo.release(0)
    else:
        wire.send(LARGE + (b"Connection: close\r\n\r\n" if end == "close" else b"\r\nbad\r\n\r\n"))
    while not wire.sees_end:
        server.wait(WRITE_TIMEOUT - 1, wire)
        assert not wire.is_lost
        wire.receive(1000)
    assert len(wire.read) > 20_000
    assert wire.read.endswith(b"rejected" if end == "rejection" else b"xxx")


def test_bytes_behind_the_last_request_are_read(server):
    """The kernel would reset a connection that is closed before all is read (RFC 9112, 9.6)."""
    wire = server.connect()
    wire.send(b"GET /hit/now HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + 100 * b"a")
    assert wire.read == b""
    assert not wire.is_closing
    wire.receive(1000)
    assert wire.read.startswith(b"HTTP/1.1 200")
    assert wire.sees_end
    wire.send(100 * b"b")
    assert not wire.is_lost
    wire.send_end()
    wire.step()
    assert wire.is_lost
    last = server.connect()
    last.send(b"GET /hit/now HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert last.is_closing


@pytest.mark.parametrize("end", [b"Connection: close\r\n\r\n", b"\r\nbad\r\n\r\n"])
def test_reader_that_stops_is_aborted(server, end):
    """A client that reads nothing more loses the connection, although its end was due."""
    wire = server.connect()
    wire.send(LARGE + end)
    wire.receive(15_000)  # less is left than the size at which writing pauses
    server.wait(WRITE_TIMEOUT + LINGER_TIMEOUT + 2, wire)
    assert wire.is_lost
    assert len(server.table) == 0


def test_half_closed_client_does_not_linger(server):
    """The connection closes with the response if the client cannot send anything more."""
    wire = server.connect()
    wire.send(b"GET /hi")
    wire.send_end()
    wire.receive(1000)
    assert wire.read.startswith(b"HTTP/1.1 400 ")
    assert wire.is_lost


def test_half_closed_client_that_reads_nothing_is_aborted(server):
    """Unsent bytes do not keep the connection of a client that has closed its direction."""
    wire = server.connect()
    wire.send(HIT.replace(b"/hit", b"/hit/now"))
    wire.send_end()
    server.wait(WRITE_TIMEOUT + 2, wire)
    assert wire.is_lost


def test_tls_client_that_ends_is_closed(server):
    """TLS has no half-closed connections; later responses are not written."""
    wire = server.connect(tls=True)
    wire.send(HIT * 3)
    assert wire.protocol.eof_received() is False
    server.echo.release(0)
    wire.step()
    assert wire.is_lost


def test_client_that_has_gone_before_it_was_accepted_counts_nothing(server):
    """A reset connection has no address: it must not pass for the Unix socket of a proxy."""
    wire = server.connect(peer=None)
    wire.protocol.data_received(HIT)  # the kernel still had it
    wire.step()
    assert wire.is_lost
    assert not server.echo.started


def test_timer_survives_an_error(server):
    """The time-outs go on if a function that is called with them fails."""

    def fail():
        raise OSError("a bug")

    timers = []
    server.clock.call_at = lambda _time, function: timers.append(function)
    server.table.call_on_check(fail)
    with pytest.raises(OSError, match="a bug"):
        server.table.start()
    assert len(timers) == 1


STREAM = b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("is_early", [True, False])
def test_stream_to_client_that_has_gone(server, is_early):
    """A stream ends when its client closes its direction, also before the response starts."""
    wire, lost = server.connect(), []
    wire.send(STREAM)
    request, _ = server.echo.pending.pop()
    stream = (b"head ", lambda: lost.append(True))
    if is_early:
        wire.send_end()
        request.connection.open_stream(*stream)
    else:
        request.connection.open_stream(*stream)
        request.connection.write(b"piece ")
        wire.send_end()
    assert not lost
    wire.receive(1000)
    assert wire.read == (b"head " if is_early else b"head piece ")
    assert wire.is_lost
    assert lost == [True]
    assert len(server.table) == 0


def test_request_after_a_stream(server):
    """A connection answers further requests after a stream, also of a half-closed client."""
    wire, lost = server.connect(), []
    wire.send(STREAM)
    request, _ = server.echo.pending.pop()
    request.connection.open_stream(b"head ", lambda: lost.append(True))
    request.connection.end_stream(request, b"end")
    wire.send(HIT)
    wire.send_end()
    server.echo.release(0)
    wire.receive(1000)
    assert wire.read.startswith(b"head endHTTP/1.1 200 ")
    assert wire.sees_end
    assert not lost


@pytest.mark.parametrize("is_stream", [True, False])
def test_lost_connection_is_freed(server, is_stream):
    """A lost connection leaves no reference cycle: its memory is not kept until a collection."""

    def count():
        return sum(isinstance(one, HTTPConnection) for one in gc.get_objects())

    gc.collect()
    before = count()
    gc.disable()
    try:
        wire = server.connect()
        wire.send(STREAM)
        request, _ = server.echo.pending.pop()
        if is_stream:
            ResponseStream(request, [], list).send(b"piece")
        else:
            request.connection.respond(request, b"response")
        server.echo.started.clear()
        assert count() == before + 1
        wire.lose()
        del wire.protocol, wire, request  # as uvloop's transport does
        assert count() == before
    finally:
        gc.enable()


def test_flood_of_connections_is_reset(server):
    """Only some connections beyond the limit get a response: the others would need files, too."""
    for _ in range(10):
        server.connect().send(HIT)
    rejected = [server.connect() for _ in range(60)]
    for wire in rejected:
        wire.receive(1000)
        wire.step()
    answered = [wire for wire in rejected if wire.read.startswith(b"HTTP/1.1 503 ")]
    assert len(answered) == 50
    assert [wire.is_lost for wire in rejected] == [False] * 50 + [True] * 10
    assert len(server.table) == 60
