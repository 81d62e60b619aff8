"""A transport in memory, and an application whose responses a test releases."""

from collections import deque

from flask_redis_counter.web.http.connection import HTTPConnection
from flask_redis_counter.web.http.response import render_response


class Clock:
    """The part of an event loop that connections use.

    :ivar now: its time.
    """

    def __init__(self):
        self.now = 1000.0

    def time(self):
        """Return the time."""
        return self.now

    def call_at(self, _time, _function):
        """Do nothing: tests call the checks themselves."""


class Transport:
    """A transport in memory, with the rules of uvloop's; also the client's end of it.

    :ivar read: bytes that the client has read.
    :ivar sees_end: whether the client has read the end of the connection.
    :ivar unread: pieces that the server has not read yet.
    :ivar is_closing: whether the server has closed the connection, or will when all is sent.
    :ivar is_lost: whether the connection is lost.
    """

    def __init__(self, table, application, peer=("127.0.0.1", 4000), tls=False):
        self.read = b""
        self.sees_end = False
        self._unsent = bytearray()
        self._high = 0
        self._is_writing_paused = self._is_reading_paused = False
        self.is_closing = self._is_half_closed = self.is_lost = False
        self.unread = deque()
        self._info = {"peername": peer, "sockname": ("127.0.0.1", 5000)}
        self._is_encrypted = tls
        self.protocol = HTTPConnection(table, application)
        self.protocol.connection_made(self)

    # The client

    def send(self, data):
        """Send bytes; they are received as one piece, or wait until the server reads again."""
        self.unread.append(data)
        self._deliver()

    def send_end(self):
        """Close the direction to the server."""
        self.unread.append(None)
        self._deliver()

    def receive(self, size):
        """Read some of the bytes that were sent."""
        self.read += self._unsent[:size]
        del self._unsent[:size]
        if self._is_writing_paused and len(self._unsent) <= self._high // 4:
            self._is_writing_paused = False
            self.protocol.resume_writing()
        if not self._unsent and (self.is_closing or self._is_half_closed):
            self.sees_end = True
        if not self._unsent and self.is_closing:
            self.lose()

    def lose(self):
        """Lose the connection."""
        if not self.is_lost:
            self.is_closing = self.is_lost = True
            self.protocol.connection_lost(None)

    def _deliver(self):
        while self.unread and not (self._is_reading_paused or self.is_closing):
            piece = self.unread.popleft()
            if piece is not None:
                self.protocol.data_received(piece)
            elif not self.protocol.eof_received():
                self.close()

    # The transport

    def get_extra_info(self, name):
        """Return a property of the socket."""
        return self._info.get(name)

    def set_write_buffer_limits(self, high):
        """Set the number of bytes at which the protocol is told to stop."""
        self._high = high

    def get_write_buffer_size(self):
        """Return the number of unsent bytes."""
        return len(self._unsent)

    def pause_reading(self):
        """Deliver nothing more."""
        self._is_reading_paused = True

    def resume_reading(self):
        """Deliver what waits, after the caller has returned."""
        self._is_reading_paused = False

    def can_write_eof(self):
        """Return whether the transport has two directions, as TCP has."""
        return not self._is_encrypted

    def write_eof(self):
        """Close the direction to the client."""
        self._is_half_closed = True

    def write(self, data):
        """Send bytes."""
        assert not self.is_closing, "a write to a closed connection"
        assert not self._is_half_closed, "a write after the end"
        self._unsent += data
        if len(self._unsent) > self._high and not self._is_writing_paused:
            self._is_writing_paused = True
            self.protocol.pause_writing()

    def close(self):
        """Close the connection when all bytes are sent."""
        self.is_closing = True

    def abort(self):
        """Close the connection at once."""
        self.is_closing = True
        self._unsent.clear()

    def step(self):
        """Run what an event loop would run next."""
        if self.is_closing and not self._unsent:
            self.lose()
        self._deliver()


class Echo:
    """An application that answers with the request; a test decides when.

    Targets that start with ``/hit`` may overlap; those that end with ``now`` are answered at once;
    those with ``large`` get more bytes than a connection holds.

    :ivar started: the requests in order.
    :ivar pending: those without a response.
    """

    max_body_bytes = 1000

    def __init__(self):
        self.started = []
        self.pending = []

    def start(self, request, is_first):
        """Start a request."""
        if request.target.startswith(b"/hit") and not request.body:
            request.plan = request.target
        elif not is_first:
            return False
        else:
            request.is_exclusive = True
        self.started.append(request)
        if request.target.endswith(b"now"):
            self._respond(request, len(self.started))
        else:
            self.pending.append((request, len(self.started)))
        return True

    def release(self, index):
        """Answer one of the requests that wait."""
        if self.pending:
            self._respond(*self.pending.pop(index % len(self.pending)))

    def _respond(self, request, number):
        body = (
            b"%d %s %s %s %d "
            % (
                number,
                request.method.encode(),
                request.target,
                request.version.encode(),
                len(request.body),
            )
            + request.body
        )
        if b"/large" in request.target:
            body += b"x" * 20_000
        if request.method == "HEAD":
            body = b""
        request.connection.respond(request, render_response(200, [], body, request))

    def render_rejection(self, rejection, request):
        """Return the response to a rejected request."""
        body = b"" if request.method == "HEAD" else b"rejected"
        return render_response(rejection.status, [], body, request)
